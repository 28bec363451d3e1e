/**
 * Signatures of compact JWS, by Node's own `crypto`.
 *
 * No I/O and no clock. Invariants: a key has exactly one algorithm, whatever a header says; a payload is exactly the
 * bytes that were signed.
 */

import { createHash, createPublicKey, verify, type JsonWebKey, type KeyObject } from "node:crypto";

import { ensure, Refused } from "./refused.js";
import { isObject, readObject, type Json } from "./strict_json.js";

/** The limits of the server: larger ones are never sent. */
export const HEADER_MAX_BYTES = 8 * 1024;
export const PAYLOAD_MAX_BYTES = 64 * 1024;
const SIGNATURE_BYTES = 64;
const JWKS_KEYS_MAX = 1_000;

/** A public key that may be trusted. Its id is its thumbprint. */
export interface VerifyKey {
  readonly kid: string;
  readonly algorithm: "EdDSA" | "ES256";
  readonly key: KeyObject;
}

/** Trusted keys by their ids. */
export type Keys = ReadonlyMap<string, VerifyKey>;

export function sha256(...parts: Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  parts.forEach((part) => hash.update(part));
  return hash.digest();
}

/** Returns a digest in the form of manifests and reports. */
export function digestOf(data: Uint8Array): string {
  return `sha256:${sha256(data).toString("hex")}`;
}

/** Returns the bytes of a part of a token: base64url without padding, in its only valid form. */
export function readPart(part: string, mostBytes: number): Buffer {
  ensure(part.length <= Math.ceil((mostBytes * 4) / 3), "token is too large");
  const data = Buffer.from(part, "base64url");
  ensure(data.toString("base64url") === part, "token is not base64url");
  return data;
}

/** Returns the public keys of a JWK Set. */
export function readKeys(jwks: Uint8Array): Keys {
  const { keys } = readObject(jwks);
  ensure(Array.isArray(keys) && keys.length <= JWKS_KEYS_MAX, "not a JWK Set");
  return new Map(keys.map(readJwk).map((key) => [key.kid, key]));
}

/** Returns one public key of a JWK Set or of a key statement. */
export function readJwk(jwk: Json | undefined): VerifyKey {
  ensure(isObject(jwk), "a key is no object");
  ensure(jwk["d"] === undefined, "a key is not public");
  const { kty, crv, x, y } = jwk;
  const isEd25519 = kty === "OKP" && crv === "Ed25519";
  ensure(isEd25519 || (kty === "EC" && crv === "P-256"), "a key is neither Ed25519 nor P-256");
  const algorithm = isEd25519 ? "EdDSA" : "ES256";
  ensure((jwk["alg"] ?? algorithm) === algorithm && (jwk["use"] ?? "sig") === "sig", "a key is for something else");
  const members: JsonWebKey = isEd25519 ? { crv, kty, x: member(x) } : { crv: "P-256", kty: "EC", x: member(x), y: member(y) };
  // RFC 7638: the id of a key is the hash of its members in this order, so it can't be chosen.
  const kid = sha256(Buffer.from(JSON.stringify(members))).toString("base64url");
  ensure((jwk["kid"] ?? kid) === kid, "a key's id is not its thumbprint");
  try {
    return { kid, algorithm, key: createPublicKey({ key: members, format: "jwk" }) };
  } catch {
    throw new Refused("a key is no point of its curve");
  }
}

function member(value: Json | undefined): string {
  ensure(typeof value === "string" && readPart(value, 32).length === 32, "a key has not 32 bytes");
  return value;
}

/** Returns the payload of a compact JWS with exactly this `typ`, signed by one of these keys. */
export function verifiedPayload(token: string, typ: string, keys: Keys): Buffer {
  try {
    return verified(token, typ, keys);
  } catch (refusal) {
    throw refusal instanceof Refused ? new Refused(`${typ}: ${refusal.message}`, "REJECTED", true) : refusal;
  }
}

function verified(token: string, typ: string, keys: Keys): Buffer {
  const parts = token.split(".", 4);
  ensure(parts.length === 3, "token has not three parts");
  const [header, payload, signature] = parts as [string, string, string];
  const { kid, alg, typ: found, ...others } = readObject(readPart(header, HEADER_MAX_BYTES));
  // No other members, so that crit, b64, zip, jwk, jku, x5u and x5c need no handling.
  ensure(Object.keys(others).length === 0, `header has members ${Object.keys(others).join(", ")}`);
  ensure(found === typ, `typ is ${String(found)}`);
  const key = typeof kid === "string" ? keys.get(kid) : undefined;
  ensure(key !== undefined, `key ${String(kid)} is not trusted`);
  ensure(alg === key.algorithm, `alg ${String(alg)} is not the key's`);
  const signed = Buffer.from(`${header}.${payload}`);
  const bytes = readPart(payload, PAYLOAD_MAX_BYTES);
  const proof = readPart(signature, SIGNATURE_BYTES);
  const holds = key.algorithm === "EdDSA"
    ? verify(null, signed, key.key, proof)
    : verify("sha256", signed, { key: key.key, dsaEncoding: "ieee-p1363" }, proof);
  ensure(holds, "signature does not hold");
  return bytes;
}

/** Returns the id of the key that signed a verified token. */
export function signerOf(token: string): string {
  return String(readObject(readPart(token.split(".", 1)[0] ?? "", HEADER_MAX_BYTES))["kid"]);
}
