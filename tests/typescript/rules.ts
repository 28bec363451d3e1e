/** Rules that no recorded stream can test, because only the owner of a key could break them; and how long a held set is fresh. */

import { ActiveSet } from "../../examples/typescript/active_set.js";
import type { Activation, Bundle, WatchMessage } from "../../examples/typescript/messages.js";
import { PinnedKeys } from "../../examples/typescript/pinned_keys.js";
import { Refused } from "../../examples/typescript/refused.js";
import { readKeys } from "../../examples/typescript/signed.js";
import { expect, load, refusal } from "./expect.js";
import { cursor, Signer, STORE, type Held } from "./signer.js";

const NOW = 1_001n;
const BEFORE: Held = { a: [1, 2], b: [1, 3] };
const AFTER: Held = { a: [2, 5], b: [1, 3] };
const OTHER_STORE = { store: "0198a0c2-0000-7000-8000-000000000002" };

/** Returns the error of a subscriber for a message; empty: it is accepted. */
function verdict(held: ActiveSet, message: WatchMessage): string {
  const before = [held.position, held.policies, held.fingerprint];
  try {
    held.apply(message, NOW);
    return "";
  } catch (error) {
    expect(error instanceof Refused, `throws ${String(error)}`);
    expect([held.position, held.policies, held.fingerprint].every((each, index) => each === before[index]), "a refusal changes what is held");
    return error.state;
  }
}

const revisionOf = (held: ActiveSet): bigint | undefined => held.position?.revision;

function holding(signer: Signer): ActiveSet {
  const held = new ActiveSet({ namespace: "default", keys: signer.keys });
  expect(verdict(held, signer.snapshot(4, BEFORE)) === "" && held.isFresh(NOW), "a true snapshot is refused");
  return held;
}

/** Returns an activation with a lie in it. */
function changed(message: WatchMessage, change: (part: Activation) => void): WatchMessage {
  if (message.activation) {
    change(message.activation);
  }
  return message;
}

const moveBundles = ({ bundles }: Activation) => bundles.forEach((bundle) => (bundle.activation = cursor(4)));
const withoutBundle = (message: WatchMessage) => changed(message, (part) => part.bundles.pop());

function lies(signer: Signer): [string, string, WatchMessage][] {
  const move: [string, number, number][] = [["a", 1, 2]];
  const activation = (says = {}) => signer.activation(5, move, AFTER, says);
  const beside: [string, string, WatchMessage][] = Object.entries({
    name: "namespaces/default/policies/b/versions/1", version: "2", label: "1.0.0", digest: `sha256:${"0".repeat(64)}`, sizeBytes: "1",
    contentType: "text/plain", content: Buffer.from("{}"), activation: null, preview: true,
  }).map(([field, lie]) => [`another ${field} beside a manifest`, "REJECTED", signer.snapshot(5, BEFORE, {}, { [field]: lie })]);
  return [
    ...beside,
    ["a message about another namespace", "REJECTED", { ...activation(), parent: "namespaces/other" }],
    ["an activation from another version", "DIVERGED", signer.activation(5, [["a", 3, 2]], AFTER)],
    ["an activation without a root", "REJECTED", activation({ active_set_root: null })],
    ["an activation to another set", "DIVERGED", signer.activation(5, move, BEFORE)],
    ["an activation at the position that is held", "DIVERGED", signer.activation(4, [["c", 0, 1]], { ...BEFORE, c: [1, 4] })],
    ["an activation of another store", "DIVERGED", activation(OTHER_STORE)],
    ["an activation of another namespace", "REJECTED", activation({ namespace: "other" })],
    ["an activation that moves a policy twice", "REJECTED", withoutBundle(signer.activation(5, [...move, ...move], AFTER))],
    ["an activation without its bundle", "REJECTED", withoutBundle(activation())],
    ["an activation with one bundle more", "REJECTED", changed(activation(), (part) => part.bundles.push(signer.bundle("b", 1, 5)))],
    ["an activation with a bundle of another one", "REJECTED", changed(activation(), moveBundles)],
    ["an activation without a cursor", "REJECTED", changed(activation(), (part) => (part.cursor = null))],
    ["a checkpoint of another store", "DIVERGED", signer.heartbeat(5, BEFORE, OTHER_STORE)],
    ["a checkpoint of another namespace", "REJECTED", signer.heartbeat(5, BEFORE, { namespace: "other" })],
    ["a checkpoint of more than 15 minutes", "REJECTED", signer.heartbeat(5, BEFORE, { exp: 1_901 })],
    ["a checkpoint of another set", "DIVERGED", signer.heartbeat(5, AFTER)],
    ["a checkpoint of an older epoch", "DIVERGED", signer.heartbeat(5, BEFORE, { epoch: 0 }, 0)],
    ["a snapshot below what is held", "DIVERGED", signer.snapshot(3, BEFORE)],
  ];
}

function checkLies(signer: Signer): number {
  const all = lies(signer);
  for (const [name, state, lie] of all) {
    const found = verdict(holding(signer), lie);
    expect(found === state, `${name}: ${found || "is taken"} instead of ${state}`);
  }
  return all.length;
}

function checkFreshness(signer: Signer): void {
  const held = holding(signer);
  const until = held.freshness.until;
  expect(verdict(held, signer.activation(5, [["a", 1, 2]], AFTER)) === "" && held.freshness.until === until, "an activation moves the time");
  expect(verdict(held, signer.heartbeat(6, AFTER, { iat: 100, exp: 900 })) === "", "a checkpoint that has expired is refused");
  expect(held.isFresh(NOW) && revisionOf(held) === 6n, "a checkpoint that has expired ends freshness, or moves nothing");
  expect(verdict(held, signer.heartbeat(7, AFTER, { iat: 1_062, exp: 1_900 })) === "", "a checkpoint from the future is refused");
  expect(!held.isFresh(NOW) && revisionOf(held) === 7n, "a checkpoint from the future leaves it fresh, or moves nothing");
  expect(verdict(held, signer.heartbeat(7, AFTER, { iat: 1_061 })) === "" && held.isFresh(NOW), "a minute is too far ahead");
  expect(verdict(held, signer.heartbeat(8, BEFORE)) === "DIVERGED" && !held.isFresh(NOW), "a gap leaves it fresh");
  held.beginStream();
  const fresh = holding(signer);
  for (const each of [held, fresh]) {
    expect(verdict(each, signer.snapshot(8, BEFORE, { iat: 100, exp: 900 })) === "" && !each.isFresh(NOW), "an expired snapshot is fresh");
  }
}

/** Checks that a position verified in a refused message is the oldest that is accepted from then on. */
function checkMark(signer: Signer): void {
  const held = holding(signer);
  expect(verdict(held, signer.activation(5, [["a", 1, 2]], AFTER, { active_set_root: null })) === "REJECTED", "taken without a root");
  held.beginStream();
  expect(verdict(held, signer.snapshot(4, BEFORE)) === "DIVERGED", "what is below the mark is taken");
  held.beginStream();
  expect(verdict(held, signer.snapshot(5, AFTER)) === "" && revisionOf(held) === 5n, "an honest snapshot does not repair it");
}

/** Checks that a refused copy from another store does not bind an empty set to that store. */
function checkStore(signer: Signer): void {
  const held = new ActiveSet({ namespace: "default", keys: signer.keys });
  const copied = signer.snapshot(9, BEFORE, OTHER_STORE);
  copied.snapshot?.bundles.splice(0);
  expect(verdict(held, copied) === "DIVERGED", "a set of another store is taken without its policies");
  held.beginStream();
  expect(verdict(held, signer.snapshot(4, BEFORE)) === "" && held.trust.store === STORE, "the first store does not repair it");
  const known = new ActiveSet({ namespace: "default", keys: signer.keys, ...OTHER_STORE });
  expect(verdict(known, signer.snapshot(4, BEFORE)) === "DIVERGED", "another store than the one that was given is taken");
}

/** Checks that a bundle outside the filter is refused as such, also with a valid proof for the filter. */
function checkFilter(signer: Signer): void {
  const filtered = (...more: Bundle[]) => {
    const message = signer.snapshot(4, { a: [1, 2] });
    if (message.snapshot) {
      message.snapshot.bundles.push(...more);
      message.snapshot.setProof = signer.proofOfOne("a", 1, 2);
    }
    return verdict(new ActiveSet({ namespace: "default", keys: signer.keys, policies: ["a"] }), message);
  };
  expect(filtered() === "", "a true proof of one policy is refused");
  expect(filtered(signer.bundle("b", 1, 3)) === "REJECTED", "a bundle that was not asked for is taken");
}

/** Checks that no later statement reactivates a revoked key, so that such a statement is refused. */
function checkKeyStatements(signer: Signer): void {
  const [first, second] = load<{ keys: { kid: string }[] }>("jwks.json").keys;
  const pinned = new PinnedKeys(readKeys(Buffer.from(JSON.stringify({ keys: [first] }))));
  const take = (serial: number, states: [string, string]) => {
    const keys = [first, second].map((jwk, index) => ({ kid: jwk?.kid, state: states[index], jwk }));
    const payload = { store: STORE, epoch: 1, serial, keys, prev: null, iat: 1_000 };
    return refusal(() => pinned.take(signer.token(JSON.stringify(payload), "policyhub-keys+jws"), null));
  };
  expect(take(1, ["ACTIVE", "REVOKED"]) === "", "a true key statement is refused");
  expect(take(2, ["RETIRED", "ACTIVE"]) !== "", "a key statement makes a revoked key the active one");
  expect(take(3, ["ACTIVE", "PREPARED"]) === "" && !pinned.trusted.has(second?.kid ?? ""), "a revoked key is trusted again");
}

/** Runs all checks and returns the number of refused lies. */
export function checkRules(): number {
  const signer = new Signer();
  checkFreshness(signer);
  checkMark(signer);
  checkStore(signer);
  checkFilter(signer);
  checkKeyStatements(signer);
  return checkLies(signer);
}
