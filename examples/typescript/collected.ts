/**
 * Collects the parts of an unfinished snapshot or activation, and checks that a complete activation has the stated
 * changes.
 *
 * Its limits keep endless parts from filling memory.
 */

import type { StatedChange } from "./documents.js";
import { ensure } from "./refused.js";
import type { Active } from "./trust.js";

/** The limits of the server. */
const POLICIES_MAX = 10_000;
const ACTIVATION_CHANGES_MAX = 100;

/** By policy; null: it is no longer in force. */
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

  /** Adds a part of a snapshot. Returns all of its policies with the last part; null before that. */
  addSnapshotPart(bundles: readonly Active[], isLast: boolean): ReadonlyMap<string, Active> | null {
    const policies = this.snapshot ?? new Map<string, Active>();
    this.drop(); // a snapshot discards other unfinished parts
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

  /** Adds a part of an activation. Returns all of its changes with the last part; null before that. */
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

/** Checks rule 4: each requested change (`stated`) is there and follows what is held, and there is no other. */
export function checkChanges(stated: readonly StatedChange[], changes: Changes, held: ReadonlyMap<string, Active>): void {
  ensure(new Set(stated.map(({ policy }) => policy)).size === stated.length, "activation moves a policy twice");
  for (const { policy, version, digest, previous } of stated) {
    const shown = changes.get(policy);
    ensure(shown !== undefined, `change of ${policy} is missing`);
    ensure((shown?.version ?? 0n) === version && (shown?.digest ?? null) === digest, `statement does not say this of ${policy}`);
    const before = held.get(policy)?.version ?? 0n;
    ensure(previous === before, `change of ${policy} follows version ${previous}, but version ${before} is held`, "DIVERGED");
  }
  ensure(changes.size === stated.length, "activation shows other changes than it states");
}
