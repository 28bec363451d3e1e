/** What a subscriber uses of its environment; tests replace it. */

import type { Change } from "./active_set.js";

export interface World {
  /** Seconds since the Unix epoch. */
  now(): bigint;
  pause(seconds: number): Promise<void>;
  /** Lets the service apply a change; everything in force is in `held.policies`. When it throws, `run` ends with that error. */
  apply(change: Change): void;
  /** Prints messages for people. */
  say(talk: string): void;
}
