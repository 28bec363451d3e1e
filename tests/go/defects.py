"""Breaks examples/go once for each rule: the vectors must find each defect.

A defect is a file and a condition in it that becomes false; or a file, a text in it, and its replacement. A defect that no longer
applies, or does not compile, is an error.
"""

import concurrent.futures
import shutil

AT_ONCE = 2
DEFECTS = {
    # Signatures and JSON.
    "no signature is checked": ("signed", '!key.holds([]byte(parts[0]+"."+parts[1]), signature)'),
    "any typ counts": ("signed", 'header["typ"] != typ'),
    "any alg counts": ("signed", 'header["alg"] != key.algorithm'),
    "a header may have more members": ("signed", 'name != "alg" && name != "kid" && name != "typ"'),
    "base64url has two spellings": ("signed", " || base64.RawURLEncoding.EncodeToString(data) != part", ""),
    "a header of any size": ("signed", "headerMaxBytes  = 8 * 1024", "headerMaxBytes  = 9 * 1024"),
    "a payload of any size": ("signed", "payloadMaxBytes = 64 * 1024", "payloadMaxBytes = 65 * 1024"),
    "a key has any id": ("signed", '!isAbsentOr(jwk["kid"], key.kid)'),
    "a key for something else": ("signed", '!isAbsentOr(jwk["alg"], key.algorithm) || !isAbsentOr(jwk["use"], "sig")'),
    "a private key": ("signed", "isPrivate {", "isPrivate && false {"),
    "a key is no point of its curve": ("signed", "!key.p256.Curve.IsOnCurve(key.p256.X, key.p256.Y)"),
    "a member may be there twice": ("strict_json", "isTwice {", "isTwice && false {"),
    "half a character": ("strict_json", "case hasHalfCharacter(data):", "case false:"),
    "text that is not UTF-8": ("strict_json", "case !utf8.Valid(data):", "case false:"),
    "JSON of any depth": ("strict_json", "depth == 0"),
    "a number of no size": ("strict_json", "!isWhole(token)"),
    # Documents.
    "a checkpoint lives for ever": ("documents", " && uint64(found.exp)-uint64(found.iat) <= checkpointTTLSeconds", ""),
    "times are subtracted with a sign": ("documents", "uint64(found.exp)-uint64(found.iat)", "found.exp-found.iat"),
    "a document of no store": ("documents", 'm.text("store", isNotEmpty)', 'm.text("store", isAny)'),
    "content is not hashed": ("documents", "m.ensure(digestOf(content) == found.digest,", "m.ensure(true,"),
    "a change without a digest": ("documents", "change.ensure(", "change.ensure(true || "),
    # Before a message is decoded, and while parts are collected.
    "nothing is scanned": ("messages", "data); err != nil {\n\t\treturn nil, err", "data); err != nil && false {\n\t\treturn nil, err"),
    "a message of any size": ("messages", "len(data) > messageMaxBytes"),
    "a message of two kinds": ("wire_scan", "chosen > 1 {", "chosen < 0 {"),
    "any number of fields": ("wire_scan", "s.fields < 0 {", "false {"),
    "any memory": ("wire_scan", "s.memory < 0 {", "false {"),
    "nested to any depth": ("wire_scan", "groups >= depth {", "false {"),
    "any number of policies": ("collected", "len(policies) > policiesMax"),
    "any number of changes": ("collected", "len(changes) > activationChangesMax"),
    "empty parts of a snapshot": ("collected", "len(bundles) == 0"),
    "empty parts of an activation": ("collected", "len(bundles)+len(tombstones) == 0"),
    "a policy twice": ("collected", "_, isTwice := all[policy]; isTwice", "_, isTwice := all[policy]; isTwice && false"),
    # Set proofs.
    "a proof of any size": ("set_proof", "len(proof) > setProofMaxBytes"),
    "a proof of any number of parts": ("set_proof", "r.parts > setProofPartsMax {", "false {"),
    "a proof may hide a policy": ("set_proof", "len(asked) > 0"),
    "a proof of another root": ("set_proof", "case found.hash != root:", "case false && found.hash != root:"),
    "a proof claims less than is active": ("set_proof", "!isClaimed {", "!isClaimed && false {"),
    "a leaf where its key does not lead": ("set_proof", "bitOf(key, index) != bit"),
    # Rules 1 and 2.
    "any namespace counts": ("trust", "document.namespace != t.namespace"),
    "any store counts": ("trust", "document.store != t.store"),
    "a refused store is remembered": ("trust", '\t\tt.store = ""\n', ""),
    "a bundle is what it says beside its manifest": ("trust", "!sameName || !sameContent"),
    "a preview is in force": ("trust", "bundle.Preview"),
    "a bundle without its activation": ("trust", "bundle.Activation == nil"),
    "a tombstone of another namespace": ("trust", "!strings.HasPrefix(name, prefix) || ", ""),
    "a message about another namespace": ("active_set_rules", 'message.Parent != "" && message.Parent != "namespaces/"+s.trust.namespace'),
    "a cursor beside a document counts": ("active_set_rules", "positionOf(hint) != signed"),
    "what was not asked for is taken": ("active_set_rules", "!s.wants(active.policy)"),
    # Rules 3 to 6.
    "no root is compared": ("active_set_rules", "signed != root"),
    "no set proof is read": ("active_set_rules", "verifySetProof(setProof, signed, s.wanted, leavesOf(policies))", "nil"),
    "a set may go back": ("active_set_rules", "signed.isBefore(newest)"),
    "what was refused raises no mark": ("active_set_rules", "\ts.newestVerified = signed\n", ""),
    "an activation at the position that is held": ("active_set_rules", "!s.position.isBefore(document.position)"),
    "an activation follows anything": ("collected", "change.previous != before {", "change.previous != before && false {"),
    "an activation moves a policy twice": ("collected", "seen[change.policy]"),
    "an activation states another version": (
        "collected", "versionOf(shown) != change.version || (shown != nil && shown.digest != change.digest)",
    ),
    "an activation without a root": ("active_set_rules", 'return refuse("%s names no root", by.kind)', "return nil"),
    "an activation brings more than it states": ("collected", "len(changes) != len(stated)"),
    "a bundle of another activation": ("active_set_rules", "active.since != at"),
    "a heartbeat between parts": ("active_set_rules", "s.collected.isUnfinished()"),
    "parts outlive their stream": ("active_set", "\ts.collected.drop()\n", ""),
    "a gap leaves it fresh": ("active_set_rules", "s.freshness.end(err.Error())", ""),
    "clocks may differ by any time": ("documents", "return c.iat > now+clockSkewMaxSeconds", "return false"),
    "the future ends no freshness": ("freshness", "f.until = 0 // by a clock", "// by a clock"),
    "an expired checkpoint makes fresh": ("documents", "now >= c.exp"),
    "an expired snapshot stays fresh": ("active_set_rules", 's.freshness.end("")', ""),
    "a replica that is behind must have a checkpoint": ("active_set_rules", "heartbeat.ResumeUnknown"),
    "after a refusal it resumes": ("subscriber", "s.refused, s.needsSnapshot = refused, true", "s.refused = refused"),
    "a resume point that is gone is asked for again": ("subscriber", "s.needsSnapshot = s.needsSnapshot || isResumePointGone(err)", ""),
    "a refusal is not reported": ("subscriber", "message); report != nil {", "message); report == nil {"),
    "what is in force is not reported": ("subscriber", 'return s.report(s.heldCursor(), ""), nil', "return nil, nil"),
    "a change that the service did not apply is forgotten": ("subscriber", "return nil, broken", "return asked, nil"),
    "a stream may be silent for ever": ("hub", "time.AfterFunc(silence, s.cancel)", "time.AfterFunc(time.Hour, s.cancel)"),
    "pauses have no jitter": ("pauses", "time.Duration(random*float64(bound))", "bound"),
    "a token goes in clear text to anybody": ("options", "!isSafe"),
    # Key statements.
    "any trusted key signs statements": ("pinned_keys", "statement.signer != p.newest.active"),
    "a retired or unknown key signs statements": ("pinned_keys", 'state != "RETIRED" {', "false {"),
    "a statement from before the file": ("pinned_keys", 'states[kid] == ""'),
    "a revoked key comes back": ("pinned_keys", "p.revoked[statement.active] || p.dropped[statement.active]"),
    "an older statement is taken": ("pinned_keys", "!p.newest.position.isBefore(statement.position)"),
    "a serial is used twice": ("pinned_keys", "statement.position == p.newest.position && !bytes.Equal(statement.payload, p.newest.payload)"),
    "statements of another store": ("pinned_keys", 'store != "" && statement.store != store'),
    "a revocation is not heard": ("pinned_keys", "p.revoked[stated.kid] = true", ""),
    "a new file forgets nothing": ("pinned_keys", "\tp.forget()\n}\n\n// dropOtherStore", "}\n\n// dropOtherStore"),
    "a statement has a key twice": ("key_statement", "m.ensure(!seen[stated.kid],", "m.ensure(true,"),
    "a file that changes is not read": ("key_file", "bytes.Equal(data, f.seen)", "bytes.Equal(data, f.seen) || true"),
    # Restarts.
    "the mark is lost": ("state_directory", "held.remember(position{saved.Mark.Epoch, saved.Mark.Revision})", ""),
    "the store is lost": ("state_directory", "held.trust.rememberStore(saved.Store)", ""),
    "a directory of another namespace": ("state_directory", "saved.Namespace != held.trust.namespace || ", ""),
    "the fingerprint is lost": ("subscriber", "Fingerprint: s.held.event", "Fingerprint: 0"),
}  # fmt: skip


def replacement(change):
    """Returns the text that a defect replaces, and the replacement."""
    _, old, *new = change
    return (old, *new) if new else (f"if {old} {{", f"if false && ({old}) {{")


def misplaced(build):
    """Returns the defects whose anchor does not occur exactly once: they would change nothing."""
    texts = {change[0]: (build / f"{change[0]}.go").read_text() for change in DEFECTS.values()}
    counts = {name: texts[change[0]].count(replacement(change)[0]) for name, change in DEFECTS.items()}
    return [f"{name}: its anchor occurs {count} times" for name, count in counts.items() if count != 1]


def is_found(build, go, number, change, check_vectors):
    file, (old, new) = change[0], replacement(change)
    broken = build / "broken" / str(number)
    shutil.copytree(build, broken, ignore=shutil.ignore_patterns("broken", "watch", "check"))
    path = broken / f"{file}.go"
    text = path.read_text()
    if text.count(old) != 1:
        return False, f"{old!r} is {text.count(old)} times in {file}"
    path.write_text(text.replace(old, new))
    compiles, said = go("test", "-c", "-o", "check", ".", cwd=broken)
    if not compiles:
        return False, f"does not compile: {said}"
    holds, said = check_vectors(broken)
    shutil.rmtree(broken)
    return not holds, said


def check(build, go, check_vectors, words):
    """Counts the defects that were found, of those named by a part of their name (default: all). Exits with 1 when one is missing."""
    played = {name: change for name, change in DEFECTS.items() if not words or any(word in name for word in words)}
    missed = 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        results = {
            name: pool.submit(is_found, build, go, number, change, check_vectors)
            for number, (name, change) in enumerate(played.items())
        }  # fmt: skip
        for name, result in results.items():
            found, said = result.result()
            surprise = next((line.strip() for line in said.splitlines() if "_test.go:" in line), said.strip()[:300])
            print(f"{'found' if found else 'MISSED'}: {name}: {surprise[:160]}", flush=True)
            missed += not found
    if missed:
        raise SystemExit(f"go: {missed} defects were not found")
    return len(played)
