#!/usr/bin/env python3
"""Tests examples/go: vetted, by all vectors, and against the real server with the client's default settings.

    tests/go/run.py [BINARY]            default: target/debug/policyhub
    tests/go/run.py --defects [WORD…]   only that each defect of defects.py is found, of those whose names have a word

Exits 1 on any difference, and when the anchor of a defect does not occur exactly once. Runs itself in target/tools/venv, and compiles in target/tools/go. scripts/tools.sh makes both.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import defects

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VENV = ROOT / "target" / "tools" / "venv"
BUILD = ROOT / "target" / "tools" / "go" / "build"
GOPATH = f"{ROOT / 'target' / 'tools' / 'go'}:/usr/share/gocode"
CHECK_TIMEOUT_SECONDS = 120

if pathlib.Path(sys.prefix) != VENV:
    subprocess.run([ROOT / "scripts" / "tools.sh", "venv", "go"], check=True)
    os.execv(VENV / "bin" / "python", [str(VENV / "bin" / "python"), *sys.argv])


def go(*arguments, cwd=BUILD):
    """Runs a command of Go and returns its output and whether it succeeded. Its libraries are those of Debian, without modules."""
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": GOPATH, "GOFLAGS": ""}
    done = subprocess.run(["go", *arguments], cwd=cwd, env=environment, text=True, errors="replace", capture_output=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def must(holds, said):
    if not holds:
        sys.exit(f"go: {said}")


def compile_all():
    """Compiles copies: tests beside the tested sources, as Go requires, and nothing is written into the tree."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    for source in (ROOT / "examples" / "go", ROOT / "tests" / "go"):
        for path in source.glob("*.go"):
            shutil.copy(path, BUILD)
    said = subprocess.run(["gofmt", "-l", "."], cwd=BUILD, text=True, capture_output=True, check=True).stdout
    must(said == "", f"gofmt changes {said}")
    must(*go("vet", "."))
    must(*go("build", "-o", "watch", "."))
    must(*go("test", "-c", "-o", "check", "."))


def check_vectors(build):
    """Returns whether the vectors pass for the compiled code, and the output."""
    environment = os.environ | {"VECTORS": str(ROOT / "tests" / "vectors")}
    try:
        done = subprocess.run(
            [build / "check", "-test.failfast"], cwd=build, env=environment, text=True, errors="replace", capture_output=True, check=False,
            timeout=CHECK_TIMEOUT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, f"not done after {CHECK_TIMEOUT_SECONDS} s"
    return done.returncode == 0, done.stdout + done.stderr


def check_server(binary):
    sys.path.insert(0, str(ROOT / "tests" / "python"))
    import subscriber

    return subscriber.check(binary, [str(BUILD / "watch")])


def main():
    compile_all()
    if misplaced := defects.misplaced(BUILD):
        sys.exit("\n".join(misplaced))
    if sys.argv[1:2] == ["--defects"]:
        print(f"go: {defects.check(BUILD, go, check_vectors, sys.argv[2:])} defects were found")
        return
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "debug" / "policyhub").resolve()
    holds, said = check_vectors(BUILD)
    must(holds, said)
    (checked,) = [line for line in said.splitlines() if line.startswith("go: ")]
    print(f"{checked}; {check_server(binary)}")


if __name__ == "__main__":
    main()
