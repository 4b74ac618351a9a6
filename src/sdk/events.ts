/**
 * Events as they come (docs/rest.md, "Events"): a stream that is resumed after every cut where it was, so that nothing
 * is missed and nothing comes twice; a long poll where something on the way keeps streams back.
 */
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";
import type { Client } from "./client.ts";
import { selectMemberships } from "./memberships.ts";
import { type RestClient, RestError } from "./rest.ts";

export interface InstanceEvent extends JsonObject {
  /** Ascending on one instance, with gaps. */
  readonly id: number;
  readonly type: string;
}

/** Whether events come now; told when that changes. */
export type WatchState =
  | { readonly instance: string; readonly state: "watching"; readonly after: number }
  | { readonly instance: string; readonly state: "away"; readonly message: string };

export interface WatchOptions {
  /** Begins after this event; absent, with what comes from now on. */
  readonly after?: number | undefined;
  /** Only these: a whole type, or its first word for all of them. */
  readonly types?: readonly string[] | undefined;
  /** Ends the watch. */
  readonly signal?: AbortSignal | undefined;
  readonly onState?: (state: WatchState) => void;
}

const waits = { shortest: 500, longest: 30_000 };
/** An instance begins its stream at once: what does not arrive is kept back on the way, milliseconds. */
const beginsWithin = 5_000;
/** A living stream says something every 15 seconds, milliseconds. */
const silence = 40_000;
/** Seconds that one poll waits. */
const pollSeconds = 20;

/**
 * Events of one instance, for as long as they are read.
 * @throws {RestError} when the instance refuses this caller; what may pass is waited for. `event_unknown`, with its newest
 *   id as `members.last_id`, where it has not come to `after`, as after its return from an older copy of its data: what it
 *   told since then is lost, so that whoever watches must read anew what it follows
 */
export async function* watchEvents(client: RestClient, options: WatchOptions = {}): AsyncGenerator<InstanceEvent> {
  const { types, signal, onState = () => {} } = options;
  const instance = client.origin;
  const wanted = ({ type }: InstanceEvent) => types?.some((one) => type === one || type.startsWith(`${one}.`)) ?? true;
  let { after } = options;
  let state: WatchState["state"] | undefined;
  let wait = waits.shortest;
  let read = readStream;
  while (!signal?.aborted) {
    try {
      after ??= await readHead(client, signal);
      for await (const event of read(client, after, signal)) {
        wait = waits.shortest;
        if (state !== "watching") onState({ instance, state: "watching", after });
        state = "watching";
        if (event === null || event.id <= after) continue;
        after = event.id;
        if (wanted(event)) yield event;
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof KeptBack) {
        read = readPolls;
        continue;
      }
      if (!(error instanceof RestError) || !mayPass(error)) throw error;
      if (state !== "away") onState({ instance, state: "away", message: error.message });
      state = "away";
    }
    await pause(wait, signal);
    wait = Math.min(2 * wait, waits.longest);
  }
}

/**
 * Events of every membership (or that of `instance`), in the order in which they come. An instance that refuses is
 * left out; the last one that does ends the watch.
 * @throws {RestError} @throws {ClientError} `no_membership`
 */
export async function* watchEverywhere(
  client: Client,
  { instance, ...options }: WatchOptions & { readonly instance?: string | undefined } = {},
): AsyncGenerator<InstanceEvent & { readonly instance: string }> {
  const memberships = selectMemberships(await client.vault.read(), instance);
  const ending = new AbortController();
  const signal = options.signal === undefined ? ending.signal : AbortSignal.any([options.signal, ending.signal]);
  const arrived: { readonly event: InstanceEvent & { readonly instance: string }; readonly taken: () => void }[] = [];
  let tell = () => {};
  let left = memberships.length;
  let failure: unknown;
  const watchOne = async (membership: (typeof memberships)[number]) => {
    const { origin } = membership;
    try {
      for await (const event of watchEvents(client.rest(membership), { ...options, signal })) {
        if (signal.aborted) break;
        // One at a time: who reads slowly is not run over.
        await new Promise<void>((taken) => {
          arrived.push({ event: { ...event, instance: origin }, taken });
          tell();
        });
      }
    } catch (error) {
      failure = error;
      options.onState?.({
        instance: origin,
        state: "away",
        message: error instanceof Error ? error.message : String(error),
      });
    } finally {
      left -= 1;
      tell();
    }
  };
  const watching = memberships.map(watchOne);
  try {
    while (left > 0 || arrived.length > 0) {
      const next = arrived.shift();
      if (next === undefined) {
        await new Promise<void>((resolve) => {
          tell = resolve;
        });
        continue;
      }
      next.taken();
      yield next.event;
    }
    if (failure !== undefined) throw failure;
  } finally {
    ending.abort();
    for (const { taken } of arrived) taken();
    await Promise.all(watching);
  }
}

/** Something between the instance and us keeps the stream back. */
class KeptBack extends Error {}

/** Away, overloaded, or hidden by a proxy that speaks for it; anything else is meant. */
const mayPass = ({ code, status }: RestError) =>
  status === 0 || status >= 500 || status === 429 || code === "unexpected_answer";

async function readHead(client: RestClient, signal: AbortSignal | undefined): Promise<number> {
  const answer = await client.request("GET", "/events", { query: { wait: 0 }, signal });
  return readPage(answer, client.origin).last;
}

/** Null says that the connection stands. */
async function* readPolls(
  client: RestClient,
  from: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<InstanceEvent | null> {
  for (let after = from; ; ) {
    const answer = await client.request("GET", "/events", { query: { after, wait: pollSeconds }, signal });
    const { items, last } = readPage(answer, client.origin);
    yield null;
    yield* items;
    after = last;
  }
}

function readPage(
  answer: unknown,
  origin: string,
): { readonly items: readonly InstanceEvent[]; readonly last: number } {
  if (!isJsonObject(answer) || !Array.isArray(answer.items) || typeof answer.last_id !== "number")
    throw strange(origin);
  return { items: answer.items.map((item) => readEvent(item, origin)), last: answer.last_id };
}

/** Null says that the connection stands. */
async function* readStream(
  client: RestClient,
  after: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<InstanceEvent | null> {
  const { origin } = client;
  const headers = { accept: "text/event-stream", "last-event-id": String(after) };
  const response = await client.open("/events", { headers, signal });
  const reader = response.body?.getReader();
  try {
    const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
    if (!isStream || reader === undefined) throw new KeptBack();
    const decoder = new TextDecoder();
    let text = "";
    for (let begun = false; ; begun = true) {
      const chunk = await within(begun ? silence : beginsWithin, reader.read());
      if (chunk === "late" && !begun) throw new KeptBack();
      // A connection that went silent is as good as ended, and so is one that broke.
      if (chunk === "late" || chunk === "broken" || chunk.done) return;
      yield null;
      text += decoder.decode(chunk.value, { stream: true }).replaceAll("\r", "");
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) yield* readBlock(block, origin);
    }
  } finally {
    await reader?.cancel().catch(() => {});
  }
}

async function within<T>(milliseconds: number, reading: Promise<T>): Promise<T | "late" | "broken"> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), milliseconds);
  });
  try {
    return await Promise.race([reading.catch(() => "broken" as const), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The event of a block; none for a comment or a hint. */
function* readBlock(block: string, origin: string): Generator<InstanceEvent> {
  const data = block.split("\n").flatMap((line) => (line.startsWith("data:") ? [line.slice("data:".length)] : []));
  if (data.length === 0) return;
  let value: unknown;
  try {
    value = JSON.parse(data.join("\n"));
  } catch {
    throw strange(origin);
  }
  yield readEvent(value, origin);
}

function readEvent(value: unknown, origin: string): InstanceEvent {
  if (!isJsonObject(value) || typeof value.type !== "string" || !Number.isSafeInteger(value.id)) throw strange(origin);
  return value as InstanceEvent;
}

const strange = (origin: string) =>
  new RestError("unexpected_answer", `${origin} does not answer as an instance does: no events.`, {
    origin,
    status: 200,
  });

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener("abort", end);
  });
}
