"""Breaks examples/typescript once for each rule, in its compiled code: the vectors must find each defect.

A defect is a file, a text in it, and its replacement. One that no longer applies is an error.
"""

import concurrent.futures
import shutil

AT_ONCE = 4
DEFECTS = {
    # Signatures.
    "no signature is checked": ("signed", 'ensure(holds, "signature does not hold");', ""),
    "any typ counts": ("signed", "ensure(found === typ,", "ensure(true,"),
    "any alg counts": ("signed", "ensure(alg === key.algorithm,", "ensure(true,"),
    "a header may have more members": ("signed", "ensure(Object.keys(others).length === 0,", "ensure(true,"),
    "base64url has two spellings": ("signed", 'ensure(data.toString("base64url") === part,', "ensure(true,"),
    "a header of any size": ("signed", "HEADER_MAX_BYTES = 8 * 1024", "HEADER_MAX_BYTES = 9 * 1024"),
    "a payload of any size": ("signed", "PAYLOAD_MAX_BYTES = 64 * 1024", "PAYLOAD_MAX_BYTES = 65 * 1024"),
    "a member may be there twice": ("strict_json", "ensure(!(name in found),", "ensure(true,"),
    "a key has any id": ("signed", 'ensure((jwk["kid"] ?? kid) === kid,', "ensure(true,"),
    "a checkpoint lives for ever": ("documents", "seconds <= CHECKPOINT_TTL_SECONDS", "true"),
    # Before a message is decoded, and while parts are collected.
    "nothing is scanned": ("messages", "scanMessage(this.watchType, data);", ""),
    "a message of any size": ("messages", "ensure(data.length <= MESSAGE_MAX_BYTES,", "ensure(true,"),
    "a message of two kinds": ("messages", "ensure(Object.keys(message).filter((field) => field !== \"parent\").length <= 1,", "ensure(true,"),
    "any number of policies": ("collected", "ensure(policies.size <= POLICIES_MAX,", "ensure(true,"),
    "any number of changes": ("collected", "ensure(changes.size <= ACTIVATION_CHANGES_MAX,", "ensure(true,"),
    "empty parts": ("collected", "ensure(bundles.length > 0,", "ensure(true,"),
    "a proof of any size": ("set_root", "ensure(proof.length <= SET_PROOF_MAX_BYTES,", "ensure(true,"),
    "a proof of any number of parts": ("set_root", "ensure(this.parts < SET_PROOF_PARTS_MAX,", "ensure(true,"),
    # Rules 1 and 2.
    "any namespace counts": ("trust", "ensure(document.namespace === this.namespace,", "ensure(true,"),
    "any store counts": ("trust", "ensure(document.store === this.store,", "ensure(true,"),
    "a refused store is remembered": ("trust", "this.store = null;\n        }", "}"),
    "a cursor beside a document counts": ("active_set", "ensure(isSame,", "ensure(true,"),
    "a bundle is what it says beside its manifest": ("trust", "ensure(sameFields,", "ensure(true,"),
    "content is not hashed": ("documents", "ensure(digestOf(content) === manifest.digest,", "ensure(true,"),
    "a preview is in force": ("trust", "ensure(!bundle.preview,", "ensure(true,"),
    "what was not asked for is taken": ("active_set", "ensure(this.wants(active.policy),", "ensure(true,"),
    # Rules 3 to 6.
    "no root is compared": ("active_set", "ensure(signed.equals(root),", "ensure(true,"),
    "no set proof is read": ("active_set", "verifySetProof(setProof, signed, this.wanted, policies);", ""),
    "a proof may hide a policy": ("set_root", "ensure(asked.length === 0,", "ensure(true,"),
    "a set may go back": ("active_set", "ensure(comparePositions(position, newest) >= 0,", "ensure(true,"),
    "what was refused raises no mark": ("active_set", "this.newestVerified = position;", ""),
    "an activation at the position that is held": ("active_set", "ensure(comparePositions(position, this.position) > 0,", "ensure(true,"),
    "an activation follows anything": ("collected", "ensure(previous === before,", "ensure(true,"),
    "an activation without a root": ("active_set", "ensure(document.activeSetRoot !== null,",
                                     "if (document.activeSetRoot === null) return; ensure(true,"),
    "an activation brings more than it states": ("collected", "ensure(changes.size === stated.length,", "ensure(true,"),
    "a bundle of another activation": ("active_set", "ensure(changed.every(", "ensure(true || changed.every("),
    "a heartbeat between parts": ("active_set", "ensure(!this.collected.isUnfinished,", "ensure(true,"),
    "parts outlive their stream": ("active_set", "this.collected.drop();", ""),
    "a gap leaves it fresh": ("active_set", "this.freshness.end(refusal.message);", ""),
    "clocks may differ by any time": ("documents", "ahead > CLOCK_SKEW_MAX_SECONDS", "false"),
    "the future ends no freshness": ("freshness", "this.until = 0n; // by a clock", "// by a clock"),
    "an expired checkpoint makes fresh": ("documents", "now >= checkpoint.exp", "false"),
    "an expired snapshot stays fresh": ("active_set", 'this.freshness.end("");', ""),
    "a replica that is behind must have a checkpoint": ("active_set", "if (heartbeat.resumeUnknown)", "if (false)"),
    "after a refusal it resumes": ("subscriber", "this.refused = refused;\n        this.needsSnapshot = true;", "this.refused = refused;"),
    "a resume point that is gone is asked for again": ("subscriber", "this.needsSnapshot ||= isResumePointGone(error);", ""),
    "a refusal is not reported": ("subscriber", "await this.refuse(hub, error, message);", "this.refused = error; this.needsSnapshot = true; this.world.say(`refused: ${error.message}`);"),
    "what is in force is not reported": ("subscriber", 'return this.report(hub, this.cursor(held.position), "");', "return true;"),
    "a change that the service did not apply is forgotten": ("subscriber", "if (!isFromOutside(error))", "if (false)"),
    "a stream may be silent for ever": ("subscriber", 'next === "end" || next === "silence"', 'next === "end"'),
    # Key statements.
    "any trusted key signs statements": ("pinned_keys", "ensure(signer === this.newest.active,", "ensure(true,"),
    "a retired or unknown key signs statements": ("pinned_keys", 'ensure(state === "ACTIVE" || state === "RETIRED",', "ensure(true,"),
    "a statement from before the file": ("pinned_keys", "wasTaken || namesAll", "true"),
    "a revoked key comes back": ("pinned_keys", "ensure(!isEnded,", "ensure(true,"),
    "an older statement is taken": ("pinned_keys", "if (order <= 0)", "if (false)"),
    "a serial is used twice": ("pinned_keys", "ensure(order !== 0 || isSamePayload,", "ensure(true,"),
    "statements of another store": ("pinned_keys", "ensure(statement.store ===", "ensure(true || statement.store ==="),
    "a revocation is not heard": ("pinned_keys", ".forEach(({ kid }) => this.revoked.add(kid));", ";"),
    "a file that changes is not read": ("key_file", "if (data.equals(this.seen))", "if (true)"),
    # Restarts.
    "the mark is lost": ("state_directory", "held.remember({", "void ({"),
    "the store is lost": ("state_directory", "held.trust.rememberStore(saved.store);", ""),
    "a directory of another namespace": ("state_directory", "saved.namespace !== held.trust.namespace || ", ""),
    "the fingerprint is lost": ("subscriber", "fingerprint: `${this.held.fingerprint}`", 'fingerprint: "0"'),
}  # fmt: skip


def misplaced(build):
    """Returns the defects whose anchor does not occur exactly once in the compiled code: they would change nothing."""
    texts = {file: (build / "build" / "examples" / "typescript" / f"{file}.js").read_text() for file, _, _ in DEFECTS.values()}
    counts = {name: texts[file].count(old) for name, (file, old, _) in DEFECTS.items()}
    return [f"{name}: its anchor occurs {count} times" for name, count in counts.items() if count != 1]


def is_found(build, number, change, check_vectors):
    file, old, new = change
    broken = build / "broken" / str(number)
    shutil.copytree(build / "build", broken)
    path = broken / "examples" / "typescript" / f"{file}.js"
    text = path.read_text()
    if text.count(old) != 1:
        return False, f"{old!r} is {text.count(old)} times in {file}"
    path.write_text(text.replace(old, new))
    holds, said = check_vectors(broken)
    shutil.rmtree(broken)
    return not holds, said


def check(build, check_vectors, words):
    """Counts the defects that were found, of those named by a part of their name (default: all). Exits with 1 when one is missing."""
    played = {name: change for name, change in DEFECTS.items() if not words or any(word in name for word in words)}
    shutil.rmtree(build / "broken", ignore_errors=True)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        results = {
            name: pool.submit(is_found, build, number, change, check_vectors)
            for number, (name, change) in enumerate(played.items())
        }  # fmt: skip
        missed = 0
        for name, result in results.items():
            found, said = result.result()
            surprise = next((line for line in said.splitlines() if "Error: " in line), said.strip()[:200])
            print(f"{'found' if found else 'MISSED'}: {name}: {surprise[:160]}", flush=True)
            missed += not found
    if missed:
        raise SystemExit(f"typescript: {missed} defects were not found")
    return len(played)
