/**
 * Keeps an active set up to date with its server, over any number of streams: verifies, saves, applies, reports,
 * reconnects.
 *
 * Clock, pauses and output are passed in, so that tests can replace them.
 */

import type { ActiveSet, Change } from "./active_set.js";
import { comparePositions, type Position } from "./documents.js";
import { errorText, Hub, isFromOutside, isResumePointGone } from "./hub.js";
import type { KeyFile } from "./key_file.js";
import type { Cursor, Messages, WatchMessage, WatchRequest } from "./messages.js";
import type { Options } from "./options.js";
import { BACKOFF_MAX_SECONDS, pauseSeconds, seconds, SILENCE_MAX_SECONDS, silenceSeconds } from "./pauses.js";
import { Refused, type RefusedState } from "./refused.js";
import type { StateDirectory } from "./state_directory.js";
import { positionText } from "./trust.js";
import type { World } from "./world.js";

/** READY: a checkpoint proves that the held set is the newest. STALE: none does. The others: something was refused since. */
export type State = "READY" | "STALE" | RefusedState;

export class Subscriber {
  readonly held: ActiveSet;
  private readonly options: Options;
  private readonly messages: Messages;
  private readonly keyFile: KeyFile;
  private readonly directory: StateDirectory | null;
  private readonly world: World;
  /** The last refusal, until a message proves the held set again. */
  private refused: Refused | null = null;
  /** Whether the next stream begins with a snapshot. */
  private needsSnapshot: boolean;
  private isStopped = false;
  private stopStream = () => {};
  private shown = "";

  constructor(options: Options, messages: Messages, keyFile: KeyFile, held: ActiveSet, directory: StateDirectory | null, world: World) {
    this.options = options;
    this.messages = messages;
    this.keyFile = keyFile;
    this.held = held;
    this.directory = directory;
    this.world = world;
    // Something newer than what was saved was verified: only a snapshot leads there.
    this.needsSnapshot = held.position !== null && comparePositions(held.position, held.newestVerified) < 0;
  }

  state(): State {
    return this.refused?.state ?? (this.held.isFresh(this.world.now()) ? "READY" : "STALE");
  }

  /** Prints the state when it has changed. */
  showState(): void {
    const state = this.state();
    if (state !== this.shown && (this.held.position || this.refused)) {
      this.shown = state;
      const { unproven } = this.held.freshness;
      const stale = `nothing proves that what is held is the newest${unproven === "" ? "" : `: ${unproven}`}`;
      const why = this.refused?.message ?? (state === "STALE" ? stale : "");
      this.world.say(why === "" ? state : `${state}: ${why}`);
    }
  }

  /** Ends `run`. */
  stop(): void {
    this.isStopped = true;
    this.stopStream();
  }

  private isDone(): boolean {
    const { position } = this.held;
    const isReached = this.options.untilRevision > 0n && position !== null && position.revision >= this.options.untilRevision;
    return this.isStopped || isReached;
  }

  /** Watches until it is stopped, or the revision in the options is reached. */
  async run(): Promise<void> {
    let shortStreams = 0;
    while (!this.isDone()) {
      const began = performance.now();
      const askedSeconds = await this.oneStream();
      shortStreams = performance.now() - began > BACKOFF_MAX_SECONDS * 1_000 ? 0 : shortStreams + 1;
      this.showState();
      if (!this.isDone()) {
        await this.world.pause(pauseSeconds(shortStreams, askedSeconds));
      }
    }
  }

  /** Reads one stream from its opening to its end. Returns how long the server asks to wait before the next one, in seconds. */
  private async oneStream(): Promise<number> {
    let hub: Hub | null = null;
    try {
      this.keyFile.look(this.held, this.world.say);
      hub = new Hub(this.options, this.messages);
      return await this.readStream(hub);
    } catch (error) {
      // The change that the service could not apply is held already, so the next stream would not send it again.
      if (!isFromOutside(error)) {
        throw error;
      }
      if (!this.isStopped) {
        this.world.say(`stream ended: ${errorText(error)}`);
      }
      this.needsSnapshot ||= isResumePointGone(error);
      return 0;
    } finally {
      hub?.close();
    }
  }

  private async readStream(hub: Hub): Promise<number> {
    const stream = hub.watch(this.request());
    this.stopStream = () => stream.cancel();
    this.held.beginStream();
    let silence = SILENCE_MAX_SECONDS;
    let isReported = false;
    try {
      while (!this.isDone()) {
        let message: WatchMessage | null = null;
        try {
          const next = await stream.next(silence);
          if (next === "silence") {
            this.world.say(`stream is dead: nothing came for ${silence} s`);
          }
          if (next === "end" || next === "silence") {
            return 0;
          }
          message = next;
          if (message.opened) {
            silence = silenceSeconds(message.opened.heartbeatInterval);
          }
          if (message.reconnect) {
            this.world.say(`server says: ${String(message.reconnect.reason)}`);
            return seconds(message.reconnect.backoff);
          }
          if (this.keyFile.look(this.held, this.world.say)) {
            return 0; // the message was not accepted yet, so the next stream sends it again
          }
          isReported = await this.take(hub, message, isReported);
        } catch (error) {
          if (!(error instanceof Refused)) {
            throw error;
          }
          await this.refuse(hub, error, message);
          return 0;
        }
      }
      return 0;
    } finally {
      this.stopStream = () => {};
      stream.cancel();
    }
  }

  private request(): WatchRequest {
    const { held, options } = this;
    const key = held.pinned?.position;
    const target = {
      parent: `namespaces/${options.namespace}`, policies: [...held.wanted].sort(),
      ...(held.position && !this.needsSnapshot ? { resume: this.cursor(held.position) } : {}),
    };
    return {
      targets: [target], subscriberId: options.subscriberId,
      ...(held.pinned ? { keyCursor: { epoch: `${key?.epoch ?? 0}`, revision: `${key?.revision ?? 0}`, fingerprint: "0" } } : {}),
    };
  }

  /** Returns a position as a cursor: with its fingerprint when it is the one held. */
  private cursor({ epoch, revision }: Position): Cursor {
    return { epoch: `${epoch}`, revision: `${revision}`, fingerprint: `${this.held.fingerprint}` };
  }

  /** Applies a message. Returns whether something has been reported on this stream. */
  private async take(hub: Hub, message: WatchMessage, isReported: boolean): Promise<boolean> {
    const { held } = this;
    const change = held.apply(message, this.world.now());
    this.save();
    const isProven = message.heartbeat !== undefined && held.isFresh(this.world.now());
    if (change || isProven) {
      this.refused = null;
    }
    if (change) {
      this.needsSnapshot = false;
      this.applyToService(change);
    }
    this.showState();
    // Answers to reports are not signed, and a server may lose a report: send it at least once on each stream, at a
    // checkpoint that proves the held set.
    if (held.position && (change || (!isReported && isProven))) {
      return this.report(hub, this.cursor(held.position), "");
    }
    return isReported;
  }

  /** Wraps any error of the service, so that it is not taken for one of the network. */
  private applyToService(change: Change): void {
    try {
      this.world.apply(change);
    } catch (cause) {
      throw new Error(`the service could not apply ${change.kind} ${positionText(change.position)}: ${String(cause)}`, { cause });
    }
  }

  /** Handles a message that broke a rule: the set stays, the refusal is reported, and the next stream begins with a snapshot. */
  private async refuse(hub: Hub, refused: Refused, message: WatchMessage | null): Promise<void> {
    this.refused = refused;
    this.needsSnapshot = true;
    this.save();
    this.world.say(`refused: ${refused.message}; what is in force stays`);
    this.showState();
    const named = message?.snapshot?.cursor ?? message?.activation?.cursor ?? message?.heartbeat?.cursor ?? null;
    const held = this.held.position ?? { epoch: 0n, revision: 0n };
    if (named && comparePositions({ epoch: BigInt(named.epoch), revision: BigInt(named.revision) }, held) > 0) {
      await this.report(hub, { ...named, fingerprint: "0" }, refused.message);
    } else if (refused.isUnproven && this.held.position) {
      await this.report(hub, this.cursor(this.held.position), refused.message);
    }
  }

  /** Reports what this runtime runs with, and why it rejected a position. Returns whether the server accepted the report. */
  private async report(hub: Hub, cursor: Cursor, rejection: string): Promise<boolean> {
    const { namespace, subscriberId } = this.options;
    if (subscriberId === "") {
      return true;
    }
    const problem = await hub.report({
      name: `namespaces/${namespace}/subscribers/${subscriberId}`, cursor, digest: this.held.digest(),
      status: rejection === "" ? "APPLY_STATUS_APPLIED" : "APPLY_STATUS_REJECTED", reason: rejection.slice(0, 1_000),
    });
    if (problem !== "") {
      this.world.say(`could not report: ${problem}`);
    }
    return problem === "";
  }

  /** Saves the held set, so that it survives a kill. After an error of the disk, the next message tries again. */
  private save(): void {
    try {
      this.directory?.save(this.held);
    } catch (error) {
      this.world.say(`could not save: ${String(error)}`);
    }
  }
}
