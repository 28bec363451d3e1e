"""The active set of a namespace as a subscriber holds it, verified message by message.

No I/O and no clock: whoever reads a stream gives each message to `ActiveSet.apply`, with the time. Invariants: a message
changes all it says or nothing, and the place held never goes back.
"""

from dataclasses import dataclass

from signed import Expired, digest, read_checkpoint, read_manifest, read_statement, require

POLICIES_MAX = 10_000
# Farther than this nothing could ever follow.
EPOCH_JUMP_MAX, REVISION_JUMP_MAX = 1_000, 1 << 32


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


def sent_place(message):
    cursor = message.cursor
    require(message.HasField("cursor") and min(cursor.epoch, cursor.revision) >= 0, "place is absent or negative")
    return cursor.epoch, cursor.revision


def named_event(message):
    """Which event the server says stands at the cursor of a message: proof of nothing, and sent back with it."""
    return message.cursor.fingerprint


def set_digest(policies):
    """The digest of a set as checkpoints carry it: one line for each policy, in the byte order of their ids."""
    lines = (f"{name}\t{policies[name].version}\t{policies[name].digest}\n" for name in sorted(policies))
    return digest("".join(lines).encode())


class ActiveSet:
    """Every policy of a namespace that is in force. `place` is where a later stream may resume."""

    def __init__(self, namespace, keys):
        self.namespace, self.keys, self.store = namespace, keys, None
        self.policies, self.place, self.fresh_until = {}, None, 0
        self.fingerprint = 0  # of the event at `place`; 0: not known
        self.unproven = ""  # why the newest checkpoint proves nothing
        self._head = self._unchanged_since = (0, 0)
        self.begin_stream()

    def begin_stream(self):
        """Drops the parts of an unfinished snapshot."""
        self._parts, self._moved = {}, {}

    def digest(self):
        return set_digest(self.policies)

    def is_fresh(self, now):
        """Whether a checkpoint says that what is held is the newest."""
        return now < self.fresh_until

    def apply(self, message, now):
        """Takes a message of the stream over. The `Change`, or None when nothing in force changed; else `Refused`."""
        match message.WhichOneof("message"):
            case "snapshot":
                return self._snapshot(message.snapshot, now)
            case "activation":
                return self._activation(message.activation)
            case "heartbeat":
                return self._heartbeat(message.heartbeat, now)
        return None

    def _snapshot(self, part, now):
        for active in part.bundles:
            require(not active.preview, "a preview is not in force")
            statement = self._owned(read_statement(active.statement, self.keys))
            require(statement["revision"] == active.revision, "revision of a bundle is not the signed one")
            found = self._bundle(active.bundle, statement)
            require(found.policy not in self._parts, f"{found.policy} is there twice")
            self._parts[found.policy] = found
            require(len(self._parts) <= POLICIES_MAX, "more policies than a namespace can have")
            for change in statement["changes"]:
                self._moved[change["policy"]] = max(found.place, self._moved.get(change["policy"], found.place))
        if not part.complete:
            require(part.bundles, "a part of a snapshot is empty")  # such could come for ever
            return None
        (parts, moved), place = (self._parts, self._moved), sent_place(part)
        self.begin_stream()
        self._not_before(place)
        for found in parts.values():
            require(found.place <= place, f"{found.policy} is newer than its snapshot")
            require(moved[found.policy] <= found.place, f"{found.policy} is older than another statement of the set says")
        require(set_digest(parts) == part.active_set_digest, "snapshot has another digest")
        checkpoint = self._checkpoint(part.checkpoint, now)
        require(place_of(checkpoint) == place, "checkpoint is of another place")
        require(checkpoint["active_set_digest"] == part.active_set_digest, "checkpoint is of another set")
        if self.place is None or place[0] == self.place[0]:
            for name, held in self.policies.items():
                require(name not in parts or parts[name].place >= held.place, f"{name} goes back")
        # Everything holds: only from here on anything changes.
        self.policies, self.place, self._unchanged_since = parts, place, place
        self.fingerprint = named_event(part)
        self._head, self.fresh_until = place, max(self.fresh_until, checkpoint["exp"])
        return Change("SNAPSHOT", place, "", tuple(parts[name] for name in sorted(parts)), ())

    def _activation(self, activation):
        place = self._next_place(activation, "activation")
        require(place != self.place, "activation is not after what is held")
        statement = self._owned(read_statement(activation.statement, self.keys))
        require(place_of(statement) == place, "activation is signed for another place")
        bundles = [self._bundle(bundle, statement) for bundle in activation.bundles]
        prefix = f"namespaces/{self.namespace}/policies/"
        require(all(name.startswith(prefix) for name in activation.tombstones), "tombstone of another namespace")
        removed = tuple(sorted(name.removeprefix(prefix) for name in activation.tombstones))
        shown = [(found.policy, found.version) for found in bundles] + [(policy, 0) for policy in removed]
        stated = [(change["policy"], change["version"]) for change in statement["changes"]]
        require(sorted(shown) == sorted(stated), "activation shows other changes than it states")
        require(len(dict(stated)) == len(stated), "activation moves a policy twice")
        for change in statement["changes"]:
            held = self.policies.get(change["policy"])
            require(change["previous"] == (held.version if held else 0), f"{change['policy']} does not follow what is held")
        # Everything holds: only from here on anything changes.
        kept = {name: held for name, held in self.policies.items() if name not in removed}
        self.policies = kept | {found.policy: found for found in bundles}
        self.place = self._unchanged_since = place
        self.fingerprint = named_event(activation)
        changed = tuple(sorted(bundles, key=lambda found: found.policy))
        return Change(statement["kind"], place, statement["actor"], changed, removed)

    def _heartbeat(self, heartbeat, now):
        if not heartbeat.HasField("cursor") and not heartbeat.checkpoint:
            return  # a replica that has not read as far as this
        sent = self._next_place(heartbeat, "heartbeat")
        try:
            checkpoint = self._checkpoint(heartbeat.checkpoint, now)
        except Expired as why:
            self.unproven = str(why)  # the server lost its database, or the clocks differ: what is held stands, and is not fresh
            return
        head = place_of(checkpoint)
        if self._unchanged_since <= head <= sent:
            require(checkpoint["active_set_digest"] == self.digest(), "checkpoint is of another set")
        self._head, self.unproven = head, ""
        if head <= sent:
            self.fresh_until = max(self.fresh_until, checkpoint["exp"])
        # The heartbeat's own place is not signed: it counts only as far as the checkpoint bears it out.
        place = max(self.place, min(sent, head))
        if place != self.place or place == sent:
            self.fingerprint = named_event(heartbeat) if place == sent else 0
        self.place = place

    def _bundle(self, bundle, statement):
        """A bundle that is what it says, and that the statement puts in force."""
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

    def _checkpoint(self, token, now):
        checkpoint = self._owned(read_checkpoint(token, self.keys, now))
        require(place_of(checkpoint) >= self._head, "checkpoint goes back")
        return checkpoint

    def _owned(self, payload):
        """What is signed for this namespace, and by the store of the first document that verified."""
        require(payload["namespace"] == self.namespace, f"signed for namespace {payload['namespace']}")
        self.store = self.store or payload["store"]
        require(payload["store"] == self.store, f"signed by store {payload['store']}")
        return payload

    def _next_place(self, message, what):
        require(self.place is not None and not self._parts, f"{what} before a whole snapshot")
        place = sent_place(message)
        self._not_before(place)
        return place

    def _not_before(self, place):
        held = self.place or (0, 0)
        require(place >= held, f"place {place[0]}:{place[1]} is before {held[0]}:{held[1]}")
        near = place[0] - held[0] <= EPOCH_JUMP_MAX and place[1] - held[1] <= REVISION_JUMP_MAX
        require(near, f"place {place[0]}:{place[1]} is too far ahead of {held[0]}:{held[1]}")
