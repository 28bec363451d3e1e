/**
 * Reads a JSON object that every parser reads in the same way.
 *
 * `JSON.parse` uses the last of two members with one name, and rounds whole numbers above 2^53. A signed number may
 * have 63 bits, so whole numbers are `bigint` here.
 */

import { ensure, Refused } from "./refused.js";

export type Json = null | boolean | number | bigint | string | Json[] | JsonObject;
/** Members by name. It has no prototype, so a missing member is `undefined` whatever its name. */
export interface JsonObject {
  [name: string]: Json | undefined;
}

const DEPTH_MAX = 128;
const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\.)*"/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const WORD = /true|false|null/y;

/** Returns the one JSON object in these bytes. */
export function readObject(data: Uint8Array): JsonObject {
  const reader = new Reader(readText(data));
  const found = reader.value(DEPTH_MAX);
  reader.end();
  ensure(isObject(found), "not a JSON object");
  return found;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function readText(data: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw new Refused("not UTF-8");
  }
}

function unquote(quoted: string): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    throw new Refused("not JSON");
  }
}

class Reader {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  /** Returns what matches here, with the space after it; null: nothing does. */
  private match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) {
      this.at = pattern.lastIndex;
      SPACE.lastIndex = this.at;
      SPACE.exec(this.text);
      this.at = SPACE.lastIndex;
    }
    return found;
  }

  private take(character: string): boolean {
    const isThere = this.text[this.at] === character;
    if (isThere) {
      this.at += 1;
      this.match(SPACE);
    }
    return isThere;
  }

  private must(character: string): void {
    ensure(this.take(character), "not JSON");
  }

  end(): void {
    ensure(this.at === this.text.length, "not JSON");
  }

  value(depth: number): Json {
    ensure(depth > 0, "JSON is nested deeper than it may be");
    this.match(SPACE);
    if (this.take("{")) {
      return this.members(depth);
    }
    if (this.take("[")) {
      return this.elements(depth);
    }
    if (this.text[this.at] === '"') {
      return this.string();
    }
    const word = this.match(WORD);
    return word ? (JSON.parse(word[0]) as null | boolean) : this.number();
  }

  private members(depth: number): JsonObject {
    const found = Object.create(null) as JsonObject;
    if (this.take("}")) {
      return found;
    }
    do {
      const name = this.string();
      this.must(":");
      ensure(!(name in found), "JSON has a member twice");
      found[name] = this.value(depth - 1);
    } while (this.take(","));
    this.must("}");
    return found;
  }

  private elements(depth: number): Json[] {
    const found: Json[] = [];
    if (this.take("]")) {
      return found;
    }
    do {
      found.push(this.value(depth - 1));
    } while (this.take(","));
    this.must("]");
    return found;
  }

  private string(): string {
    const quoted = this.match(STRING);
    ensure(quoted !== null, "not JSON");
    const found = unquote(quoted[0]);
    ensure(found.isWellFormed(), "JSON has half a character");
    return found;
  }

  private number(): number | bigint {
    const digits = this.match(NUMBER);
    ensure(digits !== null, "not JSON");
    if (digits[1] === undefined && digits[2] === undefined) {
      return BigInt(digits[0]);
    }
    ensure(Number.isFinite(Number(digits[0])), "JSON has a number of no size");
    return Number(digits[0]);
  }
}
