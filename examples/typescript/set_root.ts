/**
 * The root of an active set, and proofs of which policies of a filter are in force: a compact sparse Merkle tree over
 * SHA-256.
 *
 * No I/O and no clock. `docs/security.md` says where the exact bytes are defined.
 */

import { ensure } from "./refused.js";
import { sha256 } from "./signed.js";
import type { Position } from "./documents.js";

export const SET_PROOF_MAX_BYTES = 512 * 1024;
export const SET_PROOF_PARTS_MAX = 128 * 1024;
const KEY_BITS = 256;
const EMPTY_ROOT = Buffer.alloc(32);
/** The first byte of a hash's input: for a leaf, and for a node of two sides. */
const LEAF = Buffer.from([0]);
const NODE = Buffer.from([1]);

/** What a root covers of a policy in force. `position` is that of its activation. */
export interface Leaf {
  readonly version: bigint;
  readonly digest: string;
  readonly position: Position;
}

/** Leaves by the ids of their policies. */
export type Leaves = ReadonlyMap<string, Leaf>;

export function keyOf(policy: string): Buffer {
  return sha256(Buffer.from(policy));
}

function sized(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

const VALUE_PREFIX = sized("policyhub-active-policy-v1");

export function valueOf(policy: string, leaf: Leaf): Buffer {
  const numbers = [leaf.version, leaf.position.epoch, leaf.position.revision].map((number) => {
    const bytes = Buffer.alloc(8);
    // Signed: a position beside a bundle is not yet verified and may be negative. Then it is just a different value.
    bytes.writeBigInt64BE(number);
    return bytes;
  });
  const [version, epoch, revision] = numbers as [Buffer, Buffer, Buffer];
  return sha256(VALUE_PREFIX, sized(policy), version, sized(leaf.digest), epoch, revision);
}

/** Returns a bit of a key: 0 is the first one. */
export function bitOf(key: Uint8Array, index: number): number {
  return ((key[index >> 3] ?? 0) >> (7 - (index & 7))) & 1;
}

/** Returns the root of these policies. */
export function activeSetRoot(active: Leaves): Buffer {
  const leaves = [...active].map(([policy, leaf]) => {
    const key = keyOf(policy);
    return { key, hash: sha256(LEAF, key, valueOf(policy, leaf)) };
  });
  const rootOf = (part: typeof leaves, depth: number): Buffer => {
    if (part.length < 2) {
      return part[0]?.hash ?? EMPTY_ROOT;
    }
    const [left, right] = [0, 1].map((side) => rootOf(part.filter(({ key }) => bitOf(key, depth) === side), depth + 1));
    return sha256(NODE, left as Buffer, right as Buffer);
  };
  return rootOf(leaves, 0);
}

/**
 * Refuses unless, of `policies`, exactly the claimed ones are in force under this root. DIVERGED: the proof is valid,
 * and proves something else.
 */
export function verifySetProof(proof: Uint8Array, root: Buffer, policies: ReadonlySet<string>, claimed: Leaves): void {
  ensure(proof.length <= SET_PROOF_MAX_BYTES, "proof is too large");
  const proven = new ProofReader(proof, policies).read(root);
  for (const [policy, leaf] of claimed) {
    ensure(policies.has(policy), `policy ${policy} is claimed and not in the filter`, "DIVERGED");
    const value = proven.get(policy);
    ensure(value !== undefined, `policy ${policy} is claimed and not active`, "DIVERGED");
    ensure(value.equals(valueOf(policy, leaf)), `policy ${policy} is active otherwise than claimed`, "DIVERGED");
  }
  for (const policy of [...proven.keys()].sort()) {
    ensure(claimed.has(policy), `policy ${policy} is active and not claimed`, "DIVERGED");
  }
}

interface Asked {
  readonly policy: string;
  readonly key: Buffer;
}

interface Subtree {
  readonly hash: Buffer;
  /** Whether it visibly holds one leaf at most. */
  readonly isLone: boolean;
}

class ProofReader {
  private readonly proof: Buffer;
  private readonly asked: readonly Asked[];
  private readonly proven = new Map<string, Buffer>();
  /** The bits that lead to the current part. */
  private readonly path: number[] = [];
  private at = 0;
  private parts = 0;

  constructor(proof: Uint8Array, policies: ReadonlySet<string>) {
    this.proof = Buffer.from(proof);
    this.asked = [...policies].map((policy) => ({ policy, key: keyOf(policy) })).sort((a, b) => a.key.compare(b.key));
  }

  /** Returns the values of those policies that are in force under the root. */
  read(root: Buffer): ReadonlyMap<string, Buffer> {
    const { hash } = this.subtree(this.asked);
    ensure(this.at === this.proof.length, "proof has bytes after its end");
    ensure(hash.equals(root), "proof is of another root");
    return this.proven;
  }

  private take(length: number): Buffer {
    ensure(this.at + length <= this.proof.length, "proof is truncated");
    this.at += length;
    return this.proof.subarray(this.at - length, this.at);
  }

  /** Reads the next part. `asked` are the requested policies whose keys lead here. */
  private subtree(asked: readonly Asked[]): Subtree {
    ensure(this.parts < SET_PROOF_PARTS_MAX, "proof has too many parts");
    this.parts += 1;
    switch (this.take(1)[0]) {
      case 0:
        return { hash: EMPTY_ROOT, isLone: true };
      case 1:
        return this.leaf(asked);
      case 2:
        return this.hidden(asked);
      case 3:
        return this.node(asked);
      default:
        ensure(false, "proof has a part of an unknown kind");
        return { hash: EMPTY_ROOT, isLone: true };
    }
  }

  private leaf(asked: readonly Asked[]): Subtree {
    const key = this.take(32);
    const value = this.take(32);
    ensure(this.path.every((bit, index) => bitOf(key, index) === bit), "proof has a leaf where its key does not lead");
    ensure(asked.length > 0, "proof opens what nobody asked for");
    const found = asked.find((each) => each.key.equals(key));
    if (found) {
      this.proven.set(found.policy, value);
    }
    return { hash: sha256(LEAF, key, value), isLone: true };
  }

  /** Reads a subtree of which only the hash is known: no requested policy may be in it. */
  private hidden(asked: readonly Asked[]): Subtree {
    const hash = this.take(32);
    ensure(!hash.equals(EMPTY_ROOT), "proof has an empty subtree written as a hash");
    ensure(asked.length === 0, `proof hides policy ${asked[0]?.policy ?? ""}`);
    return { hash, isLone: false };
  }

  private node(asked: readonly Asked[]): Subtree {
    const depth = this.path.length;
    ensure(depth < KEY_BITS, "proof is deeper than a key"); // so the recursion ends
    ensure(asked.length > 0, "proof opens what nobody asked for");
    const [left, right] = [0, 1].map((side) => {
      this.path.push(side);
      const found = this.subtree(asked.filter(({ key }) => bitOf(key, depth) === side));
      this.path.pop();
      return found;
    }) as [Subtree, Subtree];
    const isEmpty = ({ hash }: Subtree) => hash.equals(EMPTY_ROOT);
    const isLone = (isEmpty(left) && right.isLone) || (isEmpty(right) && left.isLone);
    ensure(!isLone, "proof has a node with fewer than two leaves");
    return { hash: sha256(NODE, left.hash, right.hash), isLone: false };
  }
}
