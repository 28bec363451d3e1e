/** The options of a subscriber, from arguments and the environment variables that `policyhub` itself reads. */

import { parseArgs } from "node:util";

import { ID } from "./documents.js";

const LOOPBACK = ["127.0.0.1", "[::1]", "localhost"];

export interface Options {
  readonly server: URL;
  /** PEM of your own authority. */
  readonly caCert: string | undefined;
  readonly tokenFile: string | undefined;
  readonly token: string;
  /** The keys to trust, as a JWK Set. */
  readonly jwks: string;
  /** Trust only the keys of the file, and no key statement. */
  readonly pinStrict: boolean;
  /** Id of the store whose documents count; none: that of the first accepted message. */
  readonly store: string | null;
  readonly namespace: string;
  /** Ids of the requested policies; none: all of the namespace. */
  readonly policies: readonly string[];
  /** Stable id of this runtime; empty: anonymous, and nothing is reported. */
  readonly subscriberId: string;
  /** Directory that keeps what is in force over restarts; none: nothing is kept. */
  readonly state: string | undefined;
  /** End once this revision is reached; 0: never. */
  readonly untilRevision: bigint;
  /** Directory that holds `policyhub/v1/*.proto`. */
  readonly proto: string;
}

/** A mistake in the arguments. */
export class UsageError extends Error {}

export function parseOptions(args: readonly string[], environment: NodeJS.ProcessEnv): Options {
  const { values, positionals } = parse(args);
  const variable = (name: string) => environment[`POLICYHUB_${name}`];
  const { jwks, store, state } = values;
  if (jwks === undefined) {
    throw new UsageError("--jwks FILE is needed: the keys to trust, as a JWK Set");
  }
  const namespace = values.namespace ?? variable("NAMESPACE") ?? "default";
  const revision = values["until-revision"] ?? "0";
  for (const id of [namespace, ...positionals]) {
    expectUsage(ID.test(id), `${id} is no id`);
  }
  expectUsage(/^[0-9]+$/.test(revision), `${revision} is no revision`);
  return {
    server: parseServer(values.server ?? variable("SERVER") ?? "http://127.0.0.1:7070"),
    caCert: values["ca-cert"] ?? variable("CA_CERT"), tokenFile: values["token-file"] ?? variable("TOKEN_FILE"),
    token: variable("TOKEN") ?? "", jwks, pinStrict: values["pin-strict"] ?? false, store: store ?? null, namespace,
    policies: positionals, subscriberId: values["subscriber-id"] ?? "", state, untilRevision: BigInt(revision),
    proto: values.proto ?? "proto",
  };
}

function expectUsage(holds: boolean, problem: string): void {
  if (!holds) {
    throw new UsageError(problem);
  }
}

function parse(args: readonly string[]) {
  const text = { type: "string" } as const;
  const options = {
    server: text, "ca-cert": text, "token-file": text, jwks: text, "pin-strict": { type: "boolean" }, store: text, namespace: text,
    "subscriber-id": text, state: text, "until-revision": text, proto: text,
  } as const;
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function parseServer(text: string): URL {
  const server = URL.canParse(text) ? new URL(text) : null;
  const isSafe = server?.protocol === "https:" || (server?.protocol === "http:" && LOOPBACK.includes(server.hostname));
  if (server === null || !isSafe) {
    throw new UsageError(`${text} must be https://, or http:// on loopback: in clear text a token is no secret`);
  }
  return server;
}
