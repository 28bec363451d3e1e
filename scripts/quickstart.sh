#!/usr/bin/env bash
# The whole life of a policy against a real server, step by step: `make quickstart` builds the binary and runs this.
#
#   scripts/quickstart.sh [BINARY]     default: target/debug/policyhub
#
# Everything happens in a scratch directory that is removed at the end. Each step prints what it is about, the command,
# and what the command said. Exit 0: every step was seen. Exit 1: the step named last was not. Needs bash, python3, curl.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
binary=$(realpath "${1:-$root/target/debug/policyhub}")
[ -x "$binary" ] || { echo "quickstart: $binary is not there: run \`cargo build\` first" >&2; exit 1; }

# None of your settings may select another server.
unset "${!POLICYHUB_@}"

scratch=$(mktemp -d)
server='' watcher='' number=0 title='' finished=''

clean_up() {
  local code=$?
  trap - EXIT
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  wait 2>/dev/null || true
  if [ -z "$finished" ]; then
    echo "quickstart: NOT SEEN: step $number, $title" >&2
    for log in server.log watch.err; do
      [ ! -s "$scratch/$log" ] || { echo "--- the end of $log" >&2; tail -n 20 "$scratch/$log" >&2; }
    done
    [ "$code" != 0 ] || code=1
  fi
  rm -rf "$scratch"
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# step TITLE LINE...: prints the next step.
step() {
  number=$((number + 1)) title=$1
  printf '\n==> %s. %s\n' "$number" "$title"
  shift
  [ $# = 0 ] || printf '    %s\n' "$@"
}

# said COMMAND...: prints the command as you would type it.
said() {
  local word line=
  for word in "$@"; do
    case $word in *[!A-Za-z0-9_./:@=\&-]*) word="'$word'" ;; esac
    line+=" $word"
  done
  printf '$%s\n' "$line"
}

# run COMMAND...: runs a command that must succeed. Its output is in $output too.
run() {
  said "$@"
  local code=0
  output=$("$@" 2>&1) || code=$?
  [ -z "$output" ] || printf '%s\n' "$output"
  [ "$code" = 0 ] || { echo "quickstart: exit code $code instead of 0" >&2; exit 1; }
}

# refused COMMAND...: runs a command that must end with exit code 1.
refused() {
  local code=0
  said "$@"
  output=$("$@" 2>&1) || code=$?
  printf '%s\n' "$output"
  [ "$code" = 1 ] || { echo "quickstart: exit code $code instead of 1" >&2; exit 1; }
}

# seen TEXT...: each must be in the output of the last command.
seen() {
  local text
  for text in "$@"; do
    case $output in *"$text"*) ;; *) echo "quickstart: the output does not hold: $text" >&2; exit 1 ;; esac
  done
}

# soon COMMAND...: polls until it succeeds, for 20 s at most.
soon() {
  local until=$((SECONDS + 20))
  while ! "$@"; do
    [ "$SECONDS" -lt "$until" ] || { echo "quickstart: waited 20 s in vain for: $*" >&2; exit 1; }
    sleep 0.05
  done
}

heard() { python3 "$root/scripts/heard.py" watch.jsonl; }
has_heard() { [ "$(heard | tail -n 1)" = "$1" ]; }

# hears LINE: the subscriber must receive this next, and nothing else.
expected=()
hears() {
  expected+=("$1")
  soon has_heard "$1"
  printf '    the subscriber heard: %s\n' "$1"
}

is_serving() {
  kill -0 "$server" 2>/dev/null || { echo "quickstart: the server ended" >&2; exit 1; }
  [ -s policyhub-data/addr.json ]
}
address() { python3 -c 'import json, sys; print(json.load(open("policyhub-data/addr.json"))[sys.argv[1]])' "$1"; }

cd "$scratch"
ln -s "$root/examples" examples
ln -s "$binary" policyhub
PATH=$scratch:$PATH
policy=allowed-locations-deny
https=storage-audit-for-httpsenabled-audit
sql=sql-server-public-network-access-audit
location=resources-in-resource-group-location-audit
of() { echo "examples/policies/$1/v$2/policy-definition.yaml"; }

step "Start the hub" \
  "One binary, an embedded database in ./policyhub-data, no flags needed. (Port 0 here: take any free port.)"
said policyhub serve --grpc-addr 127.0.0.1:0 --http-addr 127.0.0.1:0 --console-addr 127.0.0.1:0 '&'
policyhub serve --grpc-addr 127.0.0.1:0 --http-addr 127.0.0.1:0 --console-addr 127.0.0.1:0 2>server.log &
server=$!
soon is_serving
grpc=$(address grpc) http=$(address http)
said export "POLICYHUB_SERVER=http://$grpc"
export POLICYHUB_SERVER=http://$grpc
run curl --silent --show-error --fail "http://$http/readyz"

step "A service subscribes" \
  "It prints only what it has verified with the keys in keys.json, and stays connected for the whole tour."
run curl --silent --show-error --fail "http://$http/.well-known/jwks.json" --output keys.json
said policyhub watch --jwks keys.json --output json '&'
policyhub watch --jwks keys.json --output json >watch.jsonl 2>watch.err &
watcher=$!
hears "SNAPSHOT at revision 0: no active policies"

step "Write a draft" \
  "The server numbers it: version 1. The label is the SemVer people know it by. No service sees a draft."
run policyhub draft $policy "$(of $policy 1.0.0)" --label 1.0.0 --note 'first rules' --create
seen "$policy@1 1.0.0 DRAFT" "revision 1"

step "Stage checks it" "Every check, with its result. From here on the content is locked."
run policyhub stage $policy
seen "$policy@1 1.0.0 STAGED" "PASSED parse"

step "Publish signs it" "The exact bytes, for ever. Still nobody runs with it."
run policyhub publish $policy@1
seen "$policy@1 1.0.0 PUBLISHED"

step "Activate puts it in force" "A pointer moves, one event is written, and whoever watches hears of it at once."
run policyhub activate $policy@1 --reason 'go live'
seen "$policy none -> 1" "activated at revision 4"
hears "ACTIVATE at revision 4: $policy none -> 1"

step "A second version: look at the difference first" "Then publish and activate in one transaction."
run policyhub draft $policy "$(of $policy 1.1.0)" --label 1.1.0 --note 'make the effect a parameter'
run policyhub diff $policy 1 2
seen "-    effect: deny" "+    effect: '[parameters(''effect'')]'"
run policyhub publish $policy@2 --activate --reason 'let teams audit first'
seen "$policy@2 1.1.0 PUBLISHED" "$policy 1 -> 2"
hears "ACTIVATE at revision 6: $policy 1 -> 2"

step "Several policies at once, all or none" "Three policies that belong together. While one of them is not published, none moves;" \
  "then one transaction, one event, one push."
for each in $https $sql; do
  run policyhub draft "$each" "$(of "$each" 1.0.0)" --label 1.0.0 --create
  run policyhub publish "$each@1"
done
run policyhub draft $location "$(of $location 1.0.0)" --label 1.0.0 --create
refused policyhub activate $https@1 $sql@1 $location@1 --reason 'baseline of 2020'
seen VERSION_NOT_PUBLISHED
run policyhub publish $location@1
run policyhub activate $https@1 $sql@1 $location@1 --reason 'baseline of 2020'
seen "$https none -> 1" "$sql none -> 1" "$location none -> 1" "activated at revision 13"
hears "ACTIVATE at revision 13: $https none -> 1, $sql none -> 1, $location none -> 1"

step "A broken draft is refused" "The check says where: line and column. What is in force stays in force."
printf 'mode: Indexed\npolicyRule:\n  if:\n    field: location\n   then: deny\n' >broken.yaml
run policyhub draft $policy broken.yaml --label 1.2.0
refused policyhub publish $policy@3 --activate --reason 'in a hurry'
seen VALIDATION_FAILED "line 5, column 4"
run policyhub report $policy@3
seen "FAILED parse at 5:4"
run policyhub abandon $policy@3

step "Roll back" "The pointer goes back, at a new revision. Nothing is destroyed, so this can be undone too."
run policyhub rollback $policy --reason 'teams were not ready'
seen "$policy 2 -> 1"
hears "ROLLBACK at revision 16: $policy 2 -> 1"

step "Or roll back by copying forward" "Version 4 gets the content of version 2, for those who want numbers to rise."
run policyhub rollback $policy --to 2 --copy-forward --reason 'now they are'
seen "$policy@4 PUBLISHED" "$policy 1 -> 4"
hears "ROLLBACK at revision 17: $policy 1 -> 4"

step "Deactivate" "No version is in force any more. Subscribers get a tombstone."
run policyhub deactivate $policy --reason 'replaced by another tool'
seen "$policy 4 -> none" "deactivated at revision 18"
hears "DEACTIVATE at revision 18: $policy 4 -> none"
refused policyhub active $policy
seen NO_ACTIVE_VERSION

step "Ask what happened" "Every version, and every event of the log: who, what, when, why."
run policyhub history $policy
seen "ABANDONED" "PUBLISHED" "first rules"
run policyhub events $policy
seen "go live" "teams were not ready" "replaced by another tool"

step "Ask what was in force earlier" "Here: right after revision 6. The bundle is saved with its proofs."
run policyhub active --at-revision 6
seen "$policy  2        1.1.0"
run policyhub active $policy --at-revision 6 --save out
cmp out/$policy/content "$(of $policy 1.1.0)"

step "Look at it in a browser" "The address that is printed signs a browser in, once. Without that the console asks who you are."
run policyhub console
seen "$(address console)/sign-in/code?code="
run curl --silent --show-error --fail "$output"
seen "This code signs you in as <b>local:admin</b>"

step "Stop the server" "SIGTERM: it tells subscribers where to go on from, then drains. They try until it is there again."
said kill -TERM "$server"
kill -TERM "$server"
wait "$server" || { echo "quickstart: the server ended with exit code $?" >&2; exit 1; }
server=
hears "RECONNECT because the server is draining"
for _ in $(seq 100); do grep -q 'going on' watch.err && break; sleep 0.1; done
kill "$watcher" || { echo "quickstart: the subscriber ended with the server" >&2; exit 1; }
wait "$watcher" || true
watcher=
output=$(cat watch.err)
printf '%s\n' "$output"
seen "going on from 1:18"

step "Verify without any server" "The saved files and the keys are enough. Change one word and it is no longer the policy."
proofs=(--jwks keys.json --manifest out/$policy/manifest.jws --statement out/$policy/statement.jws)
run policyhub verify "${proofs[@]}" --content out/$policy/content
seen "verified $policy@2 of default" "in force at 1:6"
printf '$ sed "s/- Audit/- Allow/" out/%s/content > forged\n' $policy
sed 's/- Audit/- Allow/' out/$policy/content >forged
refused policyhub verify "${proofs[@]}" --content forged
seen "does not verify"

step "The subscriber heard exactly this" "Nothing missing, nothing twice, every signature verified."
output=$(heard)
printf '%s\n' "$output"
[ "$output" = "$(printf '%s\n' "${expected[@]}")" ] || { echo "quickstart: something else was expected" >&2; exit 1; }

finished=yes
printf '\nquickstart: all %s steps were seen in %s s.\n' "$number" "$SECONDS"
printf 'Now yours: run %s serve, and follow README.md. Its console is at http://127.0.0.1:7072: %s console opens it.\n' \
  "${binary#"$root"/}" "${binary#"$root"/}"
