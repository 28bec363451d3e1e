#!/usr/bin/env python3
"""Runs the commands of README.md against a real server, as a reader would, and compares what comes out.

    scripts/readme.py [BINARY [PAGE]]     defaults: target/debug/policyhub README.md

Each ```sh and ```python block has a comment on the line above that says what happens to it:

    <!-- run -->               run, top to bottom, on one server; `# => text` lines are the exact output up to there
    <!-- env -->               run, and the variables it exports are there for the blocks below
    <!-- serve -->             the command that starts the server
    <!-- not run: reason -->   not run

In expected output `…` stands for any text in a line, and alone in a line for any lines. The text of a block is run as it
is written: that the server listens on free ports instead of 7070 and 7071 is told by the environment. Exits 1 on any
difference. Runs itself in target/tools/venv, which scripts/tools.sh makes.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ROOT / "target" / "tools"
VENV = TOOLS / "venv"
START_TIMEOUT_SECONDS = 60
BLOCK_TIMEOUT_SECONDS = 120
# Ends the output of one part of a shell block.
MARK = "=-=-= part {} =-=-="

if pathlib.Path(sys.prefix) != VENV:
    subprocess.run([ROOT / "scripts" / "tools.sh", "venv", "grpcurl"], check=True)
    os.execv(VENV / "bin" / "python", [str(VENV / "bin" / "python"), *sys.argv])


class Difference(Exception):
    """The page and the product differ."""


class Block:
    """A fenced block: its line, language, marker and lines."""

    def __init__(self, place, language, marker):
        self.place, self.language, self.marker, self.lines = place, language, marker, []


def blocks_of(page):
    """Returns the shell and Python blocks of a page, in order. Each must say whether it is run."""
    found, inside, before = [], None, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.fullmatch(r"```(\w*)", line)
        if inside is None and fence:
            marker = re.fullmatch(r"<!-- (run|env|serve|not run: .+) -->", before)
            inside = Block(f"{page.name}:{number}", fence[1], marker and marker[1])
            if inside.language in ("sh", "python"):
                if not inside.marker:
                    raise Difference(f"{inside.place}: the block does not say whether it is run: see scripts/readme.py")
                found.append(inside)
        elif fence:
            inside = None
        elif inside:
            inside.lines.append(line)
        before = line
    return found


def parts_of(block):
    """Returns commands with their expected output; None when the page gives none."""
    parts, code, expected = [], [], None
    for line in block.lines:
        said = re.fullmatch(r"# =>(?: (.*))?", line)
        if said:
            expected = [*(expected or []), said[1] or ""]
            continue
        if expected is not None:
            parts.append((code, expected))
            code, expected = [], None
        code.append(line)
    return [*parts, (code, expected)]


def compare(place, expected, output):
    """Raises when the output is not that of the page."""
    output = [line.rstrip() for line in output.splitlines()]
    if expected is None:
        return 0
    lines = []
    for line in expected:
        whole = "(?:.*\n)*?" if line.strip() == "…" else ".*".join(map(re.escape, line.rstrip().split("…"))) + "\n"
        lines.append(whole)
    if not re.fullmatch("".join(lines), "".join(f"{line}\n" for line in output)):
        said, came = ("\n    ".join(each) for each in (expected, output))
        raise Difference(f"{place}: the page says\n    {said}\n  but it is\n    {came}")
    return len(expected)


def execute(block, command, text, scratch, environment):
    """Runs a text; returns its output, stdout and stderr in order."""
    done = subprocess.run(
        [*command, text], cwd=scratch, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, timeout=BLOCK_TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Difference(f"{block.place}: exit code {done.returncode}:\n{done.stdout}")
    return done.stdout


def run_shell(block, scratch, environment):
    """Runs a shell block as one script and compares each part; returns the number of compared lines."""
    parts, text = parts_of(block), []
    for index, (code, _) in enumerate(parts):
        text += [*code, f"echo '{MARK.format(index)}'"]
    rest, compared = execute(block, ["bash", "-euc"], "\n".join(text), scratch, environment), 0
    for index, (code, expected) in enumerate(parts):
        output, _, rest = rest.partition(MARK.format(index) + "\n")
        compared += compare(f"{block.place}: {' '.join(code).strip()[:60]}", expected, output)
    return compared


def run_python(block, scratch, environment):
    """Runs a Python block; returns the number of compared lines."""
    output = execute(block, ["python3", "-c"], "\n".join(block.lines), scratch, environment)
    expected = [line for _, lines in parts_of(block) for line in lines or []]
    return compare(block.place, expected or None, output)


def read_variables(block, scratch, environment, ports):
    """Returns the variables that an env block exports, with the server's real ports."""
    text = "\n".join([*block.lines, "env -0"])
    pairs = (pair.partition("=") for pair in execute(block, ["bash", "-euc"], text, scratch, environment).split("\0"))
    changed = {name: value for name, _, value in pairs if name and environment.get(name) != value}
    changed = {name: value for name, value in changed.items() if name not in ("_", "SHLVL", "PWD", "OLDPWD")}
    if not changed:
        raise Difference(f"{block.place}: the block exports nothing")
    for name in changed:
        for written, real in ports.items():
            changed[name] = changed[name].replace(written, real)
    return changed


def start(block, scratch, environment):
    """Starts the server as the page says; returns the process and its addresses."""
    text = "\n".join(block.lines)
    with open(scratch / "server.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(["bash", "-euc", f"exec {text}"], cwd=scratch, env=environment, stderr=log)
    addresses = scratch / "policyhub-data" / "addr.json"
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not (addresses.exists() and addresses.stat().st_size):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise Difference(f"{block.place}: the server did not start:\n{(scratch / 'server.log').read_text()}")
        time.sleep(0.05)
    return server, json.loads(addresses.read_text())


def main():
    """Runs the page."""
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "debug" / "policyhub").resolve()
    page = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "README.md")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POLICYHUB_")}
    environment["PATH"] = f"{TOOLS / 'bin'}:{VENV / 'bin'}:{environment['PATH']}"
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    environment["POLICYHUB_GRPC_ADDR"] = environment["POLICYHUB_HTTP_ADDR"] = "127.0.0.1:0"
    environment["POLICYHUB_CONSOLE_ADDR"] = "127.0.0.1:0"
    ports, server, ran, compared = {}, None, 0, 0
    with tempfile.TemporaryDirectory() as directory:
        # A scratch directory with links to what a reader sees at the root of the repository.
        scratch = pathlib.Path(directory)
        for name in ("examples", "proto", "scripts"):
            (scratch / name).symlink_to(ROOT / name)
        (scratch / "target" / "debug").mkdir(parents=True)
        (scratch / "target" / "debug" / "policyhub").symlink_to(binary)
        try:
            for block in blocks_of(page):
                if block.marker == "env":
                    environment |= read_variables(block, scratch, environment, ports)
                elif block.marker == "serve":
                    server, addresses = start(block, scratch, environment)
                    ports = {"127.0.0.1:7070": addresses["grpc"], "127.0.0.1:7071": addresses["http"]}
                    environment["POLICYHUB_SERVER"] = f"http://{addresses['grpc']}"
                elif block.marker == "run":
                    run = run_python if block.language == "python" else run_shell
                    compared += run(block, scratch, environment)
                    ran += 1
            if not (server and ran and compared):
                raise Difference(f"{page.name}: nothing was run: are the markers still there?")
            server.send_signal(signal.SIGTERM)
            if server.wait(timeout=START_TIMEOUT_SECONDS) != 0:
                raise Difference(f"{page.name}: the server ended with exit code {server.returncode}")
        except (Difference, subprocess.TimeoutExpired) as difference:
            print(f"readme: {difference}", file=sys.stderr)
            return 1
        finally:
            if server and server.poll() is None:
                server.kill()
                server.wait()
    print(f"readme: {ran} blocks of {page.name} ran, {compared} lines of output are as written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
