/**
 * Watches the journal for everybody in this process who waits for events: one look per signal, whatever the number of
 * streams. It also ends those whose session has ended, or has other rights than it had.
 */
import { Problem } from "../errors.ts";
import { createSoon } from "../soon.ts";
import type { Database } from "../storage/database.ts";
import type { Signals } from "../storage/signals.ts";
import { longestDelay } from "../within.ts";
import type { AdministratorCaller, PlatformCaller } from "./caller.ts";
import { audienceOf, listAudiences, readHead } from "./events.ts";
import { journalSignal } from "./sequencer.ts";
import { type LiveSession, readSessions } from "./sessions.ts";

type Ending = "session" | "rights" | "closed";

/** Somebody's view of the journal, open for as long as the session is. */
export interface EventView {
  /**
   * Resolves when there may be new events, when the view ends, or after `milliseconds`. What came since the last call,
   * or since the view was opened, counts.
   */
  wait(milliseconds: number): Promise<void>;
  /** Asks the database whether the session is still what it was; nothing is sent before that. */
  judge(): Promise<void>;
  /**
   * Why it gives nothing any more: its session has ended, or has other rights now, under which it may be opened again, or
   * it was closed, as all are when the node stops.
   */
  readonly ended: Ending | undefined;
  /** Aborted when it ends: whoever sends its events may be waiting for a client that does not read. */
  readonly ending: AbortSignal;
  close(): void;
}

export interface EventWatch extends AsyncDisposable {
  /** @throws {Problem} `rate_limited` where the caller, or this process, has as many open as it may have */
  open(caller: AdministratorCaller | PlatformCaller): EventView;
}

export interface EventWatchDependencies {
  readonly database: Database;
  readonly signals: Signals;
  readonly clock: () => Date;
  readonly onError: (error: unknown) => void;
  /** How often everybody looks, whatever was signalled, milliseconds. */
  readonly lookEvery?: number | undefined;
}

interface Viewer {
  /** Whose it is, with the rights that opened the view. */
  readonly caller: AdministratorCaller | PlatformCaller;
  /** Something may be new since the viewer last waited. */
  fresh: boolean;
  /** Aborted with an `Ending`. */
  readonly ending: AbortController;
  wake: () => void;
}

/** Open views of one caller, and of all, in one process. */
const mostOfCaller = 8;
const mostOfAll = 1_000;
/** What is open ends when it likes: seconds after which it is worth another try. */
const retryAfter = 5;

/** Signals that come within this are one look, milliseconds. */
const coalesceMilliseconds = 5;
/** A process that cannot signal writes all the same, milliseconds. */
const usualLook = 5_000;
const rowsAtOnce = 1_000;

export function createEventWatch({
  database,
  signals,
  clock,
  onError,
  lookEvery = usualLook,
}: EventWatchDependencies): EventWatch {
  const viewers = new Set<Viewer>();
  /** How far the journal was looked at; undefined while nobody watches. */
  let seen: number | undefined;
  let stopListening: (() => void) | undefined;
  let looks: NodeJS.Timeout | undefined;
  let nextEnd: NodeJS.Timeout | undefined;
  let closed = false;

  const soonLook = createSoon(() => look(), {
    interval: coalesceMilliseconds,
    onError: (error) => {
      onError(error);
      // Nobody may miss something for that: they look for themselves.
      wakeAll(() => true);
    },
  });

  const wakeAll = (concerns: (viewer: Viewer) => boolean) => {
    for (const viewer of viewers) {
      if (!concerns(viewer)) continue;
      viewer.fresh = true;
      viewer.wake();
    }
  };

  const look = async (): Promise<void> => {
    if (closed || viewers.size === 0) return;
    await endViews();
    if (viewers.size === 0) return;
    if (seen === undefined) {
      // What came between the first viewer's own look and this one is below the head already.
      seen = await readHead(database);
      wakeAll(() => true);
    }
    for (let full = true; full; ) {
      const found = await listAudiences(database.db, seen, rowsAtOnce);
      seen = found.last;
      full = found.full;
      wakeAll(({ caller }) => found.audiences.has(audienceOf(caller)));
    }
  };

  /** Ends the views whose session has ended, and comes back when the next one will by itself. */
  const endViews = async (): Promise<void> => {
    const now = clock();
    // Those who come meanwhile were not asked about; another look is planned for them.
    const present = [...viewers];
    const ids = new Set(present.map(({ caller }) => caller.sessionId));
    const sessions = await readSessions(database.db, [...ids], now);
    for (const viewer of present) judge(viewer, sessions);
    clearTimeout(nextEnd);
    // Closed while this looked: nobody would clear the timer any more.
    if (closed || viewers.size === 0) return;
    const soonest = Math.min(...[...sessions.values()].map(({ end }) => end.getTime()));
    if (Number.isFinite(soonest)) nextEnd = setTimeout(soonLook, Math.min(soonest - now.getTime(), longestDelay));
  };

  /** All sessions of a caller count together. */
  const admit = ({ kind, id }: Viewer["caller"]): void => {
    const own = [...viewers].filter(({ caller }) => caller.kind === kind && caller.id === id).length;
    if (own < mostOfCaller && viewers.size < mostOfAll) return;
    const detail =
      own < mostOfCaller
        ? "This process has as many open streams and polls of events as it keeps; try again later."
        : `You have ${mostOfCaller} open streams and polls of events here; end one of them.`;
    throw new Problem("rate_limited", detail, { retry_after: retryAfter });
  };

  /** Its place is free at once, whatever becomes of the response. */
  const end = (viewer: Viewer, why: Ending) => {
    viewer.ending.abort(why);
    viewer.wake();
    viewers.delete(viewer);
    if (viewers.size === 0) forget();
  };

  /** Ends a view whose session has ended, or may do less than it might, or more. */
  const judge = (viewer: Viewer, sessions: ReadonlyMap<string, LiveSession>) => {
    const now = sessions.get(viewer.caller.sessionId)?.caller;
    if (now === undefined) end(viewer, "session");
    else if (rightsOf(now) !== rightsOf(viewer.caller)) end(viewer, "rights");
  };

  const forget = () => {
    stopListening?.();
    stopListening = undefined;
    clearInterval(looks);
    looks = undefined;
    seen = undefined;
    clearTimeout(nextEnd);
  };

  return {
    open(caller) {
      admit(caller);
      // Everything may be new to somebody who has just come.
      const viewer: Viewer = { caller, fresh: true, ending: new AbortController(), wake: () => {} };
      const { signal: ending } = viewer.ending;
      if (closed) end(viewer, "closed");
      else {
        viewers.add(viewer);
        stopListening ??= signals.listen(journalSignal, soonLook);
        looks ??= setInterval(soonLook, lookEvery).unref();
        soonLook();
      }
      return {
        ending,
        get ended() {
          return ending.reason as Ending | undefined;
        },
        async wait(milliseconds) {
          if (!viewer.fresh && !ending.aborted) {
            await new Promise<void>((resolve) => {
              const late = setTimeout(resolve, milliseconds);
              viewer.wake = () => {
                clearTimeout(late);
                resolve();
              };
            });
          }
          viewer.fresh = false;
        },
        async judge() {
          judge(viewer, await readSessions(database.db, [caller.sessionId], clock()));
        },
        close: () => end(viewer, "closed"),
      };
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      for (const viewer of [...viewers]) end(viewer, "closed");
      forget();
      await soonLook[Symbol.asyncDispose]();
    },
  };
}

const rightsOf = (caller: Viewer["caller"]): string =>
  [...(caller.kind === "platform" ? caller.rights : caller.permissions)].sort().join();
