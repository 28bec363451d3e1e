#!/bin/sh
# Makes target/tools: the outside tools that checks and examples use, each at one exact version.
#
#   target/tools/venv       Python 3.11 or newer, with scripts/requirements.txt
#   target/tools/bin/buf    lint and breaking checks of proto/, and `buf curl`
#   target/tools/bin/grpcurl
#   target/tools/typescript     compiler and libraries of examples/typescript, by its package-lock.json
#   target/tools/go             GOPATH with the generated code of examples/go. Go, grpc-go and protoc are Debian's packages: what is not
#                               there is installed, as root or with sudo
#   target/tools/browser    what drives chromium and looks for faults of accessibility, by the package-lock.json of tests/browser. Chromium
#                               is Debian's package: installed when it is not there, as root or with sudo
#   target/tools/bin/cargo-fuzz   for `make fuzz` alone: made only when it is named
#
# Run again it does nothing, until a version here, in requirements.txt or in package-lock.json changes. Needs python3, npm and cargo.
# `scripts/tools.sh venv` makes only the named part (venv, buf, grpcurl, typescript, go, browser, fuzz).
set -eu

BUF_VERSION=1.75.0
GRPCURL_VERSION=0.2.1
CARGO_FUZZ_VERSION=0.13.2

root=$(cd "$(dirname "$0")/.." && pwd)
tools=$root/target/tools
requirements=$root/scripts/requirements.txt
go_libraries=/usr/share/gocode
go_packages="golang-go golang-google-grpc-dev golang-google-protobuf-dev protobuf-compiler libprotobuf-dev"

fail() {
  echo "tools: $*" >&2
  exit 1
}

need() {
  command -v "$1" >/dev/null 2>&1 || fail "$1 is not on the PATH; install it, then run scripts/tools.sh again"
}

# is_made PART WANTED: true when the stamp of a part holds exactly what is wanted now.
is_made() {
  [ -f "$tools/$1.stamp" ] && [ "$(cat "$tools/$1.stamp")" = "$2" ]
}

make_venv() {
  wanted="$(cksum <"$requirements")"
  is_made venv "$wanted" && return
  need python3
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "python3 is older than 3.11"
  echo "tools: making the Python environment" >&2
  rm -rf "$tools/venv" "$tools/venv.stamp"
  python3 -m venv "$tools/venv" || fail "python3 -m venv failed (on Debian: install python3-venv)"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
    --requirement "$requirements" || fail "pip could not install scripts/requirements.txt"
  "$tools/venv/bin/pip" check --disable-pip-version-check >&2 || fail "scripts/requirements.txt misses a dependency"
  printf '%s\n' "$wanted" >"$tools/venv.stamp"
}

make_buf() {
  is_made buf "$BUF_VERSION" && return
  need npm
  echo "tools: installing buf $BUF_VERSION" >&2
  rm -rf "$tools/buf" "$tools/buf.stamp"
  npm install --silent --no-audit --no-fund --no-save --prefix "$tools/buf" "@bufbuild/buf@$BUF_VERSION" >&2 ||
    fail "npm could not install @bufbuild/buf@$BUF_VERSION"
  ln -sf ../buf/node_modules/.bin/buf "$tools/bin/buf"
  found=$("$tools/bin/buf" --version 2>&1) || fail "buf does not start: $found"
  [ "$found" = "$BUF_VERSION" ] || fail "buf is $found, not $BUF_VERSION"
  printf '%s\n' "$BUF_VERSION" >"$tools/buf.stamp"
}

make_grpcurl() {
  is_made grpcurl "$GRPCURL_VERSION" && return
  need cargo
  echo "tools: building grpcurl-rs $GRPCURL_VERSION (about two minutes)" >&2
  rm -f "$tools/grpcurl.stamp"
  cargo install grpcurl-rs --version "$GRPCURL_VERSION" --root "$tools/cargo" --target-dir "$tools/cargo-build" \
    --locked --quiet || fail "cargo could not build grpcurl-rs $GRPCURL_VERSION"
  rm -rf "$tools/cargo-build"
  for name in grpcurl grpcurl-rs; do
    [ -x "$tools/cargo/bin/$name" ] && ln -sf "../cargo/bin/$name" "$tools/bin/grpcurl" && break
  done
  "$tools/bin/grpcurl" --help >/dev/null 2>&1 || fail "grpcurl does not start"
  printf '%s\n' "$GRPCURL_VERSION" >"$tools/grpcurl.stamp"
}

# make_npm PART SOURCE: the libraries that the package-lock.json of a folder names.
make_npm() {
  wanted="$(cat "$root/$2/package.json" "$root/$2/package-lock.json" | cksum)"
  is_made "$1" "$wanted" && return
  need npm
  node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || fail "node is older than 20"
  echo "tools: installing what $2 needs" >&2
  rm -rf "${tools:?}/$1" "$tools/$1.stamp"
  mkdir -p "$tools/$1"
  cp "$root/$2/package.json" "$root/$2/package-lock.json" "$root/$2/.npmrc" "$tools/$1"
  (cd "$tools/$1" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2) ||
    fail "npm could not install $2/package-lock.json"
  printf '%s\n' "$wanted" >"$tools/$1.stamp"
}

make_typescript() {
  make_npm typescript examples/typescript
}

# install_packages NAMES
install_packages() {
  as_root=
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail "not root and no sudo: run \`apt-get install $1\` as root"
    as_root=sudo
  fi
  echo "tools: installing the packages $1" >&2
  $as_root apt-get update -qq >&2 || fail "apt-get update failed"
  # Each word is a package.
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends $1 >&2 ||
    fail "apt-get could not install $1"
}

# Debian's Go libraries are sources below one GOPATH: no module proxy is used, and only Debian's versions are available.
install_go() {
  command -v go >/dev/null 2>&1 && command -v protoc >/dev/null 2>&1 && [ -d "$go_libraries/src/google.golang.org/grpc" ] &&
    [ -d "$go_libraries/src/google.golang.org/protobuf" ] && return
  command -v apt-get >/dev/null 2>&1 || fail "no apt-get here: examples/go is tested with the packages of Debian 12: $go_packages"
  install_packages "$go_packages"
}

make_go() {
  install_go
  protos="$root/proto/policyhub/v1/cursor.proto $root/proto/policyhub/v1/refusal.proto $root/proto/policyhub/v1/sync_service.proto"
  # shellcheck disable=SC2086
  wanted="$(go version) $(protoc --version) $(cat $protos | cksum)"
  is_made go "$wanted" && return
  echo "tools: generating what examples/go needs" >&2
  rm -rf "$tools/go" "$tools/go.stamp"
  mkdir -p "$tools/go/src"
  GO111MODULE=off GOPATH="$tools/go:$go_libraries" \
    go build -o "$tools/go/bin/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go || fail "go could not build protoc-gen-go"
  # shellcheck disable=SC2086
  protoc --proto_path="$root/proto" --plugin="$tools/go/bin/protoc-gen-go" --go_out="$tools/go/src" $protos ||
    fail "protoc could not generate the Go code of proto/policyhub/v1"
  printf '%s\n' "$wanted" >"$tools/go.stamp"
}

make_browser() {
  if ! command -v chromium >/dev/null 2>&1; then
    command -v apt-get >/dev/null 2>&1 || fail "no apt-get here: the console is tested with the package chromium of Debian 12"
    install_packages "chromium fonts-dejavu-core"
  fi
  make_npm browser tests/browser
}

make_fuzz() {
  is_made fuzz "$CARGO_FUZZ_VERSION" && return
  need cargo
  need c++
  echo "tools: building cargo-fuzz $CARGO_FUZZ_VERSION (about a minute)" >&2
  rm -f "$tools/fuzz.stamp"
  cargo install cargo-fuzz --version "$CARGO_FUZZ_VERSION" --root "$tools/cargo" --target-dir "$tools/cargo-build" \
    --locked --quiet || fail "cargo could not build cargo-fuzz $CARGO_FUZZ_VERSION"
  rm -rf "$tools/cargo-build"
  ln -sf ../cargo/bin/cargo-fuzz "$tools/bin/cargo-fuzz"
  "$tools/bin/cargo-fuzz" --version >/dev/null 2>&1 || fail "cargo-fuzz does not start"
  printf '%s\n' "$CARGO_FUZZ_VERSION" >"$tools/fuzz.stamp"
}

mkdir -p "$tools/bin"
[ $# -gt 0 ] || set -- venv buf grpcurl typescript go browser
for part in "$@"; do
  case $part in
    venv | buf | grpcurl | typescript | go | browser | fuzz) "make_$part" ;;
    *) fail "$part is not one of venv, buf, grpcurl, typescript, go, browser, fuzz" ;;
  esac
done
