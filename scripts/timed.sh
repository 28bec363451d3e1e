#!/usr/bin/env bash
# Runs a command and prints on stderr how long it took: scripts/timed.sh NAME COMMAND...
set -uo pipefail

name=$1
shift
printf '=== %s\n' "$name" >&2
"$@"
code=$?
printf '=== %s: %s s, exit code %s\n' "$name" "$SECONDS" "$code" >&2
exit "$code"
