/** What is thrown when something that came from outside does not hold. What was held before still is. */

/** REJECTED: it proves nothing. DIVERGED: what is signed tells another history than the one held. */
export type RefusedState = "REJECTED" | "DIVERGED";

/** A refusal, and what a subscriber is after it. */
export class Refused extends Error {
  readonly state: RefusedState;
  /** Whether a signature, or what it covers, is what does not hold. */
  readonly isUnproven: boolean;

  constructor(why: string, state: RefusedState = "REJECTED", isUnproven = false) {
    super(why);
    this.state = state;
    this.isUnproven = isUnproven;
  }
}

/** Throws `Refused` unless something holds. */
export function ensure(holds: boolean, why: string, state: RefusedState = "REJECTED"): asserts holds {
  if (!holds) {
    throw new Refused(why, state);
  }
}
