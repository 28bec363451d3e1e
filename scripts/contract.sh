#!/usr/bin/env bash
# Refuses a change of proto/ that breaks clients built against an earlier commit: scripts/contract.sh
# Each commit since the contract is kept is compared with the one before, and the work tree with the last of them.
set -euo pipefail

cd "$(dirname "$0")/.."
# From this commit on the contract is stable. It moves only with a new package of the contract (policyhub.v2).
KEPT_SINCE=45acbb879b0c49bc2e665bf96da241fa82d41cbd
BUF=target/tools/bin/buf

if [ "$(git rev-parse --is-shallow-repository 2>/dev/null || echo none)" != false ]; then
  echo 'contract: NOT CHECKED: this copy has no history to compare with; clone all of it' >&2
  exit 0
fi
if ! git merge-base --is-ancestor "$KEPT_SINCE" HEAD; then
  echo "contract: the history of this commit does not reach back to $KEPT_SINCE" >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
before=$KEPT_SINCE
for commit in $(git rev-list --reverse --first-parent "$KEPT_SINCE..HEAD" -- proto); do
  rm -rf "$work/proto"
  git archive "$commit" proto | tar -x -C "$work"
  "$BUF" breaking "$work/proto" --against ".git#ref=$before,subdir=proto" || {
    echo "contract: ${commit:0:12} breaks what ${before:0:12} said" >&2
    exit 1
  }
  before=$commit
done
"$BUF" breaking proto --against ".git#ref=$before,subdir=proto"
