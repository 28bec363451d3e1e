/** Messages that are refused before they are decoded or read further, and texts that two parsers read differently. */

import { Collected } from "../../examples/typescript/collected.js";
import type { Messages } from "../../examples/typescript/messages.js";
import { readJwk, readPart, verifiedPayload } from "../../examples/typescript/signed.js";
import { readObject } from "../../examples/typescript/strict_json.js";
import type { Active } from "../../examples/typescript/trust.js";
import { DEPTH_MAX, FIELDS_MAX } from "../../examples/typescript/wire_scan.js";
import { expect, load, refusal } from "./expect.js";
import { Signer } from "./signer.js";
import type { Stage } from "./streams.js";

const MIB = 1024 * 1024;
/** How much a subscriber may grow, whatever is sent. It includes the messages of this test, and memory that V8 keeps. */
const GROWTH_MAX_BYTES = 96 * MIB;

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(Math.floor(value / 128))];
}

function within(field: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(payload.length)]), payload]);
}

/** Returns messages within 8 MiB, and why each is not decoded. */
function bombs(): [string, string, () => Buffer][] {
  const [snapshot, activation] = [1, 2];
  const empty = (field: number, count: number) => Buffer.alloc(2 * count, within(field, Buffer.alloc(0)));
  const odd = "not in the wire format";
  const text = (latin: string) => () => Buffer.from(latin, "latin1");
  return [
    ["empty bundles", "more", () => within(snapshot, empty(1, 3.5 * MIB))],
    ["empty bundles of an activation", "more", () => within(activation, empty(3, 3.5 * MIB))],
    ["empty tombstones", "more", () => within(activation, empty(4, 3.5 * MIB))],
    ["empty snapshots", "more", () => empty(snapshot, 3.9 * MIB)],
    ["numbers", "more", () => Buffer.alloc(3 * (FIELDS_MAX + 1), "\x98\x06\x01", "latin1")],
    ["more than 8 MiB", "too large", () => Buffer.alloc(8 * MIB + 1)],
    ["groups in groups", "nested deeper", () => Buffer.alloc(2 * (DEPTH_MAX + 1), "\x9b\x06", "latin1")],
    ["an end without a group", odd, text("\x9c\x06")],
    ["a group without an end", odd, text("\x9b\x06")],
    ["less than it says", odd, text("\x0a\x05abc")],
    ["a fixed number that is cut", odd, text("\x99\x06abc")],
    ["field 0", odd, text("\x02\x00")],
    ["a number without an end", odd, text("\x98\x06" + "\xff".repeat(11))],
    ["two kinds at once", "two kinds", () => Buffer.concat([within(snapshot, Buffer.alloc(0)), within(activation, Buffer.alloc(0))])],
  ];
}

function checkScan(messages: Messages, stage: Stage): void {
  const all = Object.values(stage.vectors.messages).flat();
  const kinds = new Set(all.flatMap((part) => Object.keys(messages.readWatchMessage(Buffer.from(part, "base64")))));
  expect(["opened", "snapshot", "activation", "heartbeat", "keyStatement"].every((kind) => kinds.has(kind)), `reads ${[...kinds].join()}`);
  const before = process.resourceUsage().maxRSS;
  for (const [name, why, make] of bombs()) {
    const data = make();
    const said = refusal(() => messages.readWatchMessage(data));
    expect(said.includes(why), `${name}: ${said || "taken"} instead of ${why}`);
  }
  const growth = (process.resourceUsage().maxRSS - before) * 1024;
  expect(growth < GROWTH_MAX_BYTES, `grows by ${growth} bytes`);
}

/** Checks tokens of different sizes with valid signatures. */
function checkTokens(): void {
  const signer = new Signer();
  const spaces = 8 * 1024 - Buffer.from(signer.token("", "t").split(".")[0] ?? "", "base64url").length;
  const read = (before: number, bytes: number) => {
    const token = signer.token("x".repeat(bytes), "t", before);
    return refusal(() => verifiedPayload(token, "t", signer.keys));
  };
  expect(read(spaces, 64 * 1024) === "", "the largest token is refused");
  expect(read(spaces + 1, 1) !== "" && read(0, 64 * 1024 + 1) !== "", "a token that is too large is taken");
}

function checkCollected(): void {
  const active = (policy: string) => ({ policy }) as Active;
  const many = (count: number) => Array.from({ length: count }, (_, number) => active(`p${number}`));
  const ids = (count: number) => many(count).map(({ policy }) => policy);
  expect(new Collected().addSnapshotPart(many(10_000), true)?.size === 10_000, "as many policies as there can be are refused");
  expect(new Collected().addActivationPart([], ids(100), true)?.size === 100, "as many changes as there can be are refused");
  const refused: [string, () => unknown][] = [
    ["more policies than there can be", () => new Collected().addSnapshotPart(many(10_001), true)],
    ["more changes than there can be", () => new Collected().addActivationPart(many(1), ids(101).slice(1), true)],
    ["a policy twice", () => new Collected().addSnapshotPart([active("a"), active("a")], true)],
    ["a change twice", () => new Collected().addActivationPart([active("a")], ["a"], true)],
    ["an empty part of a snapshot", () => new Collected().addSnapshotPart([], false)],
    ["an empty part of an activation", () => new Collected().addActivationPart([], [], false)],
  ];
  refused.forEach(([name, add]) => expect(refusal(add) !== "", `${name} is taken`));
}

function checkReaders(): void {
  const [jwk] = load<{ keys: Record<string, string>[] }>("jwks.json").keys;
  for (const lie of [{ d: "AAAA" }, { kid: "mine" }, { alg: "RS256" }, { use: "enc" }, { kty: "oct" }, { crv: "X25519" }, { x: "AAAA" }]) {
    expect(refusal(() => readJwk({ ...jwk, ...lie })) !== "", `a key with ${JSON.stringify(lie)} is taken`);
  }
  const texts = [
    "[1]", '{"a":1,"a":2}', '{"a":{"b":1,"b":1}}', '{"a":1e999}', '{"a":NaN}', '{"a":"\\ud800"}', '{"a":"\\x"}', '{"a":01}', '{"a":1,}',
    "{a:1}", "\ufeff{}", "{}{}", "", "null", "[".repeat(60_000), '{"a":"\n"}', "{'a':1}",
  ];
  for (const text of [...texts.map((text) => Buffer.from(text)), Buffer.from('{"a":"\xff"}', "latin1")]) {
    expect(refusal(() => readObject(text)) !== "", `${text.subarray(0, 40).toString()} is read`);
  }
  const { a, __proto__: proto } = readObject(Buffer.from('{"a": [9223372036854775807, 1.5, "\\u00e9", true], "__proto__": null}'));
  expect(Array.isArray(a) && a[0] === 2n ** 63n - 1n && a[1] === 1.5 && a[2] === "é" && proto === null, `reads ${String(a)}`);
  expect(refusal(() => readPart("AB", 8)) !== "" && refusal(() => readPart("AA=", 8)) !== "", "base64url is read in two spellings");
}

export function checkBounds(messages: Messages, stage: Stage): void {
  checkScan(messages, stage);
  checkTokens();
  checkCollected();
  checkReaders();
}
