/** Honest messages of a small history, signed by a public test key of the vectors; and lies that need a signature. */

import { createPrivateKey, sign, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Bundle, Cursor, WatchMessage } from "../../examples/typescript/messages.js";
import { activeSetRoot, keyOf, valueOf, type Leaves } from "../../examples/typescript/set_root.js";
import { digestOf, readKeys, type Keys } from "../../examples/typescript/signed.js";
import { load, VECTORS } from "./expect.js";

export const STORE = "0198a0c2-0000-7000-8000-000000000001";
const HASH = "0".repeat(63);

type Signed = Record<string, unknown>;
/** Policy to version and revision of its activation. */
export type Held = Record<string, [number, number]>;

export class Signer {
  readonly keys: Keys = readKeys(Buffer.from(JSON.stringify(load<object>("jwks.json"))));
  private readonly key: KeyObject = createPrivateKey(readFileSync(join(VECTORS, "keys", "ed25519-v1.pem")));
  private readonly kid: string;

  constructor() {
    const { x } = this.key.export({ format: "jwk" });
    this.kid = [...this.keys.values()].find(({ key }) => key.export({ format: "jwk" }).x === x)?.kid ?? "";
  }

  /** Returns a token with this header before its payload. */
  token(payload: string, typ: string, spaces = 0): string {
    const header = " ".repeat(spaces) + JSON.stringify({ alg: "EdDSA", kid: this.kid, typ });
    const signed = [header, payload].map((part) => Buffer.from(part).toString("base64url")).join(".");
    return `${signed}.${sign(null, Buffer.from(signed), this.key).toString("base64url")}`;
  }

  private document(typ: string, payload: Signed, says: Signed): string {
    const owner = { store: STORE, namespace: "default", iat: 1_000 };
    return this.token(JSON.stringify({ ...owner, ...payload, ...says }), `policyhub-${typ}+jws`);
  }

  bundle(policy: string, version: number, revision: number, beside: Partial<Bundle> = {}): Bundle {
    const content = contentOf(policy, version);
    const [digest, size, contentType] = [digestOf(content), content.length, "application/json"];
    const payload = { policy, version, digest, size, content_type: contentType, author: "a", publisher: "p" };
    return {
      name: `namespaces/default/policies/${policy}/versions/${version}`, version: `${version}`, label: "", digest, sizeBytes: `${size}`,
      contentType, content, manifest: this.document("bundle", payload, {}), activation: cursor(revision), preview: false, ...beside,
    };
  }

  checkpoint(revision: number, held: Held, says: Signed = {}): string {
    const root = activeSetRoot(leavesOf(held)).toString("hex");
    const payload = { epoch: 1, revision, head_hash: `${HASH}1`, active_set_root: root, exp: 1_900 };
    return this.document("checkpoint", payload, says);
  }

  snapshot(revision: number, held: Held, says: Signed = {}, beside: Partial<Bundle> = {}): WatchMessage {
    const bundles = Object.entries(held).map(([policy, [version, at]]) => this.bundle(policy, version, at, beside));
    const checkpoint = this.checkpoint(revision, held, says);
    return { parent: "namespaces/default", snapshot: { bundles, complete: true, cursor: cursor(revision), checkpoint, setProof: Buffer.alloc(0) } };
  }

  /** Returns a proof for a set of one policy that this one is in force. */
  proofOfOne(policy: string, version: number, revision: number): Buffer {
    const position = { epoch: 1n, revision: BigInt(revision) };
    const leaf = { version: BigInt(version), digest: digestOf(contentOf(policy, version)), position };
    return Buffer.concat([Buffer.from([1]), keyOf(policy), valueOf(policy, leaf)]);
  }

  heartbeat(revision: number, held: Held, says: Signed = {}, epoch = 1): WatchMessage {
    const flags = { resumeUnknown: false, degraded: false, inDoubt: false };
    const checkpoint = this.checkpoint(revision, held, says);
    return { parent: "namespaces/default", heartbeat: { cursor: cursor(revision, epoch), checkpoint, setProof: Buffer.alloc(0), ...flags } };
  }

  /** Returns the activation that leads to the set `after`. Each move is policy, version before and version after. */
  activation(revision: number, moves: [string, number, number][], after: Held, says: Signed = {}): WatchMessage {
    const changes = moves.map(([policy, previous, version]) => {
      return { policy, version, previous, ...(version > 0 ? { digest: digestOf(contentOf(policy, version)) } : {}) };
    });
    const statement = this.document("activation", {
      epoch: 1, revision, kind: "ACTIVATE", changes, actor: "local:admin", reason_digest: digestOf(Buffer.alloc(0)), prev: `${HASH}0`,
      active_set_root: activeSetRoot(leavesOf(after)).toString("hex"),
    }, says);
    const bundles = moves.filter(([, , version]) => version > 0).map(([policy, , version]) => this.bundle(policy, version, revision));
    const tombstones = moves.filter(([, , version]) => version === 0).map(([policy]) => `namespaces/default/policies/${policy}`);
    return { parent: "namespaces/default", activation: { cursor: cursor(revision), statement, bundles, tombstones, complete: true, setProof: Buffer.alloc(0) } };
  }
}

export function cursor(revision: number, epoch = 1): Cursor {
  return { epoch: `${epoch}`, revision: `${revision}`, fingerprint: "0" };
}

function contentOf(policy: string, version: number): Buffer {
  return Buffer.from(JSON.stringify({ policy, version }));
}

function leavesOf(held: Held): Leaves {
  return new Map(Object.entries(held).map(([policy, [version, revision]]) => {
    const position = { epoch: 1n, revision: BigInt(revision) };
    return [policy, { version: BigInt(version), digest: digestOf(contentOf(policy, version)), position }];
  }));
}
