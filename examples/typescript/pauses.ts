/** How long a subscriber waits: for a silent stream, and before it opens the next one. */

import type { Duration } from "./messages.js";

/** A stream counts as dead after this many missed heartbeats, within these limits, whatever interval the server states. */
const HEARTBEATS_MISSED = 3;
const SILENCE_MIN_SECONDS = 3;
export const SILENCE_MAX_SECONDS = 30;
/** The longest wait before a stream is opened again: it doubles after each stream that ended early. */
const BACKOFF_FIRST_SECONDS = 0.5;
export const BACKOFF_MAX_SECONDS = 60;

export function seconds(duration: Duration | null): number {
  return duration ? Number(duration.seconds) + duration.nanos / 1e9 : 0;
}

/** Returns how long a stream may be silent. */
export function silenceSeconds(heartbeatInterval: Duration | null): number {
  return Math.min(SILENCE_MAX_SECONDS, Math.max(SILENCE_MIN_SECONDS, HEARTBEATS_MISSED * seconds(heartbeatInterval)));
}

/**
 * Returns how long to wait: what the server asked for, plus a random part up to the limit, so that many disconnected
 * subscribers don't reconnect at once.
 */
export function pauseSeconds(shortStreams: number, askedSeconds: number, random: () => number = Math.random): number {
  const bound = Math.min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** Math.min(shortStreams, 10));
  return Math.min(BACKOFF_MAX_SECONDS, Math.max(0, askedSeconds) + random() * bound);
}
