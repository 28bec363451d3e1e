/**
 * The active set of a namespace as a subscriber holds it, verified message by message.
 *
 * The rules are those of `SyncService` in `sync_service.proto`, by their numbers. No I/O and no clock: the reader of a
 * stream passes each message to `ActiveSet.apply`, with the time. Invariants: a message is applied completely or not at
 * all; the position held is a signed one and never goes back; nothing is accepted that is older than what was verified.
 */

import { checkChanges, Collected } from "./collected.js";
import { comparePositions, eventOf, type Position, type Statement } from "./documents.js";
import { Freshness } from "./freshness.js";
import type { Activation, Bundle, Cursor, Heartbeat, Snapshot, WatchMessage } from "./messages.js";
import type { PinnedKeys } from "./pinned_keys.js";
import { ensure, Refused } from "./refused.js";
import { activeSetRoot, verifySetProof } from "./set_root.js";
import { digestOf, type Keys } from "./signed.js";
import { positionText, Trust, type Active, type Evidence } from "./trust.js";

const NOWHERE: Position = { epoch: 0n, revision: 0n };

type Policies = ReadonlyMap<string, Active>;

/** What a message changed: everything (SNAPSHOT), or the moves of one activation. */
export interface Change {
  readonly kind: string;
  readonly position: Position;
  readonly actor: string;
  readonly changed: readonly Active[];
  readonly removed: readonly string[];
}

/** The namespace of a set, its filter, and what it trusts. */
export interface ActiveSetOptions {
  readonly namespace: string;
  readonly keys: Keys;
  /** Ids of the requested policies; none: all. */
  readonly policies?: readonly string[];
  /** The source of `keys`, when they follow the key statements of the store. */
  readonly pinned?: PinnedKeys | null;
  /** Id of the store whose documents count; none: that of the first accepted message. */
  readonly store?: string | null;
}

/** Returns policies in the byte order of their ids. */
const sorted = (policies: Iterable<Active>): Active[] => [...policies].sort((a, b) => (a.policy < b.policy ? -1 : 1));

/** What is in force in a namespace, for the requested policies; none named: all. */
export class ActiveSet {
  readonly trust: Trust;
  readonly wanted: ReadonlySet<string>;
  readonly pinned: PinnedKeys | null;
  policies: Policies = new Map();
  position: Position | null = null;
  /** Of the event at `position`, sent back with it. After an activation it is the server's claim; 0: unknown. */
  fingerprint = 0n;
  evidence: Evidence | null = null;
  readonly freshness = new Freshness();
  /** The high-water mark, which includes what was verified and then refused. */
  newestVerified: Position = NOWHERE;
  private root = activeSetRoot(new Map());
  private readonly collected = new Collected();

  constructor({ namespace, keys, policies = [], pinned = null, store = null }: ActiveSetOptions) {
    this.trust = new Trust(namespace, pinned?.trusted ?? keys, store);
    this.wanted = new Set(policies);
    this.pinned = pinned;
  }

  /** Discards what an unfinished or refused stream left. */
  beginStream(): void {
    this.collected.drop();
    this.trust.beginStream(this.position === null);
  }

  /** Returns the digest of the set as in reports: over one line for each policy, in the byte order of their ids. */
  digest(): string {
    const lines = sorted(this.policies.values()).map(({ policy, version, digest }) => `${policy}\t${version}\t${digest}\n`);
    return digestOf(Buffer.from(lines.join("")));
  }

  /** Returns whether a checkpoint proves that the held set is the newest. */
  isFresh(now: bigint): boolean {
    return now < this.freshness.until;
  }

  /**
   * Verifies and applies a message, and returns what it changed in force. After `Refused`, stop reading this stream and
   * begin the next one with a snapshot (rule 6).
   */
  apply(message: WatchMessage, now: bigint): Change | null {
    const change = this.take(message, now);
    if (this.pinned && this.position && this.trust.store !== null) {
      this.pinned.dropOtherStore(this.trust.store);
      this.trust.keys = this.pinned.trusted;
    }
    return change;
  }

  /** Sets what was held before a restart. Nothing proves that it is the newest. After `Refused`, nothing has changed. */
  restore(bundles: readonly Bundle[], evidence: Evidence, fingerprint: bigint): void {
    const policies = new Map(bundles.map((bundle) => this.bundle(bundle)).map((active) => [active.policy, active]));
    const { kind, token, setProof } = evidence;
    const document = kind === "statement" ? this.trust.statement(token) : this.trust.checkpoint(token);
    const root = activeSetRoot(policies);
    this.checkProves("saved document", document, setProof, policies, root);
    this.hold(policies, root, document, "headHash" in document ? eventOf(document) : fingerprint, evidence);
    this.remember(document);
  }

  /** Sets a position that was verified before a restart: nothing older is accepted from then on. */
  remember({ epoch, revision }: Position): void {
    if (comparePositions({ epoch, revision }, this.newestVerified) > 0) {
      this.newestVerified = { epoch, revision };
    }
  }

  private take(message: WatchMessage, now: bigint): Change | null {
    ensure(["", `namespaces/${this.trust.namespace}`].includes(message.parent), "message is about a namespace that was not asked for");
    if (message.snapshot) {
      return this.snapshot(message.snapshot, now);
    }
    if (message.activation) {
      return this.activation(message.activation);
    }
    if (message.heartbeat) {
      this.heartbeat(message.heartbeat, now);
    } else if (message.keyStatement) {
      this.keyStatement(message.keyStatement.statement);
    }
    return null;
  }

  /** Applies a statement. A refused one changes nothing: documents by an untrusted key are refused anyway. */
  private keyStatement(statement: string): void {
    try {
      this.pinned?.take(statement, this.trust.store);
    } catch (refusal) {
      if (!(refusal instanceof Refused)) {
        throw refusal;
      }
    }
    this.trust.keys = this.pinned?.trusted ?? this.trust.keys;
  }

  private snapshot(part: Snapshot, now: bigint): Change | null {
    const policies = this.collected.addSnapshotPart(part.bundles.map((bundle) => this.bundle(bundle)), part.complete);
    if (!policies) {
      return null;
    }
    const checkpoint = this.trust.checkpoint(part.checkpoint);
    const position = this.signedPosition(part.cursor, checkpoint);
    const root = activeSetRoot(policies);
    this.checkProves("checkpoint", checkpoint, part.setProof, policies, root);
    // Everything is verified: only from here on anything changes.
    const evidence: Evidence = { kind: "checkpoint", token: part.checkpoint, setProof: Buffer.from(part.setProof) };
    this.hold(policies, root, position, eventOf(checkpoint), evidence);
    this.freshness.end("");
    this.freshness.take(checkpoint, now);
    return { kind: "SNAPSHOT", position, actor: "", changed: sorted(policies.values()), removed: [] };
  }

  private activation(part: Activation): Change | null {
    ensure(this.position !== null && !this.collected.isWithinSnapshot, "activation before a whole snapshot");
    const bundles = part.bundles.map((bundle) => this.bundle(bundle));
    const tombstones = part.tombstones.map((name) => this.trust.tombstone(name));
    const changes = this.collected.addActivationPart(bundles, tombstones, part.complete);
    if (!changes) {
      return null;
    }
    const statement = this.trust.statement(part.statement);
    const position = this.signedPosition(part.cursor, statement);
    ensure(comparePositions(position, this.position) > 0, "activation is not after what is held", "DIVERGED");
    checkChanges(statement.changes.filter(({ policy }) => this.wants(policy)), changes, this.policies);
    const changed = [...changes.values()].filter((active) => active !== null);
    ensure(changed.every((active) => comparePositions(active.position, position) === 0), "bundle of another activation");
    const kept = [...this.policies].filter(([policy]) => !changes.has(policy));
    const policies = new Map([...kept, ...changed.map((active): [string, Active] => [active.policy, active])]);
    const root = activeSetRoot(policies);
    this.checkProves("statement", statement, part.setProof, policies, root);
    // Everything is verified: only from here on anything changes.
    const evidence: Evidence = { kind: "statement", token: part.statement, setProof: Buffer.from(part.setProof) };
    this.hold(policies, root, position, BigInt(part.cursor?.fingerprint ?? 0), evidence);
    const removed = [...changes.keys()].filter((policy) => !policies.has(policy)).sort();
    return { kind: statement.kind, position, actor: statement.actor, changed: sorted(changed), removed };
  }

  private heartbeat(heartbeat: Heartbeat, now: bigint): void {
    ensure(!this.collected.isUnfinished, "heartbeat within a message in parts");
    ensure(this.position !== null, "heartbeat before a whole snapshot");
    if (heartbeat.resumeUnknown) {
      return; // the server has not read this far: the heartbeat proves nothing
    }
    const checkpoint = this.trust.checkpoint(heartbeat.checkpoint);
    const position = this.signedPosition(heartbeat.cursor, checkpoint);
    try {
      this.checkProves("checkpoint", checkpoint, heartbeat.setProof, this.policies, this.root);
    } catch (refusal) {
      if (refusal instanceof Refused && refusal.state === "DIVERGED") {
        // Something newer is in force: the held set is not the newest, whatever an earlier checkpoint said.
        this.freshness.end(refusal.message);
      }
      throw refusal;
    }
    // Everything is verified: only from here on anything changes.
    const evidence: Evidence = { kind: "checkpoint", token: heartbeat.checkpoint, setProof: Buffer.from(heartbeat.setProof) };
    this.hold(this.policies, this.root, position, eventOf(checkpoint), evidence);
    this.freshness.take(checkpoint, now);
  }

  private hold(policies: Policies, root: Buffer, { epoch, revision }: Position, fingerprint: bigint, evidence: Evidence): void {
    this.policies = policies;
    this.root = root;
    this.position = { epoch, revision };
    this.fingerprint = fingerprint;
    this.evidence = evidence;
  }

  private bundle(bundle: Bundle): Active {
    const active = this.trust.bundle(bundle);
    ensure(this.wants(active.policy), `${active.policy} was not asked for`);
    return active;
  }

  /** Returns the signed position of a message: not before any that was verified; from here on it is the newest of them. */
  private signedPosition(hint: Cursor | null, { epoch, revision }: Position): Position {
    ensure(hint !== null, "cursor is absent");
    const position = { epoch, revision };
    const isSame = BigInt(hint.epoch) === epoch && BigInt(hint.revision) === revision;
    ensure(isSame, `signed for ${positionText(position)}, not ${hint.epoch}:${hint.revision}`);
    // What was refused before anything was held counts only for its own store.
    const newest = this.position === null && this.trust.isAnotherStore() ? NOWHERE : this.newestVerified;
    ensure(comparePositions(position, newest) >= 0, `position ${positionText(position)} is before ${positionText(newest)}`, "DIVERGED");
    this.newestVerified = position;
    return position;
  }

  /** Checks rules 3 to 5: exactly these policies are in force at a position, of all or of the requested ones. */
  private checkProves(what: string, document: Pick<Statement, "activeSetRoot">, setProof: Uint8Array, policies: Policies, root: Buffer): void {
    ensure(document.activeSetRoot !== null, `${what} names no root`);
    const signed = Buffer.from(document.activeSetRoot, "hex");
    if (this.wanted.size > 0) {
      verifySetProof(setProof, signed, this.wanted, policies);
    } else {
      ensure(signed.equals(root), `active set is not the one of the ${what}`, "DIVERGED");
    }
  }

  private wants(policy: string): boolean {
    return this.wanted.size === 0 || this.wanted.has(policy);
  }
}
