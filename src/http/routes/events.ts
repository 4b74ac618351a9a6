/** Events: a stream (server-sent events) or a long poll over the caller's view of the journal. */
import { z } from "zod";
import { Problem } from "../../errors.ts";
import type { AdministratorCaller, PlatformCaller } from "../../registry/caller.ts";
import type { EventView } from "../../registry/event-watch.ts";
import { type Event, listEvents, readHead, requireReached } from "../../registry/events.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { defineRoute, type Route } from "../route.ts";
import { eventSchema } from "../shapes.ts";

/** Events in one answer, or in one read of a stream. */
const pageSize = 200;
/** A comment keeps proxies from ending a silent stream, milliseconds. */
const heartbeat = 15_000;
/** What a client waits before it connects again, milliseconds. */
const reconnect = 1_000;

/** Digits and nothing else: `Number` takes much more for a number. */
const eventId = z.preprocess(
  (text) => (/^\d+$/.test(String(text)) ? Number(text) : text),
  z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
);

export function eventRoutes({ database, eventWatch }: HttpDependencies): readonly Route[] {
  return [
    defineRoute({
      method: "get",
      path: "/events",
      summary:
        "Events as a stream, resumed after Last-Event-ID; with `after` or `wait` as JSON, after that many seconds at the latest",
      access: { administrator: "any", platform: "any" },
      query: z.strictObject({ after: eventId.optional(), wait: z.coerce.number().int().min(0).max(25).optional() }),
      answer: {
        status: 200,
        schema: z.object({ items: z.array(eventSchema), last_id: z.number() }),
        stream: eventSchema,
      },
      handle: async ({ caller, query, header, gone }) => {
        const { after, wait } = query;
        const streams = after === undefined && wait === undefined;
        const asked = streams ? readLastEventId(header("last-event-id")) : after;
        if (asked !== undefined) await requireReached(database, asked);
        const view = eventWatch.open(caller);
        if (gone.aborted) view.close();
        gone.addEventListener("abort", () => view.close());
        if (streams) {
          const from = asked ?? (await readHead(database));
          return { status: 200, stream: streamEvents(view, caller, from), ending: view.ending };
        }
        try {
          const from = asked ?? (await readHead(database));
          const items = await waitForEvents(view, caller, from, wait ?? 0);
          return { status: 200, body: { items, last_id: items.at(-1)?.id ?? from } };
        } finally {
          view.close();
        }
      },
    }),
  ];

  /** What is new; judged afterwards, by the database: what is sent then was still the caller's to see. */
  async function listFor(view: EventView, caller: AdministratorCaller | PlatformCaller, after: number) {
    const items = await listEvents(database.db, caller, { after, limit: pageSize });
    await view.judge();
    return items;
  }

  async function waitForEvents(
    view: EventView,
    caller: AdministratorCaller | PlatformCaller,
    after: number,
    seconds: number,
  ): Promise<readonly Event[]> {
    const end = performance.now() + seconds * 1000;
    for (;;) {
      await view.wait(0);
      const items = await listFor(view, caller, after);
      if (view.ended === "session") throw new Problem("unauthenticated", "The session has ended; log in again.");
      if (view.ended) return [];
      const left = end - performance.now();
      if (items.length > 0 || left <= 0) return items;
      await view.wait(left);
    }
  }

  async function* streamEvents(
    view: EventView,
    caller: AdministratorCaller | PlatformCaller,
    from: number,
  ): AsyncGenerator<string> {
    try {
      yield `retry: ${reconnect}\n\n`;
      for (let after = from; !view.ended; ) {
        const items = await listFor(view, caller, after);
        if (view.ended) return;
        for (const event of items) {
          yield `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
          // A client that does not read keeps this waiting for longer than its session lasts.
          if (view.ended) return;
        }
        after = items.at(-1)?.id ?? after;
        if (items.length === pageSize) continue;
        const silent = items.length === 0;
        await view.wait(heartbeat);
        if (silent && !view.ended) yield ":\n\n";
      }
    } finally {
      view.close();
    }
  }
}

/** @throws {Problem} `invalid` */
function readLastEventId(text: string): number | undefined {
  if (text === "") return undefined;
  const parsed = eventId.safeParse(text);
  if (parsed.success) return parsed.data;
  const errors = [{ path: "Last-Event-ID", code: "invalid_type", message: "is the id of an event" }];
  throw new Problem("invalid", "Last-Event-ID is the id of an event.", { errors });
}
