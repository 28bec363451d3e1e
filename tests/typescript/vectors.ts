/** The golden vectors (`tests/vectors`) by the code of examples/typescript: tokens, active sets and proofs, key statements. */

import { readCheckpoint, readManifest, readStatement, whyNotFresh } from "../../examples/typescript/documents.js";
import { PinnedKeys } from "../../examples/typescript/pinned_keys.js";
import { ensure } from "../../examples/typescript/refused.js";
import {
  activeSetRoot, bitOf, keyOf, SET_PROOF_MAX_BYTES, SET_PROOF_PARTS_MAX, verifySetProof, type Leaves,
} from "../../examples/typescript/set_root.js";
import { digestOf, readKeys, verifiedPayload, type Keys } from "../../examples/typescript/signed.js";
import { expect, load, loadExact, refusal } from "./expect.js";

interface Token {
  name: string;
  typ: string;
  token: string;
  payload: string;
  content?: string;
  verifier?: "bundle" | "statement" | "checkpoint";
  now?: number;
}

interface Row {
  policy: string;
  version: bigint;
  digest: string;
  epoch: bigint;
  revision: bigint;
}

interface GoldenSet {
  name: string;
  root: string;
  active: Row[];
}

interface Proof {
  name: string;
  set: string;
  filter: string[];
  claimed: Row[];
  proof: string;
  root: string;
  text: string;
}

interface KeyCase {
  name: string;
  pins: object;
  store?: string;
  steps: { statement: string; becomes: string }[];
  trusted: string[];
  revoked: string[];
}

const bytesOf = (value: object): Buffer => Buffer.from(JSON.stringify(value));

/** No multiple of 8, so that every bit position of a byte is tried. All of them would take half a minute. */
const FLIPPED_EVERY_BITS = 7;

/** Yields copies of some bytes, each with one bit flipped. */
function* flipped(bytes: Buffer): Generator<Buffer> {
  for (let bit = 0; bit < bytes.length * 8; bit += FLIPPED_EVERY_BITS) {
    const changed = Buffer.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    yield changed;
  }
}

function* flippedTokens(token: string): Generator<string> {
  const parts = token.split(".");
  for (const [index, part] of parts.entries()) {
    for (const changed of flipped(Buffer.from(part, "base64url"))) {
      yield parts.map((whole, at) => (at === index ? changed.toString("base64url") : whole)).join(".");
    }
  }
}

function readFreshCheckpoint(token: string, keys: Keys, now: bigint): void {
  const why = whyNotFresh(readCheckpoint(token, keys), now);
  ensure(why === "", why);
}

function checkAccepted(keys: Keys): string {
  const { now, tokens } = load<{ now: number; tokens: Token[] }>("accepted.json");
  let count = 0;
  for (const { name, typ, token, payload, content } of tokens) {
    expect(verifiedPayload(token, typ, keys).equals(Buffer.from(payload)), `${name}: payload`);
    if (content !== undefined && typ === "policyhub-bundle+jws") {
      expect(readManifest(token, Buffer.from(content), keys).digest === digestOf(Buffer.from(content)), `${name}: content`);
    } else if (typ === "policyhub-activation+jws") {
      readStatement(token, keys);
    } else if (typ === "policyhub-checkpoint+jws") {
      readFreshCheckpoint(token, keys, BigInt(now));
    }
    for (const changed of flippedTokens(token)) {
      expect(refusal(() => verifiedPayload(changed, typ, keys)) !== "", `${name}: a flipped bit verifies: ${changed}`);
      count += 1;
    }
  }
  expect(new Set(tokens.map(({ typ }) => typ)).size === 4 && count > 0, "not every typ was checked");
  return `${tokens.length} tokens verify, ${count} flipped bits are refused`;
}

function checkRefused(keys: Keys): string {
  const { tokens } = load<{ tokens: Token[] }>("refused.json");
  for (const { name, verifier, token, content, now } of tokens) {
    const why = refusal(() => {
      switch (verifier) {
        case "bundle":
          return readManifest(token, Buffer.from(content ?? ""), keys);
        case "statement":
          return readStatement(token, keys);
        default:
          return readFreshCheckpoint(token, keys, BigInt(now ?? 0));
      }
    });
    expect(why !== "", `${name} is taken`);
  }
  return `${tokens.length} tokens are refused`;
}

function asLeaves(rows: Row[]): Leaves {
  return new Map(rows.map(({ policy, version, digest, epoch, revision }) => {
    return [policy, { version, digest, position: { epoch, revision } }];
  }));
}

function proofError(filter: string[], claimed: Row[], proof: Buffer, root: Buffer): string {
  return refusal(() => verifySetProof(proof, root, new Set(filter), asLeaves(claimed)));
}

/** Returns a proof down to the last bit of each of these keys, with an invented hash beside each leaf. */
function deepest(keys: Buffer[], depth = 0): Buffer {
  const [first] = keys;
  if (first === undefined) {
    return depth === 256 ? Buffer.concat([Buffer.from([2]), Buffer.alloc(32, 1)]) : Buffer.from([0]);
  }
  if (depth === 256) {
    return Buffer.concat([Buffer.from([1]), first, Buffer.alloc(32)]);
  }
  const sides = [0, 1].map((side) => deepest(keys.filter((key) => bitOf(key, depth) === side), depth + 1));
  return Buffer.concat([Buffer.from([3]), ...sides]);
}

function checkBoundsOfProofs(): void {
  const names = Array.from({ length: 300 }, (_, number) => `p${number}`);
  const large = deepest(names.map(keyOf));
  expect(large.length < SET_PROOF_MAX_BYTES && 300 * 512 > SET_PROOF_PARTS_MAX, "the bounds moved");
  const root = Buffer.alloc(32);
  const errors = [
    ["proof has too many parts", proofError(names, [], large, root)],
    ["proof is too large", proofError(["a"], [], Buffer.alloc(SET_PROOF_MAX_BYTES + 1), root)],
    ["proof has bytes after its end", proofError(["a"], [], Buffer.alloc(SET_PROOF_MAX_BYTES), root)],
  ];
  errors.forEach(([text, found]) => expect(found === text, `${text}: ${found}`));
}

function checkActiveSets(): string {
  const golden = loadExact<{ sets: GoldenSet[]; proofs: Proof[]; refused: Proof[] }>("active_sets.json");
  const roots = new Map(golden.sets.map(({ name, root }) => [name, Buffer.from(root, "hex")]));
  for (const { name, root, active } of golden.sets) {
    expect(activeSetRoot(asLeaves(active)).toString("hex") === root, `root of ${name}`);
  }
  let refused = golden.refused.length;
  for (const { set, filter, claimed, proof } of golden.proofs) {
    const [bytes, root] = [Buffer.from(proof, "hex"), roots.get(set) ?? Buffer.alloc(0)];
    expect(proofError(filter, claimed, bytes, root) === "", `proof of ${filter.join()} in ${set}`);
    for (const changed of bytes.length > 1024 ? [] : flipped(bytes)) {
      expect(proofError(filter, claimed, changed, root) !== "", `a changed proof of ${filter.join()} in ${set}`);
      refused += 1;
    }
  }
  for (const { name, filter, claimed, proof, root, text } of golden.refused) {
    const why = proofError(filter, claimed, Buffer.from(proof, "hex"), Buffer.from(root, "hex"));
    expect(why === text, `${name}: ${why || "is taken"}`);
  }
  checkBoundsOfProofs();
  return `${golden.sets.length + golden.proofs.length} roots and set proofs hold, ${refused} are refused`;
}

function becomes(pinned: PinnedKeys, statement: string, store: string | null): string {
  let isTaken = false;
  const why = refusal(() => (isTaken = pinned.take(statement, store)));
  return why === "" ? (isTaken ? "Taken" : "Ignored") : "Refused";
}

function checkKeyStatements(): string {
  const golden = load<Record<"followed" | "forged" | "malformed", KeyCase[]>>("key_statements.json");
  let taken = 0;
  let refused = 0;
  for (const { name, pins, store = null, steps, trusted, revoked } of [...golden.followed, ...golden.forged, ...golden.malformed]) {
    const keys = readKeys(bytesOf(pins));
    const pinned = new PinnedKeys(keys);
    let restored = new PinnedKeys(keys);
    for (const step of steps) {
      const found = becomes(pinned, step.statement, store);
      const isTaken = step.becomes === "Taken" || step.becomes === "Ignored";
      expect(found === (isTaken ? step.becomes : "Refused"), `${name}: a statement is ${found}`);
      [taken, refused] = isTaken ? [taken + 1, refused] : [taken, refused + 1];
      restored = new PinnedKeys(keys, restored.saved, store);
      becomes(restored, step.statement, store);
    }
    const now = [...pinned.trusted.keys()].sort().join();
    expect(now === trusted.join() && pinned.saved.revoked.join() === revoked.join(), `${name}: trusts ${now}`);
    expect([...restored.trusted.keys()].sort().join() === now, `${name}: trusts others after restarts`);
  }
  const [first] = golden.followed;
  for (const changed of flippedTokens(first?.steps[0]?.statement ?? "")) {
    const pinned = new PinnedKeys(readKeys(bytesOf(first?.pins ?? {})));
    expect(becomes(pinned, changed, null) === "Refused", "a key statement with a flipped bit is taken");
    refused += 1;
  }
  expect(taken > 0 && refused > 0, "no key statement was checked");
  return `${taken} key statements are followed, ${refused} are refused`;
}

/** Runs all checks and returns what was checked, as text. */
export function checkVectors(): string[] {
  const jwks = load<{ keys: { kid: string }[] }>("jwks.json");
  const keys = readKeys(bytesOf(jwks));
  jwks.keys.forEach(({ kid }) => expect(keys.has(kid), `thumbprint of ${kid}`));
  return [checkAccepted(keys), checkRefused(keys), checkActiveSets(), checkKeyStatements()];
}
