#!/bin/sh
# Makes sure that the tests find a PostgreSQL server and a PgBouncer; `make postgres` runs this.
#
# Looks where tests/it/harness/postgres.rs looks: POLICYHUB_TEST_PG_BIN, pg_config, Debian's directories; and where
# pgbouncer.rs beside it looks. What is not there it installs, Debian's `postgresql` and `pgbouncer`, as root or with sudo. The tests start clusters of their own and never
# use the one that the package sets up. Prints the directory of the binaries.
set -eu

fail() {
  echo "postgres: $*" >&2
  exit 1
}

is_whole() {
  [ -n "$1" ] || return 1
  for name in initdb pg_ctl postgres psql; do
    [ -x "$1/$name" ] || return 1
  done
}

find_binaries() {
  if [ -n "${POLICYHUB_TEST_PG_BIN:-}" ]; then
    is_whole "$POLICYHUB_TEST_PG_BIN" || fail "POLICYHUB_TEST_PG_BIN is $POLICYHUB_TEST_PG_BIN: no server there"
    echo "$POLICYHUB_TEST_PG_BIN"
    return
  fi
  configured=$(pg_config --bindir 2>/dev/null || true)
  for bin in "$configured" $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5,5nr); do
    if is_whole "$bin"; then
      echo "$bin"
      return
    fi
  done
}

has_pgbouncer() {
  [ -x "${POLICYHUB_TEST_PGBOUNCER:-}" ] || [ -x /usr/sbin/pgbouncer ] || [ -x /usr/bin/pgbouncer ]
}

# install_package NAME HINT
install_package() {
  command -v apt-get >/dev/null 2>&1 || fail "no apt-get here: $2"
  as_root=
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail "not root and no sudo: run \`apt-get install $1\` as root"
    as_root=sudo
  fi
  echo "postgres: installing the $1 package" >&2
  $as_root apt-get update -qq >&2 || fail "apt-get update failed"
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$1" >&2 ||
    fail "apt-get could not install $1"
}

bin=$(find_binaries) || exit 1
if [ -z "$bin" ]; then
  install_package postgresql "install a PostgreSQL server by hand, then set POLICYHUB_TEST_PG_BIN to its bin directory"
  bin=$(find_binaries) || exit 1
  [ -n "$bin" ] || fail "the postgresql package is installed but holds no server"
fi
if ! has_pgbouncer; then
  install_package pgbouncer "install PgBouncer by hand, then set POLICYHUB_TEST_PGBOUNCER to its binary"
  has_pgbouncer || fail "the pgbouncer package is installed but holds no pgbouncer"
fi
"$bin/postgres" --version >&2
echo "$bin"
