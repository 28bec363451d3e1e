/**
 * The stream vectors (`tests/vectors/streams`) against examples/typescript, over a real connection.
 *
 * The verdict is looked at when the honest stream is asked for: everything before it was taken or refused by then.
 */

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { ActiveSet, type Change } from "../../examples/typescript/active_set.js";
import { KeyFile } from "../../examples/typescript/key_file.js";
import type { Messages } from "../../examples/typescript/messages.js";
import { parseOptions } from "../../examples/typescript/options.js";
import { PinnedKeys } from "../../examples/typescript/pinned_keys.js";
import { StateDirectory } from "../../examples/typescript/state_directory.js";
import { Subscriber } from "../../examples/typescript/subscriber.js";
import { positionText } from "../../examples/typescript/trust.js";
import type { World } from "../../examples/typescript/world.js";
import { expect, load } from "./expect.js";
import type { ScriptedHub, Step } from "./scripted_hub.js";

const CASE_TIMEOUT_MS = 20_000;

interface SetAt {
  epoch: number;
  revision: number;
  policies: Record<string, { version: number; digest: string; epoch: number; revision: number }>;
}

export interface Case {
  name: string;
  kind: string;
  clock: number;
  filter: string[];
  before: string[];
  lie: string[][];
  repair: string[];
  after: string;
  then: { holds: string | null; state: string; stale: boolean; refused: number };
}

interface Vectors {
  store: string;
  pins: object;
  sets: Record<string, SetAt>;
  messages: Record<string, string[]>;
  cases: Case[];
}

/** A directory of a test, the hub it plays, and the vectors. */
export class Stage {
  readonly vectors = load<Vectors>(join("streams", "streams.json"));
  readonly hub: ScriptedHub;
  readonly messages: Messages;
  readonly jwks: string;

  constructor(hub: ScriptedHub, messages: Messages, scratch: string) {
    this.hub = hub;
    this.messages = messages;
    this.jwks = join(scratch, "keys.json");
    writeFileSync(this.jwks, JSON.stringify(this.vectors.pins));
  }

  case(name: string): Case {
    const found = this.vectors.cases.find((each) => each.name === name);
    expect(found !== undefined, `no case is called ${name}`);
    return found;
  }

  steps(names: string[]): Step[] {
    const parts = names.flatMap((name) => this.vectors.messages[name] ?? []);
    expect(parts.length >= names.length, `${names.join()} are not all there`);
    return parts.map((part) => Buffer.from(part, "base64"));
  }

  /** Returns what was in force at a position, of the policies in a filter, as text. */
  setAt(position: string | null, filter: string[]): string {
    const found = position === null ? undefined : this.vectors.sets[position];
    if (!found) {
      return "nothing";
    }
    const asked = Object.entries(found.policies).filter(([policy]) => filter.length === 0 || filter.includes(policy));
    const lines = asked.map(([policy, { version, digest, epoch, revision }]) => `${policy} ${version} ${digest} ${epoch}:${revision}`);
    return [`${found.epoch}:${found.revision}`, ...lines.sort()].join("\n");
  }

  subscriber(clock: number, filter: string[], state?: string): Player {
    return new Player(this, clock, filter, state);
  }
}

/** A subscriber in this process that does not wait, with its output and actions. */
export class Player {
  readonly said: string[] = [];
  readonly moves: Change[] = [];
  readonly held: ActiveSet;
  readonly subscriber: Subscriber;
  readonly problem: string;

  constructor(stage: Stage, clock: number, filter: string[], state?: string) {
    const world: World = {
      now: () => BigInt(clock), pause: () => Promise.resolve(), apply: (change) => void this.moves.push(change),
      say: (talk) => void this.said.push(talk),
    };
    const server = `http://127.0.0.1:${stage.hub.port}`;
    const options = parseOptions(["--server", server, "--jwks", stage.jwks, "--subscriber-id", "s-1", ...filter], {});
    const keyFile = new KeyFile(stage.jwks);
    const directory = state === undefined ? null : new StateDirectory(state);
    const saved = directory?.read() ?? null;
    const pinned = new PinnedKeys(keyFile.keys, saved?.pins, saved?.store ?? null);
    this.held = new ActiveSet({ namespace: "default", keys: keyFile.keys, policies: filter, pinned });
    this.problem = directory && saved ? directory.restore(this.held, saved) : "";
    this.subscriber = new Subscriber(options, stage.messages, keyFile, this.held, directory, world);
  }

  get refused(): number {
    return this.said.filter((talk) => talk.startsWith("refused: ")).length;
  }

  /** Returns what is in force as text, in the form of `Stage.setAt`. */
  holds(): string {
    if (!this.held.position) {
      return "nothing";
    }
    const lines = [...this.held.policies.values()].map(({ policy, version, digest, position }) => {
      return `${policy} ${version} ${digest} ${positionText(position)}`;
    });
    return [positionText(this.held.position), ...lines.sort()].join("\n");
  }

  /** Runs the subscriber until the condition holds. */
  async until(what: string, holds: () => boolean): Promise<void> {
    const running = this.subscriber.run();
    const began = performance.now();
    while (!holds()) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      expect(performance.now() - began < CASE_TIMEOUT_MS, `${what}: not seen; holds ${this.holds()}, says ${this.said.join("; ")}`);
    }
    this.subscriber.stop();
    await running;
  }
}

const revisionOf = ({ held }: Player): string => `${held.position?.revision}`;

/** Plays a case and returns how many rejections were reported. */
async function play(stage: Stage, each: Case): Promise<number> {
  const { name, clock, filter, before, lie, repair, after, then } = each;
  const player = stage.subscriber(clock, filter);
  let seen = "";
  const look = () => {
    seen = [player.subscriber.state(), !player.held.isFresh(BigInt(clock)), player.refused, player.holds()].join("\n");
  };
  const [first = [], ...more] = lie.map((names) => stage.steps(names));
  stage.hub.asked = [];
  stage.hub.reports = [];
  // With nothing to repair, the honest stream is empty: whether it is read would depend on timing.
  const honest = then.state === "READY" && then.holds === after ? [] : stage.steps(repair);
  stage.hub.scripts = [[...stage.steps(before), ...first], ...more, [look, ...honest, null]];
  const isReported = () => {
    const last = stage.hub.reports.at(-1);
    return last?.status === "APPLY_STATUS_APPLIED" && last.digest === player.held.digest() && last.cursor.revision === revisionOf(player);
  };
  const isRepaired = () => {
    return seen !== "" && player.holds() === stage.setAt(after, filter) && player.subscriber.state() === "READY" && isReported();
  };
  await player.until(`${each.kind}, ${name}: an honest stream repairs it`, isRepaired);
  const verdict = [then.state, then.stale, then.refused, stage.setAt(then.holds, filter)].join("\n");
  expect(seen === verdict, `${each.kind}, ${name}: ${seen}\nis not\n${verdict}`);
  const positions = player.moves.map(({ position }) => Number(position.revision));
  expect(positions.every((position, index) => index === 0 || position > (positions[index - 1] ?? 0)), `${name}: goes back: ${positions.join()}`);
  const real = Object.values(stage.vectors.sets).map(({ revision }) => revision);
  expect(positions.every((position) => real.includes(position)), `${name}: ${positions.join()} are not all positions`);
  const rejected = stage.hub.reports.filter(({ status }) => status === "APPLY_STATUS_REJECTED");
  expect(rejected.length <= then.refused && rejected.every(({ reason }) => reason !== ""), `${name}: reports ${rejected.length} rejections`);
  return rejected.length;
}

/** Plays the cases and returns their number. */
export async function checkStreams(stage: Stage): Promise<number> {
  let rejections = 0;
  for (const each of stage.vectors.cases) {
    rejections += await play(stage, each);
  }
  expect(rejections > 0, "no rejection was reported");
  return stage.vectors.cases.length;
}
