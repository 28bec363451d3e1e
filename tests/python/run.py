#!/usr/bin/env python3
"""Tests examples/python: against a hostile server, then against the real one; and stock channels to several addresses.

    tests/python/run.py [BINARY]     default: target/debug/policyhub
    tests/python/run.py --lies       only the lies by chance, as many as LIES says

Exits 1 on any difference. Runs itself in target/tools/venv, which scripts/tools.sh makes.
"""

import asyncio
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VENV = ROOT / "target" / "tools" / "venv"

if pathlib.Path(sys.prefix) != VENV:
    subprocess.run([ROOT / "scripts" / "tools.sh", "venv"], check=True)
    os.execv(VENV / "bin" / "python", [str(VENV / "bin" / "python"), *sys.argv])


def check_requirements():
    """Checks that the example requires the versions that it is tested with."""
    tested, asked = (
        {line for line in path.read_text().splitlines() if line and not line.startswith("#")}
        for path in (ROOT / "scripts" / "requirements.txt", ROOT / "examples" / "python" / "requirements.txt")
    )
    if not asked <= tested:
        sys.exit(f"python: the example is not tested with {', '.join(asked - tested)}")


def main():
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "debug" / "policyhub").resolve()
    check_requirements()
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as scratch:
        stubs = pathlib.Path(scratch) / "stubs"
        stubs.mkdir()
        protos = sorted((ROOT / "proto" / "policyhub" / "v1").glob("*.proto"))
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'proto'}", f"--python_out={stubs}",
             f"--grpc_python_out={stubs}", *protos], check=True,
        )  # fmt: skip
        sys.path[:0] = [str(stubs), str(ROOT / "examples" / "python"), str(ROOT / "tests" / "vectors")]
        import addresses
        import bounds
        import drill
        import flood
        import hostile
        import lies_random
        import real
        import streams

        if sys.argv[1:] == ["--lies"]:
            by_chance, taken = lies_random.check(hostile.expect)
            print(f"python: {by_chance} messages by chance did no harm ({taken} were true enough to be taken)")
            return
        bounds.check(hostile.expect)
        flood.check(hostile.expect)
        lies = asyncio.run(hostile.check())
        vectors = asyncio.run(streams.check())
        by_chance, taken = lies_random.check(hostile.expect)
        changes = real.check(binary, pathlib.Path(scratch), stubs)
        addresses.check(binary, pathlib.Path(scratch), stubs)
        followers = drill.check(binary, pathlib.Path(scratch) / "drill", stubs)
    print(
        f"python: {lies} lies of a hub did no harm, nor did {vectors} streams of the vectors, nor {by_chance} messages by chance ({taken} were true enough to be taken); "
        f"{followers} pinned subscribers followed two rotations and a revocation; {changes} changes of a real one were printed as `policyhub watch` heard them"
    )


if __name__ == "__main__":
    main()
