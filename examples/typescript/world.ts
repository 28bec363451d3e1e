/** What a subscriber uses of the world: tests give it another one. */

import type { Change } from "./active_set.js";

export interface World {
  /** Seconds since the Unix epoch. */
  now(): bigint;
  pause(seconds: number): Promise<void>;
  /** What the service does with a change; all that is in force is in `held.policies`. When it throws, `run` ends with that. */
  apply(change: Change): void;
  /** Talk for people. */
  say(talk: string): void;
}
