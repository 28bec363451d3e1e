/**
 * Limits the decoded size of a message before any of it is decoded: an element of two bytes can take hundreds in
 * memory.
 *
 * Nothing is kept, and unreadable bytes are refused.
 */

import protobuf from "protobufjs";

import { ensure, Refused } from "./refused.js";

/** How much memory a message may take beyond twice its size on the wire. Honest messages are at most 2 MiB and take less. */
const EXTRA_MAX_BYTES = 4 * 1024 * 1024;
export const FIELDS_MAX = 512 * 1024;
export const DEPTH_MAX = 64;
/** The memory of an element, rounded up: an embedded message, a text, a number. */
const MESSAGE_BYTES = 128;
const TEXT_BYTES = 32;
const NUMBER_BYTES = 16;
const VARINT_MAX_BYTES = 10;
const NOT_THE_FORMAT = "message is not in the wire format";
const TOO_DEEP = "message is nested deeper than it may be";

/** Refuses a message that would take much more memory than its size, is nested too deeply, or is invalid. */
export function scanMessage(type: protobuf.Type, data: Uint8Array): void {
  new Scan(data).message(type, data.length, DEPTH_MAX);
}

class Scan {
  private readonly data: Uint8Array;
  private at = 0;
  private fields = FIELDS_MAX;
  private memory: number;

  constructor(data: Uint8Array) {
    this.data = data;
    this.memory = 2 * data.length + EXTRA_MAX_BYTES;
  }

  /** Scans up to `end`. */
  message(type: protobuf.Type, end: number, depth: number): void {
    ensure(depth > 0, TOO_DEEP);
    let groups = 0;
    while (this.at < end) {
      this.fields -= 1;
      ensure(this.fields >= 0, "message has more fields than it may have");
      const key = this.varint(end);
      const [id, wire] = [Math.floor(key / 8), key % 8];
      ensure(id > 0, NOT_THE_FORMAT);
      if (wire === 3) {
        groups += 1;
        ensure(groups < depth, TOO_DEEP);
      } else if (wire === 4) {
        groups -= 1;
        ensure(groups >= 0, NOT_THE_FORMAT);
      } else {
        this.field(wire, groups === 0 ? type.fieldsById[id] : undefined, end, depth);
      }
    }
    ensure(this.at === end && groups === 0, NOT_THE_FORMAT);
  }

  private field(wire: number, field: protobuf.Field | undefined, end: number, depth: number): void {
    if (wire === 2) {
      const length = this.varint(end);
      ensure(length <= end - this.at, NOT_THE_FORMAT);
      this.payload(field, length, depth);
    } else if (wire === 0) {
      this.varint(end);
      this.take(NUMBER_BYTES);
    } else {
      ensure(wire === 1 || wire === 5, NOT_THE_FORMAT);
      this.at += wire === 1 ? 8 : 4;
      this.take(NUMBER_BYTES);
    }
  }

  private payload(field: protobuf.Field | undefined, length: number, depth: number): void {
    const type = field?.resolve().resolvedType;
    if (type instanceof protobuf.Type) {
      this.take(MESSAGE_BYTES);
      this.message(type, this.at + length, depth - 1);
      return;
    }
    const isText = field === undefined || field.type === "string" || field.type === "bytes";
    this.take(isText ? TEXT_BYTES + length : NUMBER_BYTES * length); // packed numbers have at least a byte each
    this.at += length;
  }

  private take(bytes: number): void {
    this.memory -= bytes;
    ensure(this.memory >= 0, "message would take much more memory than it has bytes");
  }

  /** Reads a number; above 2^53 it is inexact, and then neither an id nor a length. */
  private varint(end: number): number {
    let value = 0;
    for (let index = 0; index < VARINT_MAX_BYTES && this.at < end; index += 1) {
      const byte = this.data[this.at] ?? 0;
      this.at += 1;
      value += (byte & 127) * 2 ** (7 * index);
      if (byte < 128) {
        return value;
      }
    }
    throw new Refused(NOT_THE_FORMAT);
  }
}
