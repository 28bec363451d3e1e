/** What a subscriber keeps over restarts, and what happens when it was edited. */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { positionText } from "../../examples/typescript/trust.js";
import { expect } from "./expect.js";
import type { Case, Player, Stage } from "./streams.js";

/** Plays streams to a subscriber with a directory, until the last one is requested. */
async function playTo(stage: Stage, { clock, filter }: Case, directory: string, scripts: string[][]): Promise<Player> {
  const player = stage.subscriber(clock, filter, directory);
  let isOver = false;
  stage.hub.asked = [];
  stage.hub.scripts = [...scripts.map((names) => stage.steps(names)), [() => void (isOver = true), null]];
  await player.until("all of it was played", () => isOver);
  return player;
}

/** Checks that it restarts with the set, the fingerprint of its event, and the keys that statements brought. */
async function checkResume(stage: Stage, scratch: string): Promise<void> {
  for (const name of ["a history to its end", "a history of one policy"]) {
    const each = stage.case(name);
    const directory = join(scratch, name);
    const before = await playTo(stage, each, directory, [[...each.before, ...each.lie.flat()]]);
    const after = await playTo(stage, each, directory, []);
    expect(after.problem === "" && after.holds() === before.holds(), `${name}: holds ${after.holds()} after a restart: ${after.problem}`);
    const [asked] = stage.hub.asked;
    const [resume, key] = [asked?.resume, asked?.keyCursor];
    expect(`${resume?.epoch}:${resume?.revision}` === before.holds().split("\n")[0], `${name}: resumes at ${resume?.revision}`);
    expect(resume?.fingerprint === `${before.held.fingerprint}` && resume.fingerprint !== "0", `${name}: resumes at another event`);
    expect(BigInt(key?.revision ?? 0) === before.held.pinned?.position?.revision, `${name}: asks for key statements after ${key?.revision}`);
    expect(after.subscriber.state() === "STALE", `${name}: nothing proves after a restart that it is the newest`);
  }
}

/** Checks that a position that was verified and refused is the oldest that is accepted, also after a restart. */
async function checkMark(stage: Stage, scratch: string): Promise<void> {
  const each = stage.case("of a later set, on each stream");
  const directory = join(scratch, "mark");
  await playTo(stage, each, directory, [[...each.before, ...each.lie.flat()]]);
  const after = await playTo(stage, each, directory, [["opened", "keys.1", "all.snapshot.p3", "all.heartbeat.p3"]]);
  expect(after.problem === "" && after.holds() === stage.setAt("p3", []), `the mark: holds ${after.holds()}`);
  expect(stage.hub.asked[0]?.resume === null, "the mark: resumes below what verified");
  expect(after.refused === 1 && after.subscriber.state() === "DIVERGED", `the mark: takes an older set: ${after.said.join("; ")}`);
}

/** Checks that an edited content is detected and the set is not used; the mark stays. */
async function checkDamage(stage: Stage, scratch: string): Promise<void> {
  const each = stage.case("a history to its end");
  const directory = join(scratch, "damage");
  await playTo(stage, each, directory, [[...each.before, ...each.lie.flat()]]);
  const [content = ""] = readdirSync(join(directory, "contents"));
  writeFileSync(join(directory, "contents", content), "changed");
  const old = ["opened", "keys.1", "all.snapshot.p3", "all.heartbeat.p3"];
  const damaged = await playTo(stage, each, directory, [old, each.repair]);
  expect(damaged.problem !== "" && damaged.refused === 1, `a changed content: ${damaged.problem}; ${damaged.said.join("; ")}`);
  expect(stage.hub.asked[0]?.resume === null, "a changed content: resumes without a set");
  const again = await playTo(stage, each, directory, []);
  expect(again.problem === "" && again.holds() === stage.setAt("p7", []), `a changed content is not written again: ${again.problem}`);
}

/** Checks a directory of another store, or of other policies. */
async function checkOthers(stage: Stage, scratch: string): Promise<void> {
  const each = stage.case("a history to its end");
  const directory = join(scratch, "others");
  await playTo(stage, each, directory, [[...each.before, ...each.lie.flat()]]);
  const other = stage.subscriber(each.clock, ["a"], directory);
  expect(other.problem.includes("other policies") && other.holds() === "nothing", "a set of other policies is used");
  expect(positionText(other.held.newestVerified) === stage.setAt("p7", []).split("\n")[0], "the mark of other policies is lost");
  expect(other.held.trust.store === stage.vectors.store, "the store is forgotten");
  const file = join(directory, "state.json");
  writeFileSync(file, readFileSync(file, "utf8").replace('"namespace":"default"', '"namespace":"other"'));
  let isRefused = false;
  try {
    stage.subscriber(each.clock, [], directory);
  } catch {
    isRefused = true;
  }
  expect(isRefused, "a directory of another namespace is used");
}

export async function checkRestarts(stage: Stage, scratch: string): Promise<void> {
  await checkResume(stage, scratch);
  await checkMark(stage, scratch);
  await checkDamage(stage, scratch);
  await checkOthers(stage, scratch);
}
