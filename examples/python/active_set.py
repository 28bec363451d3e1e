"""The active set of a namespace as a subscriber holds it, verified message by message.

The rules are those of `SyncService` in `sync_service.proto`, by their numbers. No I/O and no clock: the reader of a stream
passes each message to `ActiveSet.apply`, with the time. Invariants: a message is applied completely or not at all; the position
held is a signed one, and never goes back; nothing is accepted that is older than what was verified.
"""

from dataclasses import dataclass

from refused import Contradicted, Refused, require
from set_root import active_set_root, verify_set_proof
from signed import CLOCK_SKEW_MAX_SECONDS, ID, digest, read_checkpoint, read_manifest, read_statement, why_not_fresh

# The limits of the server: endless parts don't fill memory.
POLICIES_MAX, ACTIVATION_CHANGES_MAX = 10_000, 100
NOWHERE = (0, 0)


@dataclass(frozen=True)
class Active:
    """A policy in force, verified. `position` is that of its activation."""

    policy: str
    version: int
    label: str
    digest: str
    content_type: str
    content: bytes
    position: tuple


@dataclass(frozen=True)
class Change:
    """What a message changed: everything (SNAPSHOT), or the moves of one activation."""

    kind: str
    position: tuple
    actor: str
    changed: tuple
    removed: tuple


def position_of(payload):
    return payload["epoch"], payload["revision"]


def check_position(message, position):
    """Checks rule 1: the cursor of a message is a hint. It must be the signed position, and only that is kept."""
    require(message.HasField("cursor"), "cursor is absent")
    sent = (message.cursor.epoch, message.cursor.revision)
    require(sent == position, f"signed for {position[0]}:{position[1]}, not {sent[0]}:{sent[1]}")


def event_of(checkpoint):
    """Returns the fingerprint of the event at a checkpoint's position: the first bytes of its hash."""
    return int.from_bytes(bytes.fromhex(checkpoint["head_hash"])[:8], "big")


def set_digest(policies):
    """Returns the digest of a set as in reports: over one line for each policy, in the byte order of their ids."""
    lines = (f"{name}\t{policies[name].version}\t{policies[name].digest}\n" for name in sorted(policies))
    return digest("".join(lines).encode())


def leaves(policies):
    """Returns what a root covers of each policy."""
    return {name: (held.version, held.digest, *held.position) for name, held in policies.items()}


class ActiveSet:
    """What is in force in a namespace, for the requested policies; none named: all. A later stream may resume at `position`.

    With `pinned`, the `PinnedKeys` that `keys` came from, it follows the key statements of the store. `store` is the id of
    the store whose documents count; none: that of the first accepted message.
    """

    def __init__(self, namespace, keys, wanted=(), pinned=None, store=None):
        self.namespace, self.keys, self.wanted, self.store = namespace, keys, frozenset(wanted), store
        self._knows_store = store is not None
        self.pinned = pinned
        self.policies, self.position, self.fresh_until = {}, None, 0
        self.newest_verified = NOWHERE  # the high-water mark, which includes what was verified and then refused
        self.fingerprint = 0  # of the event at `position`, sent back with it: after an activation the server's claim; 0: unknown
        self.unproven = ""  # why the newest checkpoint does not prove that nothing is newer
        self.needs_snapshot = False  # after a refusal, until something is accepted (rule 6): no stream resumes meanwhile
        self._root, self._refused_store = active_set_root({}), None
        self.begin_stream()

    def begin_stream(self):
        """Discards what an unfinished or refused stream left. While nothing is held, a copied document of another store does not
        bind the set to that store."""
        self._drop_parts()
        if self.position is None and not self._knows_store:
            self._refused_store, self.store = self.store or self._refused_store, None

    def _drop_parts(self):
        self._parts, self._changes = {}, {}

    def digest(self):
        return set_digest(self.policies)

    def is_fresh(self, now):
        """Returns whether a checkpoint proves that the held set is the newest."""
        return now < self.fresh_until

    def apply(self, message, now):
        """Verifies and applies a message. Returns the `Change`, or None when nothing in force changed. After `Refused`, stop
        reading this stream, and begin the next one with a snapshot (rule 6)."""
        require(message.parent in ("", f"namespaces/{self.namespace}"), "message is about a namespace that was not asked for")
        change = self._take(message, now)
        if change:
            self.needs_snapshot = False
        if self.pinned and self.position and self.store:
            # Key statements come before the first document that names its store.
            self.pinned.drop_other_store(self.store)
            self.keys = self.pinned.trusted
        return change

    def _take(self, message, now):
        match message.WhichOneof("message"):
            case "snapshot":
                return self._snapshot(message.snapshot, now)
            case "activation":
                return self._activation(message.activation)
            case "heartbeat":
                return self._heartbeat(message.heartbeat, now)
            case "key_statement":
                self._key_statement(message.key_statement.statement)
        return None

    def _key_statement(self, statement):
        """Applies a statement. A refused one changes nothing: documents by an untrusted key are refused anyway."""
        if self.pinned is None:
            return
        try:
            self.pinned.take(statement, self.store)
        except Refused:
            return
        self.keys = self.pinned.trusted

    def _snapshot(self, part, now):
        parts = self._parts
        self._drop_parts()  # a snapshot discards other unfinished parts
        for bundle in part.bundles:
            require(bundle.HasField("activation"), "activation of a bundle is absent")
            found = self._bundle(bundle)
            require(found.policy not in parts, f"{found.policy} is there twice")
            parts[found.policy] = found
            require(len(parts) <= POLICIES_MAX, "more policies than a namespace can have")
        if not part.complete:
            require(part.bundles, "a part of a snapshot is empty")  # such could come for ever
            self._parts = parts
            return None
        checkpoint, position = self._checkpoint(part)
        root = active_set_root(leaves(parts))
        self._check_proves("checkpoint", checkpoint, part.set_proof, parts, root)
        # Everything is verified: only from here on anything changes.
        self.policies, self._root, self.position, self.fingerprint = parts, root, position, event_of(checkpoint)
        self.fresh_until = 0
        self._take_time(checkpoint, now)
        return Change("SNAPSHOT", position, "", tuple(parts[name] for name in sorted(parts)), ())

    def _activation(self, part):
        require(self.position is not None and not self._parts, "activation before a whole snapshot")
        changes, self._changes = self._changes, {}
        self._collect(part, changes)
        if not part.complete:
            require(part.bundles or part.tombstones, "a part of an activation is empty")  # such could come for ever
            self._changes = changes
            return None
        statement = self._owned(read_statement(part.statement, self.keys))
        position = self._signed_position(part, statement)
        require(position != self.position, "activation is not after what is held")
        self._check_changes(statement, changes)
        bundles = {policy: found for policy, found in changes.items() if found}
        require(all(found.position == position for found in bundles.values()), "bundle of another activation")
        policies = {name: held for name, held in self.policies.items() if name not in changes} | bundles
        require(statement.get("active_set_root"), "statement names no root")
        root = active_set_root(leaves(policies))
        self._check_proves("statement", statement, part.set_proof, policies, root)
        # Everything is verified: only from here on anything changes.
        self.policies, self._root, self.position, self.fingerprint = policies, root, position, part.cursor.fingerprint
        changed = tuple(bundles[policy] for policy in sorted(bundles))
        removed = tuple(sorted(changes.keys() - bundles.keys()))
        return Change(statement["kind"], position, statement["actor"], changed, removed)

    def _collect(self, part, changes):
        """Adds the changes of a part of an activation: a bundle, or None for a policy that is no longer in force."""
        found = [(bundle.policy, bundle) for bundle in map(self._bundle, part.bundles)]
        for policy, bundle in [*found, *((self._tombstone(name), None) for name in part.tombstones)]:
            require(policy not in changes, f"{policy} is there twice")
            changes[policy] = bundle
            require(len(changes) <= ACTIVATION_CHANGES_MAX, "activation has more changes than one can have")

    def _check_changes(self, statement, changes):
        """Checks rule 4: each requested change is there and follows what is held, and there is no other."""
        stated = [change for change in statement["changes"] if self._wants(change["policy"])]
        to = {change["policy"]: (change["version"], change.get("digest")) for change in stated}
        shown = {policy: (found.version, found.digest) if found else (0, None) for policy, found in changes.items()}
        require(shown == to, "activation shows other changes than it states")
        require(len(to) == len(stated), "activation moves a policy twice")
        for change in stated:
            held = self.policies.get(change["policy"])
            require(change["previous"] == (held.version if held else 0), f"{change['policy']} does not follow what is held")

    def _heartbeat(self, heartbeat, now):
        require(not self._parts and not self._changes, "heartbeat within a message in parts")
        require(self.position is not None, "heartbeat before a whole snapshot")
        if heartbeat.resume_unknown:
            return  # the server has not read this far: the heartbeat proves nothing
        checkpoint, position = self._checkpoint(heartbeat)
        try:
            self._check_proves("checkpoint", checkpoint, heartbeat.set_proof, self.policies, self._root)
        except Contradicted as gap:
            # Something newer is in force: the held set is not the newest, whatever an earlier checkpoint said.
            self.fresh_until, self.unproven = 0, str(gap)
            raise
        # Everything is verified: only from here on anything changes.
        self.position, self.fingerprint = position, event_of(checkpoint)
        self._take_time(checkpoint, now)

    def _bundle(self, bundle):
        """Checks rule 2: a bundle is consistent and was requested. The position of its activation is proven by its set."""
        require(not bundle.preview, "a preview is not in force")
        position = (bundle.activation.epoch, bundle.activation.revision)
        manifest = self._owned(read_manifest(bundle.manifest, bundle.content, self.keys))
        policy, version, label = manifest["policy"], manifest["version"], manifest.get("label") or ""
        beside = (bundle.name, bundle.version, bundle.label, bundle.digest, bundle.size_bytes, bundle.content_type)
        name = f"namespaces/{self.namespace}/policies/{policy}/versions/{version}"
        signed = (name, version, label, manifest["digest"], manifest["size"], manifest["content_type"])
        require(beside == signed, f"fields beside the manifest of {policy} are not the signed ones")
        require(self._wants(policy), f"{policy} was not asked for")
        return Active(policy, version, label, manifest["digest"], bundle.content_type, bytes(bundle.content), position)

    def _tombstone(self, name):
        prefix = f"namespaces/{self.namespace}/policies/"
        require(name.startswith(prefix), "tombstone of another namespace")
        require(ID(name.removeprefix(prefix)), "tombstone is no policy's name")
        return name.removeprefix(prefix)

    def _checkpoint(self, message):
        """Returns the checkpoint of a snapshot or a heartbeat, and its position."""
        checkpoint = self._owned(read_checkpoint(message.checkpoint, self.keys))
        return checkpoint, self._signed_position(message, checkpoint)

    def _signed_position(self, message, document):
        """Checks the signed position of a message: not before any that was verified; from here on it is the newest of them."""
        # What was refused before anything was held counts only for its own store.
        is_other = self.position is None and self._refused_store not in (None, self.store)
        position, newest = position_of(document), NOWHERE if is_other else self.newest_verified
        check_position(message, position)
        require(position >= newest, f"position {position[0]}:{position[1]} is before {newest[0]}:{newest[1]}")
        self.newest_verified = position
        return position

    def _check_proves(self, what, document, set_proof, policies, root):
        """Checks rules 3 to 5: exactly these policies are in force at its position, of all or of the requested ones."""
        signed = document["active_set_root"]
        if self.wanted:
            verify_set_proof(set_proof, bytes.fromhex(signed), self.wanted, leaves(policies))
        else:
            require(signed == root.hex(), f"{what} is of another set", Contradicted)

    def _take_time(self, checkpoint, now):
        """Applies a checkpoint. An old one, or one from the future, proves the held set, but not that it is the newest."""
        self.unproven = why_not_fresh(checkpoint, now)
        if not self.unproven:
            self.fresh_until = max(self.fresh_until, checkpoint["exp"])
        elif checkpoint["iat"] - now > CLOCK_SKEW_MAX_SECONDS:
            self.fresh_until = 0  # by a clock that was set back, an earlier checkpoint would seem valid for longer

    def _owned(self, payload):
        """Checks rule 1: the document is for this namespace, and of the store of the first document that verified."""
        require(payload["namespace"] == self.namespace, f"signed for namespace {payload['namespace']}")
        self.store = self.store or payload["store"]
        require(payload["store"] == self.store, f"signed by store {payload['store']}")
        return payload

    def _wants(self, policy):
        return not self.wanted or policy in self.wanted
