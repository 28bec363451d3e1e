/** How long a subscriber waits: for a stream that is silent, and before it opens the next one. */

import type { Duration } from "./messages.js";

/** A stream that is silent for so many of its heartbeats is dead; within these bounds, whatever the server says of them. */
const HEARTBEATS_MISSED = 3;
const SILENCE_MIN_SECONDS = 3;
export const SILENCE_MAX_SECONDS = 30;
/** The longest wait before a stream is opened again: it doubles with each that did not last. */
const BACKOFF_FIRST_SECONDS = 0.5;
export const BACKOFF_MAX_SECONDS = 60;

export function seconds(duration: Duration | null): number {
  return duration ? Number(duration.seconds) + duration.nanos / 1e9 : 0;
}

/** How long a stream may be silent. */
export function silenceSeconds(heartbeatInterval: Duration | null): number {
  return Math.min(SILENCE_MAX_SECONDS, Math.max(SILENCE_MIN_SECONDS, HEARTBEATS_MISSED * seconds(heartbeatInterval)));
}

/**
 * How long to wait: what the server asked for, and anything up to the bound on top, so that many who were cut at once don't
 * come back as one.
 */
export function pauseSeconds(shortStreams: number, askedSeconds: number, random: () => number = Math.random): number {
  const bound = Math.min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** Math.min(shortStreams, 10));
  return Math.min(BACKOFF_MAX_SECONDS, Math.max(0, askedSeconds) + random() * bound);
}
