import { request } from "undici";

export type Json = Record<string, unknown>;

export interface RestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The JSON of the answer; an empty object when it has none. */
  readonly body: Json;
  /** The same as it came. */
  readonly text: string;
}

/** The REST API of one node as one caller. */
export interface Rest {
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<RestAnswer>;
  /** Like `call`, but throws on anything other than a 2xx, and gives the body. */
  ok(method: string, path: string, body?: unknown): Promise<Json>;
  /** All items of a list, page by page. */
  list(path: string): Promise<Json[]>;
  readonly token: string | undefined;
}

export function createRest(origin: string, token?: string): Rest {
  const call: Rest["call"] = async (method, path, body, headers = {}) => {
    const answer = await request(`${origin}/api/v1${path}`, {
      method: method as "GET",
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    const json = text === "" ? {} : (JSON.parse(text) as Json);
    return { status: answer.statusCode, headers: answer.headers, body: json, text };
  };
  const ok: Rest["ok"] = async (method, path, body) => {
    const answer = await call(method, path, body);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  };
  const list: Rest["list"] = async (path) => {
    const items: Json[] = [];
    for (let cursor: unknown = ""; cursor !== null; ) {
      const more = `${path.includes("?") ? "&" : "?"}limit=200${cursor === "" ? "" : `&cursor=${String(cursor)}`}`;
      const page = await ok("GET", `${path}${more}`);
      items.push(...(page.items as Json[]));
      cursor = page.next_cursor ?? null;
    }
    return items;
  };
  return { call, ok, list, token };
}

/** Logs in. @throws when the node does not let in */
export async function logIn(origin: string, username: string, password: string): Promise<Rest> {
  const answer = await createRest(origin).ok("POST", "/auth/login", { username, password });
  return createRest(origin, String(answer.access_token));
}
