#!/usr/bin/env python3
"""Tests examples/typescript: compiled strictly, by all vectors, and against the real server with the client's default settings.

    tests/typescript/run.py [BINARY]            default: target/debug/policyhub
    tests/typescript/run.py --defects [WORD…]   only that each defect of defects.py is found, of those whose names have a word

Exits 1 on any difference, and when the anchor of a defect does not occur exactly once. Runs itself in target/tools/venv; compiles in target/tools/typescript. scripts/tools.sh makes both.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import defects

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VENV = ROOT / "target" / "tools" / "venv"
BUILD = ROOT / "target" / "tools" / "typescript"
CHECK_TIMEOUT_SECONDS = 120
SOURCES = ("examples/typescript", "tests/typescript")

if pathlib.Path(sys.prefix) != VENV:
    subprocess.run([ROOT / "scripts" / "tools.sh", "venv", "typescript"], check=True)
    os.execv(VENV / "bin" / "python", [str(VENV / "bin" / "python"), *sys.argv])


def compile_all():
    """Type-checks and compiles copies: libraries are found beside the sources, and nothing is written into the tree."""
    for made in (*SOURCES, "build"):
        shutil.rmtree(BUILD / made, ignore_errors=True)
    for source in SOURCES:
        shutil.copytree(ROOT / source, BUILD / source, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    subprocess.run(["node_modules/.bin/tsc", "--project", "tests/typescript", "--outDir", "build"], cwd=BUILD, check=True)


def check_vectors(build):
    """Returns whether the vectors pass for the compiled code, and the output."""
    command = ["node", build / "tests" / "typescript" / "check.js"]
    try:
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False, timeout=CHECK_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return False, f"typescript: not done after {CHECK_TIMEOUT_SECONDS} s"
    return done.returncode == 0, done.stdout + done.stderr


def check_server(binary):
    sys.path.insert(0, str(ROOT / "tests" / "python"))
    import subscriber

    example = ["node", str(BUILD / "build" / "examples" / "typescript" / "watch.js"), "--proto", str(ROOT / "proto")]
    return subscriber.check(binary, example)


def main():
    compile_all()
    if misplaced := defects.misplaced(BUILD):
        sys.exit("\n".join(misplaced))
    if sys.argv[1:2] == ["--defects"]:
        print(f"typescript: {defects.check(BUILD, check_vectors, sys.argv[2:])} defects were found")
        return
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "debug" / "policyhub").resolve()
    holds, said = check_vectors(BUILD / "build")
    if not holds:
        sys.exit(said)
    print(f"{said.strip()}; {check_server(binary)}")


if __name__ == "__main__":
    main()
