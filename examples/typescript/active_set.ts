/**
 * The active set of a namespace as a subscriber holds it, verified message by message.
 *
 * The rules are those of `SyncService` in `sync_service.proto`, by their numbers. No I/O and no clock: whoever reads a stream
 * gives each message to `ActiveSet.apply`, with the time. Invariants: a message changes all it says or nothing; the position held
 * is a signed one and never goes back; nothing is taken that is older than what verified.
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

/** What a message changed: everything (SNAPSHOT), or what one activation moved. */
export interface Change {
  readonly kind: string;
  readonly position: Position;
  readonly actor: string;
  readonly changed: readonly Active[];
  readonly removed: readonly string[];
}

/** What a set is of, and whom it trusts. */
export interface ActiveSetOptions {
  readonly namespace: string;
  readonly keys: Keys;
  /** Ids of the policies asked for; none: all. */
  readonly policies?: readonly string[];
  /** Where `keys` came from, when it follows the key statements of the store. */
  readonly pinned?: PinnedKeys | null;
  /** The store whose documents count; none: that of the first message that is taken over. */
  readonly store?: string | null;
}

/** In the byte order of their ids. */
const sorted = (policies: Iterable<Active>): Active[] => [...policies].sort((a, b) => (a.policy < b.policy ? -1 : 1));

/** What is in force in a namespace, of the policies asked for; none named: all. */
export class ActiveSet {
  readonly trust: Trust;
  readonly wanted: ReadonlySet<string>;
  readonly pinned: PinnedKeys | null;
  policies: Policies = new Map();
  position: Position | null = null;
  /** Of the event at `position`, sent back with it. After an activation it is the server's word; 0: not known. */
  fingerprint = 0n;
  evidence: Evidence | null = null;
  readonly freshness = new Freshness();
  /** The high-water mark: also of what was refused after it had verified. */
  newestVerified: Position = NOWHERE;
  private root = activeSetRoot(new Map());
  private readonly collected = new Collected();

  constructor({ namespace, keys, policies = [], pinned = null, store = null }: ActiveSetOptions) {
    this.trust = new Trust(namespace, pinned?.trusted ?? keys, store);
    this.wanted = new Set(policies);
    this.pinned = pinned;
  }

  /** Drops what an unfinished or refused stream left. */
  beginStream(): void {
    this.collected.drop();
    this.trust.beginStream(this.position === null);
  }

  /** Digest of the set as reports carry it: one line for each policy, in the byte order of their ids. */
  digest(): string {
    const lines = sorted(this.policies.values()).map(({ policy, version, digest }) => `${policy}\t${version}\t${digest}\n`);
    return digestOf(Buffer.from(lines.join("")));
  }

  /** Whether a checkpoint says that what is held is the newest. */
  isFresh(now: bigint): boolean {
    return now < this.freshness.until;
  }

  /**
   * Takes a message over, and returns what it changed in force. `Refused`: read no more of this stream, and begin the next one
   * with a snapshot (rule 6).
   */
  apply(message: WatchMessage, now: bigint): Change | null {
    const change = this.take(message, now);
    if (this.pinned && this.position && this.trust.store !== null) {
      this.pinned.dropOtherStore(this.trust.store);
      this.trust.keys = this.pinned.trusted;
    }
    return change;
  }

  /** Takes up what was held before a restart. Nothing proves that it is the newest. `Refused`: nothing changed. */
  restore(bundles: readonly Bundle[], evidence: Evidence, fingerprint: bigint): void {
    const policies = new Map(bundles.map((bundle) => this.bundle(bundle)).map((active) => [active.policy, active]));
    const { kind, token, setProof } = evidence;
    const document = kind === "statement" ? this.trust.statement(token) : this.trust.checkpoint(token);
    const root = activeSetRoot(policies);
    this.checkProves("saved document", document, setProof, policies, root);
    this.hold(policies, root, document, "headHash" in document ? eventOf(document) : fingerprint, evidence);
    this.remember(document);
  }

  /** Remembers a position that verified before a restart: nothing older is taken from here on. */
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

  /** One that can't be taken changes nothing: what needs a key that is not trusted is refused by itself. */
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
    // Everything holds: only from here on anything changes.
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
    // Everything holds: only from here on anything changes.
    const evidence: Evidence = { kind: "statement", token: part.statement, setProof: Buffer.from(part.setProof) };
    this.hold(policies, root, position, BigInt(part.cursor?.fingerprint ?? 0), evidence);
    const removed = [...changes.keys()].filter((policy) => !policies.has(policy)).sort();
    return { kind: statement.kind, position, actor: statement.actor, changed: sorted(changed), removed };
  }

  private heartbeat(heartbeat: Heartbeat, now: bigint): void {
    ensure(!this.collected.isUnfinished, "heartbeat within a message in parts");
    ensure(this.position !== null, "heartbeat before a whole snapshot");
    if (heartbeat.resumeUnknown) {
      return; // the server has not read as far as this: a sign of life, and proof of nothing
    }
    const checkpoint = this.trust.checkpoint(heartbeat.checkpoint);
    const position = this.signedPosition(heartbeat.cursor, checkpoint);
    try {
      this.checkProves("checkpoint", checkpoint, heartbeat.setProof, this.policies, this.root);
    } catch (refusal) {
      if (refusal instanceof Refused && refusal.state === "DIVERGED") {
        // Something newer is in force: what is held is not the newest, whatever an earlier checkpoint said.
        this.freshness.end(refusal.message);
      }
      throw refusal;
    }
    // Everything holds: only from here on anything changes.
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

  /** The position of a message as it is signed: not before any that verified, and from here on the newest of them. */
  private signedPosition(hint: Cursor | null, { epoch, revision }: Position): Position {
    ensure(hint !== null, "cursor is absent");
    const position = { epoch, revision };
    const isSame = BigInt(hint.epoch) === epoch && BigInt(hint.revision) === revision;
    ensure(isSame, `signed for ${positionText(position)}, not ${hint.epoch}:${hint.revision}`);
    // What was refused before anything was held counts for its own store alone.
    const newest = this.position === null && this.trust.isAnotherStore() ? NOWHERE : this.newestVerified;
    ensure(comparePositions(position, newest) >= 0, `position ${positionText(position)} is before ${positionText(newest)}`, "DIVERGED");
    this.newestVerified = position;
    return position;
  }

  /** Rules 3 to 5: exactly these policies are in force at a position, of all or of those that were asked for. */
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
