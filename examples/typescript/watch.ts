/**
 * Keeps the active set of a namespace, and prints one line for each change once it is verified.
 *
 *     node watch.js --jwks keys.json --subscriber-id shop-1 [POLICY…]
 *
 * Put what your service does with a change into `apply`. SIGINT and SIGTERM end it with exit code 0.
 */

import { setTimeout as sleep } from "node:timers/promises";

import { ActiveSet, type Change } from "./active_set.js";
import { KeyFile } from "./key_file.js";
import { Messages } from "./messages.js";
import { parseOptions, UsageError, type Options } from "./options.js";
import { PinnedKeys } from "./pinned_keys.js";
import { StateDirectory } from "./state_directory.js";
import { Subscriber } from "./subscriber.js";
import { positionText } from "./trust.js";
import type { World } from "./world.js";

const LINE_MAX_CHARS = 4_096;

/** Makes text from outside one line of bounded length. */
function line(text: string): string {
  return text.slice(0, LINE_MAX_CHARS).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, " ");
}

/** Prints on stderr: stdout is for data. */
function say(talk: string): void {
  process.stderr.write(`${line(`watch: ${talk}`)}\n`);
}

/** Lets the service apply a change. This one prints it. */
function apply(change: Change): void {
  const moves = change.changed.map(({ policy, version, label, digest }) => {
    return `${policy} -> ${version}${label === "" ? "" : ` ${label}`} ${digest.slice(0, 19)}`;
  });
  moves.push(...change.removed.map((policy) => `${policy} -> none`));
  const by = change.actor === "" ? "" : ` by ${change.actor}:`;
  const what = moves.join(", ") || "nothing is active";
  process.stdout.write(`${line(`${change.kind} ${positionText(change.position)}${by} ${what}`)}\n`);
}

/** Makes a subscriber with the contents of its state directory. Throws when the options contradict each other. */
function open(options: Options, world: World): Subscriber {
  const keyFile = new KeyFile(options.jwks);
  const directory = options.state === undefined ? null : new StateDirectory(options.state);
  const saved = directory?.read() ?? null;
  const pinned = options.pinStrict ? null : new PinnedKeys(keyFile.keys, saved?.pins ?? null, saved?.store ?? options.store);
  const held = new ActiveSet({ ...options, keys: keyFile.keys, pinned });
  const problem = directory && saved ? directory.restore(held, saved) : "";
  if (problem !== "") {
    say(`the saved set is not used: ${problem}`);
  } else if (held.position) {
    const changed = [...held.policies.values()];
    apply({ kind: "SAVED", position: held.position, actor: "", changed, removed: [] });
  }
  return new Subscriber(options, new Messages(options.proto), keyFile, held, directory, world);
}

async function main(): Promise<void> {
  const stopped = new AbortController();
  const world: World = {
    now: () => BigInt(Math.floor(Date.now() / 1_000)),
    pause: (seconds) => sleep(seconds * 1_000, undefined, { signal: stopped.signal }).catch(() => {}),
    apply,
    say,
  };
  const subscriber = open(parseOptions(process.argv.slice(2), process.env), world);
  for (const ending of ["SIGINT", "SIGTERM"] as const) {
    process.on(ending, () => {
      say("told to end");
      stopped.abort();
      subscriber.stop();
    });
  }
  // Freshness ends by time, even when no message comes.
  setInterval(() => subscriber.showState(), 1_000).unref();
  await subscriber.run();
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = error instanceof UsageError ? 2 : 1;
});
