/**
 * Rules 1 and 2 of `SyncService` in `sync_service.proto`: which documents count, and which bundles.
 *
 * No I/O and no clock. Invariant: an `Active` exists only after all of it was verified.
 */

import { ID, readCheckpoint, readManifest, readStatement } from "./documents.js";
import type { Checkpoint, Owner, Position, Statement } from "./documents.js";
import type { Bundle } from "./messages.js";
import { ensure } from "./refused.js";
import type { Leaf } from "./set_root.js";
import type { Keys } from "./signed.js";

/** A policy in force, verified. `position` is that of its activation. */
export interface Active extends Leaf {
  readonly policy: string;
  readonly label: string;
  readonly contentType: string;
  readonly content: Buffer;
  readonly manifest: string;
}

/** The proof of a set: a statement or a checkpoint, and with a filter the proof under its root. */
export interface Evidence {
  readonly kind: "statement" | "checkpoint";
  readonly token: string;
  readonly setProof: Buffer;
}

/** What a set trusts: one namespace of one store, and its keys. */
export class Trust {
  readonly namespace: string;
  keys: Keys;
  /** Id of the store whose documents count; null: that of the first one that verifies. */
  store: string | null;
  /** Whether the store was known before the first message. */
  private knowsStore: boolean;
  /** The store of a refused stream while nothing was held. */
  private refusedStore: string | null = null;

  constructor(namespace: string, keys: Keys, store: string | null) {
    this.namespace = namespace;
    this.keys = keys;
    this.store = store;
    this.knowsStore = store !== null;
  }

  /** Sets the store whose documents were accepted before a restart. */
  rememberStore(store: string): void {
    this.store ??= store;
    this.knowsStore = true;
  }

  /** Forgets the store while nothing is held, so that a copied document of another store does not bind the set to it. */
  beginStream(isEmpty: boolean): void {
    if (isEmpty && !this.knowsStore) {
      this.refusedStore = this.store ?? this.refusedStore;
      this.store = null;
    }
  }

  /** Returns whether what was verified before, and refused, was of another store than this stream's. */
  isAnotherStore(): boolean {
    return this.refusedStore !== null && this.refusedStore !== this.store;
  }

  /** Returns whether the store is final, as it is as soon as something is held. */
  isStoreKnown(isEmpty: boolean): boolean {
    return this.store !== null && (this.knowsStore || !isEmpty);
  }

  statement(token: string): Statement {
    return this.owned("statement", readStatement(token, this.keys));
  }

  checkpoint(token: string): Checkpoint {
    return this.owned("checkpoint", readCheckpoint(token, this.keys));
  }

  /** Verifies a bundle by rule 2. The position of its activation is proven by its set. */
  bundle(bundle: Bundle): Active {
    ensure(!bundle.preview, "a preview is not in force");
    ensure(bundle.activation !== null, "activation of a bundle is absent");
    const manifest = this.owned("manifest", readManifest(bundle.manifest, bundle.content, this.keys));
    const { policy, version, label, digest, contentType } = manifest;
    const name = `namespaces/${this.namespace}/policies/${policy}/versions/${version}`;
    const sameName = bundle.name === name && BigInt(bundle.version) === version && bundle.label === label;
    const sameContent = bundle.digest === digest && BigInt(bundle.sizeBytes) === manifest.size;
    const sameFields = sameName && sameContent && bundle.contentType === contentType;
    ensure(sameFields, `fields beside the manifest of ${policy} are not the signed ones`);
    const position = { epoch: BigInt(bundle.activation.epoch), revision: BigInt(bundle.activation.revision) };
    // A copy: a slice of the received message would keep all of that message in memory.
    return { policy, version, label, digest, contentType, content: Buffer.from(bundle.content), manifest: bundle.manifest, position };
  }

  /** Returns the policy of a tombstone. */
  tombstone(name: string): string {
    const prefix = `namespaces/${this.namespace}/policies/`;
    const policy = name.slice(prefix.length);
    ensure(name.startsWith(prefix) && ID.test(policy), "tombstone is no policy of this namespace");
    return policy;
  }

  private owned<T extends Owner>(what: string, document: T): T {
    ensure(document.namespace === this.namespace, `${what} is signed for namespace ${document.namespace}`);
    this.store ??= document.store;
    ensure(document.store === this.store, `${what} is signed by store ${document.store}, not ${this.store}`, "DIVERGED");
    return document;
  }
}

export function positionText(position: Position): string {
  return `${position.epoch}:${position.revision}`;
}
