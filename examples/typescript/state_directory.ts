/**
 * Keeps what is in force, the high-water mark, and the accepted key statements over restarts.
 *
 * `state.json` holds everything except the contents, and is replaced atomically. A content is a file named by its
 * digest. What is read back is verified like what comes over a stream. Only one process may use a directory at a time.
 */

import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

import type { ActiveSet } from "./active_set.js";
import type { Bundle } from "./messages.js";
import type { SavedPins } from "./pinned_keys.js";
import { positionText, type Active, type Evidence } from "./trust.js";

const VERSION = 1;

type SavedPolicy = Omit<Bundle, "content" | "preview">;

interface SavedSet {
  readonly wanted: readonly string[];
  readonly evidence: { readonly kind: Evidence["kind"]; readonly token: string; readonly setProof: string };
  readonly fingerprint: string;
  readonly policies: readonly SavedPolicy[];
}

/** The content of `state.json`. */
export interface SavedState {
  readonly version: number;
  readonly namespace: string;
  readonly store: string | null;
  /** The high-water mark. */
  readonly mark: { readonly epoch: string; readonly revision: string } | null;
  readonly pins: SavedPins | null;
  readonly set: SavedSet | null;
}

export class StateDirectory {
  private readonly path: string;
  /** Digests of the contents that are known to be there. */
  private contents = new Set<string>();
  /** What was written last. */
  private written = "";

  /** Throws when the directory can't be made. */
  constructor(path: string) {
    this.path = path;
    mkdirSync(join(path, "contents"), { recursive: true, mode: 0o700 });
  }

  /** Returns what was saved; null: nothing. Throws when it is unreadable: without the mark an older set would be accepted. */
  read(): SavedState | null {
    const file = join(this.path, "state.json");
    let text: string;
    try {
      text = readFileSync(file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") {
        return null;
      }
      throw error;
    }
    const saved = JSON.parse(text) as SavedState;
    if (saved.version !== VERSION) {
      throw new Error(`${file} is of another version of this program`);
    }
    return saved;
  }

  /** Sets what was saved. Returns why its set is not used; empty: it is. */
  restore(held: ActiveSet, saved: SavedState): string {
    const store = held.trust.store ?? saved.store;
    if (saved.namespace !== held.trust.namespace || (saved.store ?? store) !== store) {
      throw new Error(`${this.path} is of namespace ${saved.namespace} of store ${saved.store}: take another directory`);
    }
    if (saved.store !== null) {
      held.trust.rememberStore(saved.store);
    }
    const problem = saved.set ? this.restoreSet(held, saved.set) : "";
    if (saved.mark) {
      held.remember({ epoch: BigInt(saved.mark.epoch), revision: BigInt(saved.mark.revision) });
    }
    return problem;
  }

  private restoreSet(held: ActiveSet, set: SavedSet): string {
    if (set.wanted.length !== held.wanted.size || !set.wanted.every((policy) => held.wanted.has(policy))) {
      return "it is of other policies";
    }
    try {
      const bundles = set.policies.map((policy) => {
        return { ...policy, content: readFileSync(this.contentPath(policy.digest)), preview: false };
      });
      const { kind, token, setProof } = set.evidence;
      held.restore(bundles, { kind, token, setProof: Buffer.from(setProof, "base64") }, BigInt(set.fingerprint));
      this.contents = new Set(bundles.map(({ digest }) => digest));
      return "";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Saves what changed since the last call. Throws when the disk fails: then the next call tries again. */
  save(held: ActiveSet): void {
    const { trust, position, newestVerified, pinned } = held;
    const pins = pinned?.saved ?? null;
    const isKnown = trust.isStoreKnown(position === null);
    // The policies change only with the position.
    const key = JSON.stringify([isKnown && trust.store, isKnown && positionText(newestVerified), position && positionText(position), pins]);
    if (key === this.written) {
      return;
    }
    const mark = isKnown ? { epoch: `${newestVerified.epoch}`, revision: `${newestVerified.revision}` } : null;
    const state: SavedState = {
      version: VERSION, namespace: trust.namespace, store: isKnown ? trust.store : null, mark, pins, set: this.saveContents(held),
    };
    this.replace(join(this.path, "state.json"), JSON.stringify(state));
    this.written = key;
    this.dropContents(held);
  }

  private saveContents(held: ActiveSet): SavedSet | null {
    const { evidence } = held;
    if (!evidence) {
      return null;
    }
    for (const { digest, content } of held.policies.values()) {
      if (!this.contents.has(digest)) {
        this.replace(this.contentPath(digest), content);
        this.contents.add(digest);
      }
    }
    return {
      wanted: [...held.wanted], evidence: { ...evidence, setProof: evidence.setProof.toString("base64") },
      fingerprint: `${held.fingerprint}`,
      policies: [...held.policies.values()].map((active) => savedPolicy(held.trust.namespace, active)),
    };
  }

  private dropContents(held: ActiveSet): void {
    this.contents = new Set([...held.policies.values()].map(({ digest }) => digest));
    const used = new Set([...this.contents].map(fileName));
    const unused = readdirSync(join(this.path, "contents")).filter((name) => !used.has(name));
    unused.forEach((name) => rmSync(join(this.path, "contents", name)));
  }

  private contentPath(digest: string): string {
    return join(this.path, "contents", fileName(digest));
  }

  /** Writes a file so that after a crash it has either its old or its new content. */
  private replace(file: string, data: string | Buffer): void {
    const draft = `${file}.new`;
    const descriptor = openSync(draft, "w", 0o600);
    try {
      const bytes = Buffer.from(data);
      for (let at = 0; at < bytes.length; at += writeSync(descriptor, bytes, at)) {}
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(draft, file);
    const directory = openSync(join(file, ".."), "r");
    fsyncSync(directory);
    closeSync(directory);
  }
}

/** Returns the hexadecimal digits of a digest. It can't be a path: it was compared with the content, or names its own file. */
function fileName(digest: string): string {
  return digest.replace(/[^0-9a-z]/g, "-");
}

function savedPolicy(namespace: string, active: Active): SavedPolicy {
  const { policy, version, label, digest, contentType, manifest, position, content } = active;
  return {
    name: `namespaces/${namespace}/policies/${policy}/versions/${version}`, version: `${version}`, label, digest, contentType,
    sizeBytes: `${content.length}`, manifest,
    activation: { epoch: `${position.epoch}`, revision: `${position.revision}`, fingerprint: "0" },
  };
}
