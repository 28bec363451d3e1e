/**
 * A connection to a server, by grpc-js with its default settings: opens a watch, and sends reports.
 *
 * By default, grpc-js accepts no message above 4 MiB. It reads up to 16 messages ahead of the reader of a stream.
 */

import { readFileSync } from "node:fs";

import grpc from "@grpc/grpc-js";

import type { Messages, ReportRequest, WatchMessage, WatchRequest } from "./messages.js";
import type { Options } from "./options.js";

const REPORT_TIMEOUT_MS = 5_000;
const SERVICE = "/policyhub.v1.SyncService";

/** The next event of a stream: a message, its end, or a silence that was too long. */
export type Next = WatchMessage | "end" | "silence";

export class Hub {
  private readonly client: grpc.Client;
  private readonly messages: Messages;
  private readonly metadata = new grpc.Metadata();

  /** Reads token and authority again: a renewed one is used from the next connection on. */
  constructor(options: Options, messages: Messages) {
    this.messages = messages;
    const token = options.tokenFile ? readFileSync(options.tokenFile, "utf8").trim() : options.token;
    if (token !== "") {
      this.metadata.set("authorization", `Bearer ${token}`);
    }
    const { protocol, hostname, port } = options.server;
    const authority = options.caCert ? readFileSync(options.caCert) : null;
    const credentials = protocol === "https:" ? grpc.credentials.createSsl(authority) : grpc.credentials.createInsecure();
    this.client = new grpc.Client(`${hostname}:${port || (protocol === "https:" ? 443 : 80)}`, credentials);
  }

  /** Opens a watch. Its messages are received as bytes, so that they are scanned before they are decoded. */
  watch(request: WatchRequest): Stream {
    const serialize = (value: WatchRequest) => this.messages.writeWatchRequest(value);
    const call = this.client.makeServerStreamRequest(`${SERVICE}/WatchActive`, serialize, (bytes) => bytes, request, this.metadata);
    return new Stream(call, this.messages);
  }

  /** Reports what this runtime runs with. Returns why the server did not accept it; empty: it did. */
  report(request: ReportRequest): Promise<string> {
    const serialize = (value: ReportRequest) => this.messages.writeReport(value);
    const deadline = { deadline: Date.now() + REPORT_TIMEOUT_MS };
    return new Promise((resolve) => {
      this.client.makeUnaryRequest(
        `${SERVICE}/ReportStatus`, serialize, (bytes) => bytes, request, this.metadata, deadline,
        (error) => resolve(error ? errorText(error) : ""),
      );
    });
  }

  close(): void {
    this.client.close();
  }
}

/** An open watch. */
export class Stream {
  private readonly call: grpc.ClientReadableStream<Buffer>;
  private readonly bytes: AsyncIterator<Buffer>;
  private readonly messages: Messages;

  constructor(call: grpc.ClientReadableStream<Buffer>, messages: Messages) {
    this.call = call;
    this.messages = messages;
    this.bytes = call[Symbol.asyncIterator]();
    // The reader gets the error; without a listener, one that comes after the last read would end the process.
    call.on("error", () => {});
  }

  /** Returns the next message. Throws `Refused` for an invalid message, or an error of gRPC. */
  async next(silenceSeconds: number): Promise<Next> {
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<"silence">((resolve) => {
      timer = setTimeout(resolve, silenceSeconds * 1_000, "silence");
    });
    try {
      const came = this.bytes.next();
      came.catch(() => {}); // reported to a waiting reader, if there is one
      const result = await Promise.race([came, silence]);
      if (result === "silence") {
        return result;
      }
      return result.done ? "end" : this.messages.readWatchMessage(result.value);
    } finally {
      clearTimeout(timer);
    }
  }

  cancel(): void {
    this.call.cancel();
  }
}

/** Returns the name and details of a gRPC error, or the message of any other one. */
export function errorText(error: unknown): string {
  return isStatus(error) ? `${grpc.status[error.code]} ${error.details}` : String(error instanceof Error ? error.message : error);
}

/** Returns whether it came from the network or from a file that is being replaced, so that another try may succeed. */
export function isFromOutside(error: unknown): boolean {
  return error instanceof Error && "code" in error;
}

/** Returns whether the requested position can't be resumed. */
export function isResumePointGone(error: unknown): boolean {
  return isStatus(error) && error.code === grpc.status.OUT_OF_RANGE;
}

function isStatus(error: unknown): error is grpc.StatusObject {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
}
