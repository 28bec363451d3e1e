#!/usr/bin/env python3
"""Reads the lines of `policyhub watch --output json`: one line for each activation, then how the watch ended.

    heard.py watch.jsonl

`policyhub watch` prints a message only after it has verified every signature in it. What this adds is a second pair of
eyes: each content is hashed here and compared with the signed statement, and revisions must rise. Exits 1 when not.
"""

import base64
import hashlib
import json
import pathlib
import sys


def payload(token):
    """Returns the payload of a compact JWS (RFC 7515 §3.1); its signature was verified before it was printed."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def move(change):
    """Formats a pointer that moved, as in `pricing 1 -> 2`; version 0 is none."""
    before, after = change["previous"] or "none", change["version"] or "none"
    return f"{change['policy']} {before} -> {after}"


def read_activation(activation):
    """Returns the statement of an activation, after comparing its bundles to it."""
    statement = payload(activation["statement"])
    signed = {(change["policy"], change["version"]): change.get("digest") for change in statement["changes"]}
    for bundle in activation["bundles"]:
        digest = "sha256:" + hashlib.sha256(base64.b64decode(bundle["content"])).hexdigest()
        key = (bundle["name"].split("/")[3], bundle["version"])
        if signed.get(key) != digest:
            sys.exit(f"heard: content of {bundle['name']} is {digest}, the statement says {signed.get(key)}")
    if len(activation["bundles"]) + len(activation["tombstones"]) != len(signed):
        sys.exit(f"heard: revision {statement['revision']} is not whole")
    return statement


def main():
    """Prints the activations so far. An incomplete last line is left for the next call."""
    whole = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").rpartition("\n")[0]
    held = -1
    for line in whole.splitlines():
        message = json.loads(line)
        if "snapshot" in message and message["snapshot"]["complete"]:
            held = message["snapshot"]["cursor"]["revision"]
            policies = len(message["snapshot"]["bundles"])
            print(f"SNAPSHOT at revision {held}: {policies or 'no'} active policies")
        elif "activation" in message:
            statement = read_activation(message["activation"])
            if statement["revision"] <= held:
                sys.exit(f"heard: revision {statement['revision']} after {held}")
            held = statement["revision"]
            moves = ", ".join(move(change) for change in statement["changes"])
            print(f"{statement['kind']} at revision {held}: {moves}")
        elif "reconnect" in message:
            reason = message["reconnect"]["reason"].removeprefix("RECONNECT_REASON_").lower()
            print(f"RECONNECT because the server is {reason}")


if __name__ == "__main__":
    main()
