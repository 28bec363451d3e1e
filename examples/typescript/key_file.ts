/** The file of pinned keys, read again when it changes. A half-written or missing file changes nothing. */

import { readFileSync } from "node:fs";

import type { ActiveSet } from "./active_set.js";
import { ensure } from "./refused.js";
import { readKeys, type Keys } from "./signed.js";

export class KeyFile {
  keys: Keys;
  private readonly path: string;
  private seen: Buffer;

  /** Throws when the file is unusable, so that a mistake at the start ends the program. */
  constructor(path: string) {
    this.path = path;
    this.seen = readFileSync(path);
    this.keys = read(this.seen);
  }

  /**
   * Reads the file again. True: `held` follows other keys now, and the statements that follow them come only with the
   * next stream. The file is small, so it is read for each message.
   */
  look(held: ActiveSet, say: (talk: string) => void): boolean {
    try {
      const data = readFileSync(this.path);
      if (data.equals(this.seen)) {
        return false;
      }
      this.seen = data;
      const keys = read(data);
      if (keys.size === this.keys.size && [...keys.keys()].every((kid) => this.keys.has(kid))) {
        return false;
      }
      this.keys = keys;
    } catch (error) {
      say(`the keys of ${this.path} are not used: ${String(error)}; those read before stand`);
      return false;
    }
    held.pinned?.replace(this.keys);
    held.trust.keys = held.pinned?.trusted ?? this.keys;
    say(`the pinned keys changed: ${held.trust.keys.size} are trusted`);
    return held.pinned !== null;
  }
}

function read(data: Buffer): Keys {
  const keys = readKeys(data);
  ensure(keys.size > 0, "it has no keys");
  return keys;
}
