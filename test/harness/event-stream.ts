import { type Dispatcher, request } from "undici";
import type { Json, Rest } from "./rest.ts";

/** A stream of server-sent events, read as it comes. */
export interface EventStream extends AsyncDisposable {
  readonly status: number;
  /** What has come so far. */
  readonly events: readonly Json[];
  /** True once the server has ended it. */
  readonly ended: boolean;
}

/** Opens `GET /api/v1/events` as `rest`'s caller, resumed after `lastEventId` where one is given. */
export async function openEventStream(origin: string, rest: Rest, lastEventId?: number): Promise<EventStream> {
  const events: Json[] = [];
  const state = { ended: false };
  const answer = await request(`${origin}/api/v1/events`, {
    headers: {
      accept: "text/event-stream",
      authorization: `Bearer ${rest.token}`,
      ...(lastEventId === undefined ? {} : { "last-event-id": String(lastEventId) }),
    },
  });
  const reading = readBlocks(answer.body, (block) => {
    const event = readEvent(block);
    if (event !== undefined) events.push(event);
  }).finally(() => {
    state.ended = true;
  });
  return {
    status: answer.statusCode,
    events,
    get ended() {
      return state.ended;
    },
    async [Symbol.asyncDispose]() {
      answer.body.destroy();
      await reading;
    },
  };
}

async function readBlocks(body: Dispatcher.ResponseData["body"], take: (block: string) => void): Promise<void> {
  let text = "";
  try {
    for await (const chunk of body.setEncoding("utf8")) {
      text += chunk;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        take(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
  } catch {
    // Ended by one of the two sides.
  }
}

/** The event of a block, whose three lines must agree; undefined for a comment or a `retry`. */
function readEvent(block: string): Json | undefined {
  const fields = new Map(block.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 1)]));
  const data = fields.get("data");
  if (data === undefined) return undefined;
  const event = JSON.parse(data) as Json;
  if (String(event.id) !== fields.get("id")?.trim() || event.type !== fields.get("event")?.trim()) {
    throw new Error(`the lines of an event do not agree:\n${block}`);
  }
  return event;
}
