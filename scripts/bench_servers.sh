#!/bin/sh
# Installs the servers that `make bench` compares with, from Debian's packages; `make bench BENCH_INSTALL=1` runs this.
#
# etcd and NATS are only installed here: the benchmarks start their own servers and never use a service.
set -eu

missing=
for pair in etcd:etcd-server nats-server:nats-server; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null 2>&1 || {
  echo "bench: no apt-get here: install$missing by hand" >&2
  exit 1
}
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update -qq >&2
# shellcheck disable=SC2086 # several packages are several words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing >&2
