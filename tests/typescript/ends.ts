/** Ends of streams without a lie, and what a subscriber requests next. */

import { writeFileSync } from "node:fs";

import grpc from "@grpc/grpc-js";

import { pauseSeconds, silenceSeconds } from "../../examples/typescript/pauses.js";
import { expect } from "./expect.js";
import type { Step } from "./scripted_hub.js";
import type { Stage } from "./streams.js";

function checkNumbers(): void {
  const waits = [0, 1, 7, 1e9].map((short) => pauseSeconds(short, 0, () => 1));
  expect(waits.join() === "0.5,1,60,60", `waits ${waits.join()}`);
  const asked = [2 ** 40, -(2 ** 40), 5].map((seconds) => pauseSeconds(0, seconds, () => 1));
  expect(asked.join() === "60,0.5,5.5" && pauseSeconds(10, 0, () => 0) === 0, `waits ${asked.join()}`);
  const silences = [0, 1, 9, 10, 11, 2 ** 40, -(2 ** 40)].map((seconds) => silenceSeconds({ seconds: `${seconds}`, nanos: 0 }));
  expect(silences.join() === "3,3,27,30,30,30,3" && silenceSeconds(null) === 3, `a stream may be silent for ${silences.join()}`);
}

/** Returns the ends: name, steps, expected output, and whether the next stream resumes. */
function ends(stage: Stage): [string, Step[], string, boolean][] {
  const fail = (code: grpc.status): Step => () => {
    throw Object.assign(new Error("no"), { code, details: "no" });
  };
  const reconnect = stage.hub.encode({ reconnect: { reason: 1, backoff: { seconds: 1_000_000 } } });
  return [
    ["an end without a word", [], "", true],
    ["a reconnect", [reconnect, null], "DRAINING", true],
    ["a reconnect for a reason that nobody knows", [stage.hub.encode({ reconnect: { reason: 99 } }), null], "99", true],
    ["a resume point that is gone", [fail(grpc.status.OUT_OF_RANGE)], "OUT_OF_RANGE", false],
    ["a server that is away", [fail(grpc.status.UNAVAILABLE)], "UNAVAILABLE", true],
    ["a token that expired", [fail(grpc.status.UNAUTHENTICATED)], "UNAUTHENTICATED", true],
    ["a kind of message that nobody knows", [Buffer.from([0xc2, 0x3e, 0])], "", true],
    ["a replica that is behind", [stage.hub.encode({ heartbeat: { resumeUnknown: true } })], "", true],
    ["bytes that are no message", [Buffer.from([0x0a, 0x05, 0x61])], "refused: ", false],
    ["silence", [stage.hub.encode({ opened: { heartbeatInterval: { nanos: 1 } } }), null], "nothing came for 3 s", true],
  ];
}

/** Checks that a changed key file ends the stream: the next one requests every statement that follows the new keys. */
async function checkKeyFile(stage: Stage): Promise<void> {
  const { before, clock } = stage.case("a history to its end");
  const player = stage.subscriber(clock, []);
  const more = structuredClone(stage.vectors.pins) as { keys: object[] };
  more.keys.push({ kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
  let isAsked = false;
  const change = async () => {
    while (stage.hub.reports.length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    writeFileSync(stage.jwks, JSON.stringify(more));
  };
  stage.hub.asked = [];
  stage.hub.reports = [];
  const first = stage.steps(before);
  stage.hub.scripts = [[...first, change, first.at(-1) ?? null, null], [() => void (isAsked = true), null]];
  await player.until("the file changes", () => isAsked);
  writeFileSync(stage.jwks, JSON.stringify(stage.vectors.pins));
  const cursors = stage.hub.asked.map(({ keyCursor }) => keyCursor?.revision);
  const resumes = stage.hub.asked[1]?.resume !== null;
  expect(cursors.join() === "0,0" && resumes, `a changed file: asks for key statements after ${cursors.join()}`);
}

/** Checks that a service that can't apply a change ends the program: the next stream would not send the change again. */
async function checkFailingService(stage: Stage): Promise<void> {
  const { before, clock } = stage.case("a history to its end");
  const player = stage.subscriber(clock, []);
  player.moves.push = () => {
    throw Object.assign(new Error("the service fails"), { code: "ENOSPC" });
  };
  stage.hub.scripts = [[...stage.steps(before), null]];
  const end = await player.subscriber.run().then(() => "no error", (error: unknown) => String(error));
  expect(end.includes("the service fails"), `a service that fails: ${end}`);
}

export async function checkEnds(stage: Stage): Promise<number> {
  checkNumbers();
  await checkFailingService(stage);
  await checkKeyFile(stage);
  const { before, clock } = stage.case("a history to its end");
  const all = ends(stage);
  for (const [name, end, says, resumes] of all) {
    const player = stage.subscriber(clock, []);
    let isOver = false;
    stage.hub.asked = [];
    stage.hub.scripts = [[...stage.steps(before), ...end], [() => void (isOver = true), null]];
    await player.until(name, () => isOver);
    const [, next] = stage.hub.asked;
    expect((next?.resume?.fingerprint === `${player.held.fingerprint}`) === resumes, `${name}: resumes at ${next?.resume?.revision}`);
    expect(player.said.some((talk) => talk.includes(says)), `${name}: says ${player.said.join("; ")}`);
    expect(player.refused === (says === "refused: " ? 1 : 0), `${name}: is refused: ${player.said.join("; ")}`);
  }
  return all.length + 1;
}
