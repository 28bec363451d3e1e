/** What the checks of examples/typescript share. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Refused } from "../../examples/typescript/refused.js";
import { readObject } from "../../examples/typescript/strict_json.js";

export const VECTORS = process.env["VECTORS"] ?? join("tests", "vectors");

export function expect(holds: boolean, surprise: string): asserts holds {
  if (!holds) {
    throw new Error(`typescript: ${surprise}`);
  }
}

export function load<T>(name: string): T {
  return JSON.parse(readFileSync(join(VECTORS, name), "utf8")) as T;
}

/** Loads a file like `load`, with integers of any size as `bigint`. */
export function loadExact<T>(name: string): T {
  return readObject(readFileSync(join(VECTORS, name))) as T;
}

/** Returns the reason of a refusal; empty: it is accepted. */
export function refusal(read: () => unknown): string {
  try {
    read();
    return "";
  } catch (error) {
    if (error instanceof Refused) {
      return error.message || "refused";
    }
    throw error;
  }
}
