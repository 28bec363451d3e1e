"""The history of the tests' hub, and its honest messages: for all policies, or for those of a filter."""

from hub import activation, heartbeat, snapshot, statement

LOG = {
    4: [("a", 0, 1)], 6: [("b", 0, 1)], 8: [("a", 1, 2), ("b", 1, 2)], 10: [("a", 2, 1)], 12: [("c", 0, 1)],
    14: [("a", 1, 2), ("b", 2, 0), ("c", 1, 2)],
}  # fmt: skip
NEWEST = max(LOG)


def active_at(revision):
    """Returns what is in force right after a revision: policy to (version, position of the activation)."""
    moved = {policy: (to, (1, at)) for at, moves in LOG.items() if at <= revision for policy, _, to in moves}
    return {policy: held for policy, held in moved.items() if held[0]}


STATEMENTS = {(1, at): statement((1, at), moves, active_at(at)) for at, moves in LOG.items()}


def snapshot_at(revision, wanted=(), **says):
    return snapshot((1, revision), active_at(revision), wanted, **says)


def activation_at(revision, wanted=(), **says):
    return activation((1, revision), LOG[revision], active_at(revision), wanted, **says)


def heartbeat_at(revision, wanted=(), **says):
    return heartbeat((1, revision), active_at(revision), wanted, **says)
