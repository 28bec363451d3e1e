/**
 * The messages of `SyncService` that a subscriber needs, read from the `.proto` files by protobufjs.
 *
 * 64-bit integers are strings here, as protobufjs writes them. A message is scanned before it is decoded.
 */

import { createRequire } from "node:module";
import { join } from "node:path";

import protobuf from "protobufjs";

import { ensure, Refused } from "./refused.js";
import { scanMessage } from "./wire_scan.js";

const DESCRIPTOR = "google/protobuf/descriptor.proto";

/** No message of an honest server is above 2 MiB. */
const MESSAGE_MAX_BYTES = 8 * 1024 * 1024;

export interface Cursor {
  epoch: string;
  revision: string;
  /** The fingerprint of the event there; "0": unknown. */
  fingerprint: string;
}

export interface Bundle {
  name: string;
  version: string;
  label: string;
  digest: string;
  sizeBytes: string;
  contentType: string;
  content: Uint8Array;
  manifest: string;
  activation: Cursor | null;
  preview: boolean;
}

export interface Snapshot {
  bundles: Bundle[];
  complete: boolean;
  cursor: Cursor | null;
  checkpoint: string;
  setProof: Uint8Array;
}

export interface Activation {
  cursor: Cursor | null;
  statement: string;
  bundles: Bundle[];
  tombstones: string[];
  complete: boolean;
  setProof: Uint8Array;
}

export interface Heartbeat {
  cursor: Cursor | null;
  checkpoint: string;
  resumeUnknown: boolean;
  degraded: boolean;
  inDoubt: boolean;
  setProof: Uint8Array;
}

export interface Duration {
  seconds: string;
  nanos: number;
}

/** One message of a watch. An unknown kind has no member. */
export interface WatchMessage {
  snapshot?: Snapshot;
  activation?: Activation;
  heartbeat?: Heartbeat;
  reconnect?: { reason: string | number; backoff: Duration | null };
  opened?: { heartbeatInterval: Duration | null };
  keyStatement?: { statement: string };
  /** The namespace of the message; empty when it is about the whole stream. */
  parent: string;
}

/** The request of a watch of `policyhub.v1.SyncService`. */
export interface WatchRequest {
  targets: WatchTarget[];
  subscriberId: string;
  keyCursor?: Cursor;
}

/** A namespace to watch. */
export interface WatchTarget {
  parent: string;
  policies: string[];
  resume?: Cursor;
}

export interface ReportRequest {
  name: string;
  cursor: Cursor;
  digest: string;
  status: "APPLY_STATUS_APPLIED" | "APPLY_STATUS_REJECTED";
  reason: string;
}

/** Reads and writes the messages as `proto/policyhub/v1` defines them. */
export class Messages {
  readonly root: protobuf.Root;
  private readonly watchType: protobuf.Type;

  /** `protoDirectory` contains `policyhub/v1`. */
  constructor(protoDirectory: string) {
    this.root = new protobuf.Root();
    const bundled = this.root.resolvePath.bind(this.root);
    this.root.resolvePath = (origin, target) => {
      if (target === DESCRIPTOR) {
        // Annotations need this file. protobufjs includes it, but does not load it by itself.
        return createRequire(import.meta.url).resolve(`protobufjs/${DESCRIPTOR}`);
      }
      return target.startsWith("google/protobuf/") ? bundled(origin, target) : join(protoDirectory, target);
    };
    this.root.loadSync("policyhub/v1/sync_service.proto");
    this.root.resolveAll();
    this.watchType = this.root.lookupType("policyhub.v1.WatchActiveResponse");
  }

  readWatchMessage(data: Uint8Array): WatchMessage {
    ensure(data.length <= MESSAGE_MAX_BYTES, "message is too large");
    scanMessage(this.watchType, data);
    const message = this.decode(data);
    // Another parser might use the first of two, and this one the last.
    ensure(Object.keys(message).filter((field) => field !== "parent").length <= 1, "message is of two kinds");
    return message;
  }

  private decode(data: Uint8Array): WatchMessage {
    try {
      const decoded = this.watchType.decode(data);
      return this.watchType.toObject(decoded, { longs: String, enums: String, defaults: true, arrays: true }) as WatchMessage;
    } catch (error) {
      throw new Refused(`not a message of a watch: ${String(error)}`);
    }
  }

  writeWatchRequest(request: WatchRequest): Buffer {
    return this.write("policyhub.v1.WatchActiveRequest", request);
  }

  writeReport(request: ReportRequest): Buffer {
    return this.write("policyhub.v1.ReportStatusRequest", request);
  }

  private write(name: string, request: object): Buffer {
    const type = this.root.lookupType(name);
    return Buffer.from(type.encode(type.fromObject(request)).finish());
  }
}
