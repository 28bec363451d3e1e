"""The active set of a namespace as a subscriber holds it, verified message by message.

The rules are those of `SyncService` in `sync_service.proto`, by their numbers. No I/O and no clock: whoever reads a stream
gives each message to `ActiveSet.apply`, with the time. Invariants: a message changes all it says or nothing; the place held
is a signed one, and never goes back.
"""

from dataclasses import dataclass

from refused import Refused, require
from set_root import active_set_root, verify_set_proof
from signed import digest, read_checkpoint, read_manifest, read_statement, why_not_fresh

POLICIES_MAX = 10_000


@dataclass(frozen=True)
class Active:
    """A policy in force, verified."""

    policy: str
    version: int
    label: str
    digest: str
    content_type: str
    content: bytes
    place: tuple


@dataclass(frozen=True)
class Change:
    """What a message changed: everything (SNAPSHOT), or what one activation moved."""

    kind: str
    place: tuple
    actor: str
    changed: tuple
    removed: tuple


def place_of(payload):
    return payload["epoch"], payload["revision"]


def check_place(message, place):
    """Rule 1: the cursor of a message is a hint. It must be the signed place, and only that is kept."""
    require(message.HasField("cursor"), "cursor is absent")
    sent = (message.cursor.epoch, message.cursor.revision)
    require(sent == place, f"signed for {place[0]}:{place[1]}, not {sent[0]}:{sent[1]}")


def named_event(message):
    """Which event the server says stands at the cursor of a message: proof of nothing, and sent back with it."""
    return message.cursor.fingerprint


def set_digest(policies):
    """The digest of a set as reports carry it: one line for each policy, in the byte order of their ids."""
    lines = (f"{name}\t{policies[name].version}\t{policies[name].digest}\n" for name in sorted(policies))
    return digest("".join(lines).encode())


def leaves(policies):
    """What a root covers of each policy."""
    return {name: (held.version, held.digest, *held.place) for name, held in policies.items()}


class ActiveSet:
    """What is in force in a namespace, of the policies asked for; none named: all. A later stream may resume at `place`.

    With `pinned`, the `PinnedKeys` that `keys` came from, it follows the key statements of the store.
    """

    def __init__(self, namespace, keys, wanted=(), pinned=None):
        self.namespace, self.keys, self.wanted, self.store = namespace, keys, frozenset(wanted), None
        self.pinned = pinned
        self.policies, self.place, self.fresh_until = {}, None, 0
        self.fingerprint = 0  # of the event at `place`; 0: not known
        self.unproven = ""  # why the newest checkpoint does not prove that nothing is newer
        self._root = active_set_root({})
        self.begin_stream()

    def begin_stream(self):
        """Drops the parts of an unfinished snapshot."""
        self._parts = {}

    def digest(self):
        return set_digest(self.policies)

    def is_fresh(self, now):
        """Whether a checkpoint says that what is held is the newest."""
        return now < self.fresh_until

    def apply(self, message, now):
        """Takes a message of the stream over. The `Change`, or None when nothing in force changed. `Refused`: read no more of
        this stream, and begin the next one with a snapshot (rule 6)."""
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
        """One that can't be taken changes nothing: what needs a key that is not trusted is refused by itself."""
        if self.pinned is None:
            return
        try:
            self.pinned.take(statement, self.store)
        except Refused:
            return
        self.keys = self.pinned.trusted

    def _snapshot(self, part, now):
        for active in part.bundles:
            require(not active.preview, "a preview is not in force")
            statement = self._owned(read_statement(active.statement, self.keys))
            require(statement["revision"] == active.revision, "revision of a bundle is not the signed one")
            found = self._bundle(active.bundle, statement)
            require(self._wants(found.policy), f"{found.policy} was not asked for")
            require(found.policy not in self._parts, f"{found.policy} is there twice")
            self._parts[found.policy] = found
            require(len(self._parts) <= POLICIES_MAX, "more policies than a namespace can have")
        if not part.complete:
            require(part.bundles, "a part of a snapshot is empty")  # such could come for ever
            return None
        parts = self._parts
        self.begin_stream()
        checkpoint, place = self._checkpoint(part)
        root = active_set_root(leaves(parts))
        self._check_proves(checkpoint, part.set_proof, parts, root)
        # Everything holds: only from here on anything changes.
        self.policies, self._root, self.place, self.fingerprint = parts, root, place, named_event(part)
        self.fresh_until = 0
        self._take_time(checkpoint, now)
        return Change("SNAPSHOT", place, "", tuple(parts[name] for name in sorted(parts)), ())

    def _activation(self, activation):
        self._require_whole("activation")
        statement = self._owned(read_statement(activation.statement, self.keys))
        place = place_of(statement)
        check_place(activation, place)
        self._require_not_before(place)
        require(place != self.place, "activation is not after what is held")
        bundles = [self._bundle(bundle, statement) for bundle in activation.bundles]
        prefix = f"namespaces/{self.namespace}/policies/"
        require(all(name.startswith(prefix) for name in activation.tombstones), "tombstone of another namespace")
        removed = tuple(sorted(name.removeprefix(prefix) for name in activation.tombstones))
        changes = [change for change in statement["changes"] if self._wants(change["policy"])]
        shown = [(found.policy, found.version) for found in bundles] + [(policy, 0) for policy in removed]
        stated = [(change["policy"], change["version"]) for change in changes]
        require(sorted(shown) == sorted(stated), "activation shows other changes than it states")
        require(len(dict(stated)) == len(stated), "activation moves a policy twice")
        for change in changes:
            held = self.policies.get(change["policy"])
            require(change["previous"] == (held.version if held else 0), f"{change['policy']} does not follow what is held")
        kept = {name: held for name, held in self.policies.items() if name not in removed}
        policies = kept | {found.policy: found for found in bundles}
        root, signed = active_set_root(leaves(policies)), statement.get("active_set_root")
        # Of a part of a set only the next checkpoint can say whether it is right.
        require(self.wanted or signed in (None, root.hex()), "statement is of another set")
        # Everything holds: only from here on anything changes.
        self.policies, self._root, self.place, self.fingerprint = policies, root, place, named_event(activation)
        if self.wanted or signed is None:
            self.fresh_until = 0  # one before it may have been dropped: the next checkpoint proves the set, or shows the gap
        changed = tuple(sorted(bundles, key=lambda found: found.policy))
        return Change(statement["kind"], place, statement["actor"], changed, removed)

    def _heartbeat(self, heartbeat, now):
        self._require_whole("heartbeat")
        if heartbeat.resume_unknown:
            return  # the server has not read as far as this: a sign of life, and proof of nothing
        checkpoint, place = self._checkpoint(heartbeat)
        self._check_proves(checkpoint, heartbeat.set_proof, self.policies, self._root)
        # Everything holds: only from here on anything changes.
        self.place, self.fingerprint = place, named_event(heartbeat)
        self._take_time(checkpoint, now)

    def _bundle(self, bundle, statement):
        """Rule 2: a bundle that is what it says, and that the statement puts in force."""
        manifest = self._owned(read_manifest(bundle.manifest, bundle.content, self.keys))
        policy, version, label = manifest["policy"], manifest["version"], manifest.get("label") or ""
        beside = (bundle.name, bundle.version, bundle.label, bundle.digest, bundle.size_bytes, bundle.content_type)
        name = f"namespaces/{self.namespace}/policies/{policy}/versions/{version}"
        signed = (name, version, label, manifest["digest"], manifest["size"], manifest["content_type"])
        require(beside == signed, f"fields beside the manifest of {policy} are not the signed ones")
        stated = [change for change in statement["changes"] if change["policy"] == policy]
        named = [(change["version"], change.get("digest")) for change in stated]
        require(named == [(version, manifest["digest"])], f"statement does not put this version of {policy} in force")
        content = bytes(bundle.content)
        return Active(policy, version, label, manifest["digest"], bundle.content_type, content, place_of(statement))

    def _checkpoint(self, message):
        """The checkpoint of a snapshot or a heartbeat, and its place: not before what is held."""
        checkpoint = self._owned(read_checkpoint(message.checkpoint, self.keys))
        place = place_of(checkpoint)
        check_place(message, place)
        self._require_not_before(place)
        return checkpoint, place

    def _check_proves(self, checkpoint, set_proof, policies, root):
        """Rules 3 and 5: exactly these policies are in force at the checkpoint, of all or of those that were asked for."""
        if self.wanted:
            verify_set_proof(set_proof, bytes.fromhex(checkpoint["active_set_root"]), self.wanted, leaves(policies))
        else:
            require(checkpoint["active_set_root"] == root.hex(), "checkpoint is of another set")

    def _take_time(self, checkpoint, now):
        """An old checkpoint, or one from the future, proves what is held as well as any, and not that it is the newest."""
        self.unproven = why_not_fresh(checkpoint, now)
        if not self.unproven:
            self.fresh_until = max(self.fresh_until, checkpoint["exp"])

    def _owned(self, payload):
        """Rule 1: what is signed for this namespace, and by the store of the first document that verified."""
        require(payload["namespace"] == self.namespace, f"signed for namespace {payload['namespace']}")
        self.store = self.store or payload["store"]
        require(payload["store"] == self.store, f"signed by store {payload['store']}")
        return payload

    def _wants(self, policy):
        return not self.wanted or policy in self.wanted

    def _require_whole(self, what):
        require(self.place is not None and not self._parts, f"{what} before a whole snapshot")

    def _require_not_before(self, place):
        held = self.place or (0, 0)
        require(place >= held, f"place {place[0]}:{place[1]} is before {held[0]}:{held[1]}")
