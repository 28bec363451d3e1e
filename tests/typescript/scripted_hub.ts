/** A server with scripted answers: each stream plays the next script. */

import grpc from "@grpc/grpc-js";
import protobuf from "protobufjs";

/** The bytes of a message, an action, or null: the stream stays open and sends no more. */
export type Step = Uint8Array | (() => void | Promise<void>) | null;

export interface AskedCursor {
  epoch: string;
  revision: string;
  fingerprint: string;
}

/** What a stream requested, of its one namespace. */
export interface Asked {
  policies: string[];
  resume: AskedCursor | null;
  keyCursor: AskedCursor | null;
}

interface AskedStream {
  targets: Pick<Asked, "policies" | "resume">[];
  keyCursor: AskedCursor | null;
}

export interface Reported {
  cursor: AskedCursor;
  digest: string;
  status: string;
  reason: string;
}

const same = (bytes: Buffer): Buffer => bytes;

function method(name: string, responseStream: boolean): grpc.MethodDefinition<Buffer, Buffer> {
  return {
    path: `/policyhub.v1.SyncService/${name}`, requestStream: false, responseStream, requestSerialize: same, requestDeserialize: same,
    responseSerialize: same, responseDeserialize: same,
  };
}

export class ScriptedHub {
  scripts: Step[][] = [];
  asked: Asked[] = [];
  reports: Reported[] = [];
  port = 0;
  private readonly server = new grpc.Server();
  private readonly root: protobuf.Root;

  constructor(protoRoot: protobuf.Root) {
    this.root = protoRoot;
    this.server.addService({ WatchActive: method("WatchActive", true), ReportStatus: method("ReportStatus", false) }, {
      WatchActive: (call: grpc.ServerWritableStream<Buffer, Buffer>) => void this.play(call),
      ReportStatus: (call: grpc.ServerUnaryCall<Buffer, Buffer>, answer: grpc.sendUnaryData<Buffer>) => {
        this.reports.push(this.decode("ReportStatusRequest", call.request) as Reported);
        answer(null, Buffer.alloc(0));
      },
    });
  }

  async listen(): Promise<void> {
    this.port = await new Promise((resolve, reject) => {
      const credentials = grpc.ServerCredentials.createInsecure();
      this.server.bindAsync("127.0.0.1:0", credentials, (error, port) => (error ? reject(error) : resolve(port)));
    });
  }

  close(): void {
    this.server.forceShutdown();
  }

  /** Returns the bytes of a watch message. */
  encode(message: object): Buffer {
    const type = this.root.lookupType("policyhub.v1.WatchActiveResponse");
    return Buffer.from(type.encode(type.fromObject(message)).finish());
  }

  private decode(name: string, bytes: Buffer): object {
    const type = this.root.lookupType(`policyhub.v1.${name}`);
    return type.toObject(type.decode(bytes), { longs: String, enums: String, defaults: true, arrays: true });
  }

  private async play(call: grpc.ServerWritableStream<Buffer, Buffer>): Promise<void> {
    const { targets, keyCursor } = this.decode("WatchActiveRequest", call.request) as AskedStream;
    this.asked.push({ policies: [], resume: null, ...targets[0], keyCursor });
    for (const step of this.scripts.shift() ?? [null]) {
      if (step === null) {
        return;
      }
      if (step instanceof Uint8Array) {
        call.write(Buffer.from(step));
      } else {
        try {
          await step();
        } catch (error) {
          call.emit("error", error);
          return;
        }
      }
    }
    call.end();
  }
}
