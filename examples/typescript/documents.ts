/**
 * The content of each kind of signed document. Other members are ignored, because a later server may add some.
 *
 * No I/O and no clock.
 */

import { ensure, Refused } from "./refused.js";
import { digestOf, verifiedPayload, type Keys } from "./signed.js";
import { isObject, readObject, type Json, type JsonObject } from "./strict_json.js";

const CONTENT_MAX_BYTES = 1024 * 1024;
const ANNOTATIONS_MAX = 64;
const ANNOTATIONS_MAX_BYTES = 4 * 1024;
const ANNOTATION_VALUE_MAX_BYTES = 2 * 1024;
const ADOPTED_AUTHOR_MAX_BYTES = 256;
const CHECKPOINT_TTL_SECONDS = 15n * 60n;
export const CLOCK_SKEW_MAX_SECONDS = 60n;

export const ID = /^[a-z](?:[a-z0-9_-]{0,61}[a-z0-9])?$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const HASH = /^[0-9a-f]{64}$/;
const ANNOTATION_KEY = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$/;
const ANNOTATION_VALUE = /^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$/;
const AUTHOR = /^(?=.*\S)[^\x00-\x1f\x7f-\x9f]*$/s;
const ANY = /^/;

/** The position of an event in a log. */
export interface Position {
  readonly epoch: bigint;
  readonly revision: bigint;
}

/** Returns a number below 0 when the first position is before the second one. Epochs are compared first. */
export function comparePositions(a: Position, b: Position): number {
  const [first, second] = a.epoch === b.epoch ? [a.revision, b.revision] : [a.epoch, b.epoch];
  return first < second ? -1 : first > second ? 1 : 0;
}

/** The store and namespace of a document. */
export interface Owner {
  readonly store: string;
  readonly namespace: string;
}

export interface Manifest extends Owner {
  readonly policy: string;
  readonly version: bigint;
  readonly label: string;
  readonly digest: string;
  readonly size: bigint;
  readonly contentType: string;
}

export interface StatedChange {
  readonly policy: string;
  /** The version in force from then on; 0: none. */
  readonly version: bigint;
  readonly digest: string | null;
  readonly previous: bigint;
}

export interface Statement extends Owner, Position {
  readonly kind: string;
  readonly actor: string;
  readonly changes: readonly StatedChange[];
  /** Null when the server writes no roots yet. */
  readonly activeSetRoot: string | null;
}

export interface Checkpoint extends Owner, Position {
  readonly headHash: string;
  readonly activeSetRoot: string;
  readonly iat: bigint;
  readonly exp: bigint;
}

/** Reads members of an object, each of which must exist and be valid. */
export class Members {
  private readonly object: JsonObject;
  private readonly what: string;

  constructor(object: Json | undefined, what: string) {
    ensure(isObject(object), `${what} is no object`);
    this.object = object;
    this.what = what;
  }

  text(name: string, pattern: RegExp = ANY): string {
    const value = this.object[name];
    ensure(typeof value === "string" && pattern.test(value), `${name} of ${this.what} is absent or wrong`);
    return value;
  }

  whole(name: string, least: bigint): bigint {
    const value = this.object[name];
    ensure(typeof value === "bigint" && value >= least && value < 1n << 63n, `${name} of ${this.what} is absent or wrong`);
    return value;
  }

  time(name: string): bigint {
    return this.whole(name, -(1n << 63n));
  }

  list(name: string): Json[] {
    const value = this.object[name];
    ensure(Array.isArray(value), `${name} of ${this.what} is no list`);
    return value;
  }

  /** Returns what `read` returns, for a member that may be missing. */
  optional<T>(name: string, read: (name: string) => T): T | null {
    return (this.object[name] ?? null) === null ? null : read(name);
  }

  raw(name: string): Json | undefined {
    return this.object[name];
  }
}

const size = (text: string) => Buffer.byteLength(text);

function checkAnnotations(value: Json | undefined): void {
  if (value === undefined) {
    return;
  }
  ensure(isObject(value), "annotations are no object");
  let total = 0;
  const entries = Object.entries(value);
  for (const [key, text] of entries) {
    const fits = typeof text === "string" && ANNOTATION_VALUE.test(text) && size(text) <= ANNOTATION_VALUE_MAX_BYTES;
    ensure(ANNOTATION_KEY.test(key) && fits, "annotation is not within its bounds");
    total += size(key) + size(text);
  }
  ensure(entries.length <= ANNOTATIONS_MAX && total <= ANNOTATIONS_MAX_BYTES, "annotations are not within their bounds");
}

function checkAdopted(value: Json | undefined): void {
  if ((value ?? null) === null) {
    return;
  }
  const adopted = new Members(value, "who wrote it before");
  ensure(size(adopted.text("author", AUTHOR)) <= ADOPTED_AUTHOR_MAX_BYTES, "author from before is too long");
  adopted.optional("create_time", (name) => adopted.whole(name, 0n));
}

/** Reads the manifest of a bundle whose content is exactly these bytes. */
export function readManifest(token: string, content: Uint8Array, keys: Keys): Manifest {
  return signedAs(token, "policyhub-bundle+jws", "a manifest", keys, (members) => {
    const manifest = {
      ...owner(members), policy: members.text("policy", ID), version: members.whole("version", 1n),
      label: members.optional("label", (name) => members.text(name)) ?? "", digest: members.text("digest", DIGEST),
      size: members.whole("size", 0n), contentType: members.text("content_type"),
    };
    members.text("author");
    members.text("publisher");
    checkAnnotations(members.raw("annotations"));
    checkAdopted(members.raw("adopted"));
    ensure(content.length <= CONTENT_MAX_BYTES && BigInt(content.length) === manifest.size, "content has not the signed size");
    ensure(digestOf(content) === manifest.digest, "content has not the signed digest");
    return manifest;
  });
}

/** Reads the statement of an activation. */
export function readStatement(token: string, keys: Keys): Statement {
  return signedAs(token, "policyhub-activation+jws", "a statement", keys, (members) => {
    members.text("reason_digest", DIGEST);
    members.text("prev", HASH);
    return {
      ...owner(members), epoch: members.whole("epoch", 0n), revision: members.whole("revision", 1n), kind: members.text("kind"),
      actor: members.text("actor"), changes: members.list("changes").map(readChange),
      activeSetRoot: members.optional("active_set_root", (name) => members.text(name, HASH)),
    };
  });
}

function readChange(change: Json): StatedChange {
  const members = new Members(change, "a change");
  const version = members.whole("version", 0n);
  const digest = members.optional("digest", (name) => members.text(name, DIGEST));
  ensure((digest === null) === (version === 0n), "digest of a change is absent or wrong");
  return { policy: members.text("policy", ID), version, digest, previous: members.whole("previous", 0n) };
}

/** Reads a checkpoint of any time: an expired one still proves what was in force at its position. */
export function readCheckpoint(token: string, keys: Keys): Checkpoint {
  return signedAs(token, "policyhub-checkpoint+jws", "a checkpoint", keys, (members) => {
    const checkpoint = {
      ...owner(members), epoch: members.whole("epoch", 0n), revision: members.whole("revision", 0n),
      headHash: members.text("head_hash", HASH), activeSetRoot: members.text("active_set_root", HASH),
      iat: members.time("iat"), exp: members.time("exp"),
    };
    const seconds = checkpoint.exp - checkpoint.iat;
    ensure(seconds > 0n && seconds <= CHECKPOINT_TTL_SECONDS, "checkpoint has a wrong lifetime");
    return checkpoint;
  });
}

/** Returns the fingerprint of the event at a checkpoint's position: the first bytes of its hash. */
export function eventOf(checkpoint: Checkpoint): bigint {
  return BigInt(`0x${checkpoint.headHash.slice(0, 16)}`);
}

/** Returns why a checkpoint does not prove that nothing is newer at `now`, in seconds since the Unix epoch; empty: it does. */
export function whyNotFresh(checkpoint: Checkpoint, now: bigint): string {
  const ahead = checkpoint.iat - now;
  if (ahead > CLOCK_SKEW_MAX_SECONDS) {
    return `checkpoint is from the future: the server's clock is ${ahead} s ahead of this one`;
  }
  return now >= checkpoint.exp ? "checkpoint has expired" : "";
}

function owner(members: Members): Owner {
  members.time("iat");
  return { store: members.text("store"), namespace: members.text("namespace", ID) };
}

/** Reads a document. A failed verification, or an invalid payload, is a refusal of signed data. */
function signedAs<T>(token: string, typ: string, what: string, keys: Keys, read: (members: Members) => T): T {
  const payload = verifiedPayload(token, typ, keys);
  try {
    return read(new Members(readObject(payload), what));
  } catch (refusal) {
    throw refusal instanceof Refused ? new Refused(refusal.message, "REJECTED", true) : refusal;
  }
}
