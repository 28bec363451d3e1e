/** The error for invalid external data. What was held before is not changed. */

/** REJECTED: it proves nothing. DIVERGED: signed data has another history than the one held. */
export type RefusedState = "REJECTED" | "DIVERGED";

/** A refusal, with the state of a subscriber after it. */
export class Refused extends Error {
  readonly state: RefusedState;
  /** Whether a signature, or what it covers, is invalid. */
  readonly isUnproven: boolean;

  constructor(why: string, state: RefusedState = "REJECTED", isUnproven = false) {
    super(why);
    this.state = state;
    this.isUnproven = isUnproven;
  }
}

/** Throws `Refused` unless the condition holds. */
export function ensure(holds: boolean, why: string, state: RefusedState = "REJECTED"): asserts holds {
  if (!holds) {
    throw new Refused(why, state);
  }
}
