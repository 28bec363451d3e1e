/** Rule 5 of `SyncService`: until when what is held is proven to be the newest. No clock. */

import { CLOCK_SKEW_MAX_SECONDS, whyNotFresh, type Checkpoint } from "./documents.js";

export class Freshness {
  /** In seconds since the Unix epoch; 0: nothing proves it. */
  until = 0n;
  /** Why the newest checkpoint does not prove it; empty: it does. */
  unproven = "";

  /** What is held is not fresh any more. */
  end(why: string): void {
    this.until = 0n;
    this.unproven = why;
  }

  /** An old checkpoint, or one from the future, proves what is held as well as any, and not that it is the newest. */
  take(checkpoint: Checkpoint, now: bigint): void {
    this.unproven = whyNotFresh(checkpoint, now);
    if (this.unproven === "") {
      this.until = checkpoint.exp > this.until ? checkpoint.exp : this.until;
    } else if (checkpoint.iat - now > CLOCK_SKEW_MAX_SECONDS) {
      this.until = 0n; // by a clock that was set back an earlier checkpoint would seem good for longer
    }
  }
}
