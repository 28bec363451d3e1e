/** What the parts of an unfinished snapshot or activation have brought. Its bounds keep parts that come for ever from filling memory. */

import { ensure } from "./refused.js";
import type { Active } from "./trust.js";

/** The limits of the server. */
const POLICIES_MAX = 10_000;
const ACTIVATION_CHANGES_MAX = 100;

/** By policy; null: it points to nothing any more. */
export type Changes = ReadonlyMap<string, Active | null>;

export class Collected {
  private snapshot: Map<string, Active> | null = null;
  private activation: Map<string, Active | null> | null = null;

  get isUnfinished(): boolean {
    return this.snapshot !== null || this.activation !== null;
  }

  get isWithinSnapshot(): boolean {
    return this.snapshot !== null;
  }

  drop(): void {
    this.snapshot = null;
    this.activation = null;
  }

  /** Adds a part of a snapshot. All of its policies with the last part; null before that. */
  addSnapshotPart(bundles: readonly Active[], isLast: boolean): ReadonlyMap<string, Active> | null {
    const policies = this.snapshot ?? new Map<string, Active>();
    this.drop(); // a snapshot begins anew whatever else was on its way
    for (const active of bundles) {
      add(policies, active.policy, active);
      ensure(policies.size <= POLICIES_MAX, "more policies than a namespace can have");
    }
    if (isLast) {
      return policies;
    }
    ensure(bundles.length > 0, "a part of a snapshot is empty");
    this.snapshot = policies;
    return null;
  }

  /** Adds a part of an activation. All of its changes with the last part; null before that. */
  addActivationPart(bundles: readonly Active[], tombstones: readonly string[], isLast: boolean): Changes | null {
    const changes = this.activation ?? new Map<string, Active | null>();
    this.drop();
    bundles.forEach((active) => add(changes, active.policy, active));
    tombstones.forEach((policy) => add(changes, policy, null));
    ensure(changes.size <= ACTIVATION_CHANGES_MAX, "activation has more changes than one can have");
    if (isLast) {
      return changes;
    }
    ensure(bundles.length + tombstones.length > 0, "a part of an activation is empty");
    this.activation = changes;
    return null;
  }
}

function add<T>(all: Map<string, T>, policy: string, value: T): void {
  ensure(!all.has(policy), `${policy} is there twice`);
  all.set(policy, value);
}
