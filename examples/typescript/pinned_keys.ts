/**
 * Pinned keys that follow the key statements of their store, as `KeyStatement` in `sync_service.proto` says.
 *
 * No I/O and no clock. Invariants: a key is trusted because it is in the file, or by a statement that a trusted key
 * signed; a key that is no longer trusted is trusted again only by a file.
 */

import { comparePositions, Members, type Position } from "./documents.js";
import { ensure, Refused } from "./refused.js";
import { readJwk, signerOf, verifiedPayload, type Keys, type VerifyKey } from "./signed.js";
import { readObject, type Json } from "./strict_json.js";

const STATE = /^(?:PREPARED|ACTIVE|RETIRED|REVOKED)$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const TIMES = ["prepare_time", "activate_time", "retire_time", "revoke_time"];
const STATED_MAX = 20;
const REVOKED_MAX = 200;
const CHAIN_MAX = 32;

/** What is kept over restarts. The statements are verified again when it is read back. */
export interface SavedPins {
  readonly pins: readonly string[];
  readonly dropped: readonly string[];
  readonly revoked: readonly string[];
  readonly statements: readonly string[];
}

interface StatedKey {
  readonly kid: string;
  readonly state: string;
  readonly key: VerifyKey | null;
}

interface KeyStatement {
  readonly store: string;
  /** Epoch and serial. */
  readonly position: Position;
  readonly payload: Buffer;
  readonly keys: readonly StatedKey[];
  readonly active: string;
}

function readStated(stated: Json): StatedKey {
  const members = new Members(stated, "a key of a statement");
  const [kid, state] = [members.text("kid"), members.text("state", STATE)];
  TIMES.forEach((name) => members.optional(name, () => members.time(name)));
  const key = members.optional("jwk", (name) => readJwk(members.raw(name)));
  ensure(key !== null || state === "REVOKED", "a key of a statement has no jwk");
  ensure(key === null || key.kid === kid, "a key's id is not its thumbprint");
  return { kid, state, key };
}

function readKeyStatement(token: string, keys: Keys): KeyStatement {
  const payload = verifiedPayload(token, "policyhub-keys+jws", keys);
  const members = new Members(readObject(payload), "a key statement");
  members.time("iat");
  members.optional("prev", (name) => members.text(name, DIGEST));
  const stated = members.list("keys").map(readStated);
  const revoked = stated.filter(({ state }) => state === "REVOKED").length;
  ensure(revoked <= REVOKED_MAX && stated.length - revoked <= STATED_MAX, "a key statement has too many keys");
  ensure(new Set(stated.map(({ kid }) => kid)).size === stated.length, "a key statement has a key twice");
  const active = stated.filter(({ state }) => state === "ACTIVE");
  ensure(active.length === 1, "a key statement has not exactly one active key");
  const position = { epoch: members.whole("epoch", 0n), revision: members.whole("serial", 1n) };
  return { store: members.text("store"), position, payload, keys: stated, active: active[0]?.kid ?? "" };
}

/** The keys of a file, and the changes by statements. */
export class PinnedKeys {
  private pins: Keys;
  /** Keys that an earlier file had, or a statement had revoked, and that the newest file does not have. */
  private dropped: ReadonlySet<string> = new Set();
  private revoked = new Set<string>();
  private newest: KeyStatement | null = null;
  /** The newest statement of each key that signed one, oldest first: it leads from the pins to the newest statement. */
  private chain = new Map<string, string>();

  /** Continues from what was saved, unless the file has other keys by now, which then take precedence. `store`: as in `take`. */
  constructor(pins: Keys, saved: SavedPins | null = null, store: string | null = null) {
    this.pins = pins;
    if (saved === null) {
      return;
    }
    this.dropped = new Set(saved.dropped);
    if (!isSame(pins, saved.pins)) {
      this.dropAllBut(pins, [...saved.pins, ...saved.revoked]);
      return;
    }
    for (const statement of saved.statements) {
      try {
        this.takeOver(statement, store, true);
      } catch (refusal) {
        if (refusal instanceof Refused) {
          return; // the server sends them all again
        }
        throw refusal;
      }
    }
  }

  get saved(): SavedPins {
    const sorted = (names: Iterable<string>) => [...names].sort();
    return {
      pins: sorted(this.pins.keys()), dropped: sorted(this.dropped), revoked: sorted(this.revoked),
      statements: [...this.chain.values()],
    };
  }

  get trusted(): Keys {
    const stated = this.newest?.keys.flatMap(({ key }) => (key ? [key] : [])) ?? [];
    const all = [...this.pins.values(), ...stated];
    return new Map(all.filter(({ kid }) => !this.revoked.has(kid) && !this.dropped.has(kid)).map((key) => [key.kid, key]));
  }

  /** Epoch and serial of the newest accepted statement; null: there is none. */
  get position(): Position | null {
    return this.newest?.position ?? null;
  }

  /** Applies a changed file, which takes precedence: no statement restores keys that it no longer has. */
  replace(pins: Keys): void {
    if (!isSame(pins, [...this.pins.keys()])) {
      this.dropAllBut(pins, [...this.pins.keys(), ...this.revoked]);
      this.pins = pins;
      this.forget();
    }
  }

  /** Forgets statements of another store than this one: they came before the store was known. */
  dropOtherStore(store: string): void {
    if (this.newest && this.newest.store !== store) {
      this.forget();
    }
  }

  /**
   * Applies a statement. True: it was accepted. False: it is not newer than the one held. After `Refused`, nothing has
   * changed. `store` is the store whose documents count, when it is known.
   */
  take(token: string, store: string | null): boolean {
    return this.takeOver(token, store, false);
  }

  private takeOver(token: string, store: string | null, wasTaken: boolean): boolean {
    const statement = readKeyStatement(token, this.trusted);
    const signer = signerOf(token);
    ensure(statement.store === (this.newest?.store ?? store ?? statement.store), "key statement is of another store");
    if (this.newest) {
      const order = comparePositions(statement.position, this.newest.position);
      const isSamePayload = statement.payload.equals(this.newest.payload);
      ensure(order !== 0 || isSamePayload, "another key statement was taken under the same serial");
      if (order <= 0) {
        return false;
      }
      ensure(signer === this.newest.active, "key may not sign key statements: it is not the active one");
    }
    this.check(statement, signer, wasTaken);
    statement.keys.filter(({ state }) => state === "REVOKED").forEach(({ kid }) => this.revoked.add(kid));
    this.newest = { ...statement, keys: statement.keys.filter(({ state }) => state !== "REVOKED") };
    this.chain.delete(signer);
    if (this.chain.size >= CHAIN_MAX) {
      this.chain.delete([...this.chain.keys()][0] ?? "");
    }
    this.chain.set(signer, token);
    return true;
  }

  private check(statement: KeyStatement, signer: string, wasTaken: boolean): void {
    const stated = new Map(statement.keys.map((each) => [each.kid, each.state]));
    const state = stated.get(signer);
    ensure(state === "ACTIVE" || state === "RETIRED", "key may not sign key statements: it is not the active one");
    // Otherwise an old statement could make a key trusted that no longer is.
    const isEnded = this.revoked.has(statement.active) || this.dropped.has(statement.active);
    ensure(!isEnded, "active key of a key statement is not trusted any more");
    // Otherwise a statement by a retired key could restore a key that was revoked before the file was made.
    const namesAll = [...this.pins.keys()].every((kid) => stated.has(kid));
    ensure(this.newest !== null || wasTaken || namesAll, "key statement does not name every pinned key");
  }

  private dropAllBut(pins: Keys, ended: readonly string[]): void {
    this.dropped = new Set([...this.dropped, ...ended].filter((kid) => !pins.has(kid)));
  }

  private forget(): void {
    this.newest = null;
    this.revoked = new Set();
    this.chain = new Map();
  }
}

function isSame(pins: Keys, kids: readonly string[]): boolean {
  return pins.size === kids.length && kids.every((kid) => pins.has(kid));
}
