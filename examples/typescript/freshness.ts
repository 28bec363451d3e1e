/** Rule 5 of `SyncService`: until when the held set is proven to be the newest. No clock. */

import { CLOCK_SKEW_MAX_SECONDS, whyNotFresh, type Checkpoint } from "./documents.js";

export class Freshness {
  /** In seconds since the Unix epoch; 0: nothing proves it. */
  until = 0n;
  /** Why the newest checkpoint does not prove it; empty: it does. */
  unproven = "";

  /** Makes the held set stale. */
  end(why: string): void {
    this.until = 0n;
    this.unproven = why;
  }

  /** Applies a checkpoint. An old one, or one from the future, proves the held set, but not that it is the newest. */
  take(checkpoint: Checkpoint, now: bigint): void {
    this.unproven = whyNotFresh(checkpoint, now);
    if (this.unproven === "") {
      this.until = checkpoint.exp > this.until ? checkpoint.exp : this.until;
    } else if (checkpoint.iat - now > CLOCK_SKEW_MAX_SECONDS) {
      this.until = 0n; // by a clock that was set back, an earlier checkpoint would seem valid for longer
    }
  }
}
