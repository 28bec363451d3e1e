"""Pinned keys that follow the key statements of their store, as `KeyStatement` in `sync_service.proto` says.

No I/O and no clock. Invariants: a key is trusted because it is in the file, or by a statement that a trusted key signed; a
key that is no longer trusted is trusted again only by a file.
"""

from refused import Refused, require
from signed import DIGEST, HEADER_MAX_BYTES, TIME, read_jwk, read_object, read_part, signed_bytes, text, whole

KEYS = "policyhub-keys+jws"
STATES = ("PREPARED", "ACTIVE", "RETIRED", "REVOKED")
TIMES = ("prepare_time", "activate_time", "retire_time", "revoke_time")
STATED_MAX, REVOKED_MAX, CHAIN_MAX = 20, 200, 32
STATEMENT = {"store": text(), "epoch": whole(0), "serial": whole(1), "iat": TIME}


def read_stated(stated):
    """Reads one key of a statement: its id, its state, and the key itself unless it is revoked."""
    require(isinstance(stated, dict), "a key of a statement is no object")
    kid, state, jwk = stated.get("kid"), stated.get("state"), stated.get("jwk")
    require(isinstance(kid, str) and state in STATES, "a key of a statement has no kid or no state")
    require(all(stated.get(time) is None or TIME(stated[time]) for time in TIMES), "a time of a key is wrong")
    if jwk is None:
        require(state == "REVOKED", "a key of a statement has no jwk")
        return kid, state, None
    found, key = read_jwk(jwk)
    require(found == kid, "a key's id is not its thumbprint")
    return kid, state, key


def read_statement_of_keys(token, keys):
    """Returns the payload of a key statement, its exact bytes, and its keys: kid to (state, key)."""
    payload = signed_bytes(token, KEYS, keys)
    said = read_object(payload)
    for name, fits in STATEMENT.items():
        require(name in said and fits(said[name]), f"{name} of a key statement is absent or wrong")
    require(said.get("prev") is None or DIGEST(said["prev"]), "prev of a key statement is wrong")
    require(isinstance(said.get("keys"), list), "keys of a key statement are no list")
    stated = [read_stated(each) for each in said["keys"]]
    states = [state for _, state, _ in stated]
    require(states.count("ACTIVE") == 1, "a key statement has not exactly one active key")
    require(len({kid for kid, _, _ in stated}) == len(stated), "a key statement has a key twice")
    revoked = states.count("REVOKED")
    require(revoked <= REVOKED_MAX and len(stated) - revoked <= STATED_MAX, "a key statement has too many keys")
    return said, payload, {kid: (state, key) for kid, state, key in stated}


class PinnedKeys:
    """The keys of a file, and the changes by statements. What is kept over restarts is `saved`."""

    def __init__(self, pins, saved=None):
        self.pins, self.dropped = pins, frozenset()
        self._forget()
        if saved and set(saved["pins"]) == set(pins):
            self.dropped = frozenset(saved["dropped"])
            for statement in saved["statements"]:
                try:
                    self.take(statement, was_taken=True)
                except Refused:
                    break  # the server sends them all again
        elif saved:
            ended = frozenset(saved["pins"]) | frozenset(saved["dropped"]) | frozenset(saved["revoked"])
            self.dropped = ended - set(pins)

    def _forget(self):
        self.revoked, self.stated, self.chain = frozenset(), {}, {}
        self.newest, self._payload, self._store, self._active = None, None, None, None

    @property
    def saved(self):
        pins, dropped, revoked = sorted(self.pins), sorted(self.dropped), sorted(self.revoked)
        return {"pins": pins, "dropped": dropped, "revoked": revoked, "statements": list(self.chain.values())}

    @property
    def trusted(self):
        ended = self.revoked | self.dropped
        return {kid: key for kid, key in (self.pins | self.stated).items() if kid not in ended}

    def replace(self, pins):
        """Applies a changed file, which takes precedence: no statement restores keys that it no longer has."""
        if set(pins) == set(self.pins):
            return
        self.dropped = (self.dropped | set(self.pins) | self.revoked) - set(pins)
        self.pins = pins
        self._forget()

    def drop_other_store(self, store):
        """Forgets statements of another store than this one: they came before the store was known."""
        if self._store not in (None, store):
            self._forget()

    def take(self, token, store=None, was_taken=False):
        """Applies a statement. True: it was accepted. False: it is not newer than the one held. After `Refused`, nothing has changed.
        `was_taken`: it was accepted before a restart."""
        said, payload, stated = read_statement_of_keys(token, self.trusted)
        signer, position = read_signer(token), (said["epoch"], said["serial"])
        known = self._store or store
        require(known in (None, said["store"]), "key statement is of another store")
        if self.newest is not None:
            same = position == self.newest and payload != self._payload
            require(not same, "another key statement was taken under the same serial")
            if position <= self.newest:
                return False
            require(signer == self._active, "key may not sign key statements: it is not the active one")
        else:
            # Otherwise a statement by a retired key could restore a key that was stolen and revoked before the file was
            # made.
            require(was_taken or stated.keys() >= self.pins.keys(), "key statement does not name every pinned key")
        state = stated.get(signer, ("ABSENT", None))[0]
        require(state in ("ACTIVE", "RETIRED"), "key may not sign key statements: it is not the active one")
        # Otherwise an old statement could make a key trusted that no longer is.
        active = next(kid for kid, (state, _) in stated.items() if state == "ACTIVE")
        require(active not in self.revoked | self.dropped, "active key of a key statement is not trusted any more")
        self.revoked |= {kid for kid, (state, _) in stated.items() if state == "REVOKED"}
        self.stated = {kid: key for kid, (state, key) in stated.items() if state != "REVOKED"}
        self._active = active
        self.newest, self._payload, self._store = position, payload, said["store"]
        self.chain.pop(signer, None)
        if len(self.chain) >= CHAIN_MAX:
            del self.chain[next(iter(self.chain))]
        self.chain[signer] = token
        return True


def read_signer(token):
    """Returns the id of the key that signed a verified token."""
    return read_object(read_part(token.split(".", 1)[0], HEADER_MAX_BYTES))["kid"]
