/** Checks examples/typescript without a server: golden vectors, limits, whole streams, restarts. Exits with 1 on any failure. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Messages } from "../../examples/typescript/messages.js";
import { checkBounds } from "./bounds.js";
import { checkEnds } from "./ends.js";
import { checkRestarts } from "./restarts.js";
import { checkRules } from "./rules.js";
import { ScriptedHub } from "./scripted_hub.js";
import { checkStreams, Stage } from "./streams.js";
import { checkVectors } from "./vectors.js";

const scratch = mkdtempSync(join(tmpdir(), "policyhub-typescript-"));
try {
  const words = checkVectors();
  const messages = new Messages("proto");
  const hub = new ScriptedHub(messages.root);
  await hub.listen();
  const stage = new Stage(hub, messages, scratch);
  checkBounds(messages, stage);
  words.push(`${checkRules()} lies of a signer are refused`);
  words.push(`${await checkStreams(stage)} streams of the vectors end with their verdicts`);
  words.push(`${await checkEnds(stage)} ends of streams are no refusals`);
  await checkRestarts(stage, scratch);
  hub.close();
  console.log(`typescript: ${words.join("; ")}`);
} finally {
  rmSync(scratch, { recursive: true });
}
