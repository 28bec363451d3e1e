#!/usr/bin/env bash
# Packs what a program with the SDK needs, builds it from what was packed, and looks at what comes with it: scripts/packages.sh
set -euo pipefail

cd "$(dirname "$0")/.."
# cargo caches an unpacked crate, and what it built of it, by its version alone: otherwise the SDK would be built with the core of an earlier run.
rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/policyhub-{core,client}-[0-9]*
target=${CARGO_TARGET_DIR:-target}
built=$(grep -ls 'registry/src/-' "$target"/debug/{deps/policyhub_{core,client},build/policyhub-core-*/build_script_build}-*.d || true)
for file in $built; do
  hash=${file##*-}
  rm -rf "$target"/debug/.fingerprint/policyhub-{core,client}-"${hash%.d}"
done
cargo package --quiet --allow-dirty --all-features --package policyhub-core --package policyhub-client

# The SDK has no database, no server and no second crypto library, and needs no newer Rust than it declares.
metadata=$(mktemp)
trap 'rm -f "$metadata"' EXIT
cargo metadata --format-version 1 --manifest-path client/Cargo.toml >"$metadata"
cargo tree --package policyhub-client --all-features --edges normal,build --prefix none --format '{p}' |
  python3 -c '
import json, re, sys

REFUSED = re.compile(r"sea-|sqlx|libsqlite3|axum|clap|jsonschema|openssl$|openssl-sys|aws-lc|policyhub-migrations")

def parts(version):
    return [int(part) for part in version.split(".")]

needs = {(p["name"], p["version"]): p["rust_version"] or "1.0" for p in json.load(open(sys.argv[1]))["packages"]}
found = {tuple(line.split()[:2]) for line in sys.stdin if line.strip()}
found = {(name, version.lstrip("v")) for name, version in found}
said = needs[("policyhub-client", next(version for name, version in found if name == "policyhub-client"))]
wrong = [f"{name} comes with the SDK" for name, _ in found if REFUSED.match(name)]
wrong += [
    f"{name} {version} needs Rust {needs[(name, version)]}, the SDK says {said}"
    for name, version in found
    if parts(needs[(name, version)])[:2] > parts(said)[:2]
]
if wrong or len(found) < 20:
    sys.exit("packages: " + ("; ".join(sorted(wrong)) or f"only {len(found)} packages were looked at"))
print(f"packages: the SDK comes with {len(found) - 1} packages and needs Rust {said}")
' "$metadata"
