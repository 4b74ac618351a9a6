/** The REST API of one instance (docs/rest.md): login, requests, pages, problems as errors. */
import { ConcordatError } from "../errors.ts";
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";

/**
 * A refusal by an instance (`code` of its problem document, HTTP `status`), or no answer of it:
 * `instance_unreachable`, `unexpected_answer`.
 */
export class RestError extends ConcordatError {
  readonly origin: string;
  /** HTTP status, 0 when there was no answer. */
  readonly status: number;
  /** Members of the problem document besides `type`, `title`, `status`, `code` and `detail`. */
  readonly members: JsonObject;

  constructor(
    code: string,
    message: string,
    about: {
      readonly origin: string;
      readonly status: number;
      readonly members?: JsonObject;
      readonly cause?: unknown;
    },
  ) {
    super(code, message, about.cause === undefined ? undefined : { cause: about.cause });
    this.origin = about.origin;
    this.status = about.status;
    this.members = about.members ?? {};
  }
}

/** For `catch`: a refusal of this code in words that fit what was tried; anything else is thrown on. */
export function reword(code: string, message: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof RestError && error.code === code)) throw error;
    const { origin, status, members } = error;
    throw new RestError(error.code, message, { origin, status, members, cause: error });
  };
}

export interface Token {
  readonly accessToken: string;
  /** Milliseconds since 1970 after which it is not worth trying. */
  readonly expiresAt: number;
}

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

export interface RestDependencies {
  readonly origin: string;
  readonly fetch: typeof fetch;
  readonly clock: () => Date;
  /** Whole request in milliseconds; 30,000 when absent. */
  readonly timeout?: number;
}

/** How a client gets its token: one that it has, and credentials for the next where they are at hand. */
export interface RestAccess {
  readonly token?: Token;
  readonly credentials?: Credentials;
}

export interface RestRequest {
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Gives the request up. */
  readonly signal?: AbortSignal | undefined;
}

export interface RestClient {
  readonly origin: string;
  /**
   * One request under `/api/v1`; null for an answer without body.
   * @throws {RestError}
   */
  request(method: string, path: string, request?: RestRequest): Promise<unknown>;
  /**
   * A GET whose answer is read as it comes; the time limit is for its beginning.
   * @throws {RestError}
   */
  open(path: string, request?: RestRequest): Promise<Response>;
  /** All items of a list, page after page. @throws {RestError} */
  list(path: string, query?: RestRequest["query"]): Promise<readonly JsonObject[]>;
}

export interface LoginAnswer extends JsonObject {
  readonly access_token: string;
  readonly expires_in: number;
  readonly is_admin: boolean;
  readonly platform: { readonly id: string; readonly handle: string; readonly uri: string } | null;
}

/** `POST /auth/login`. @throws {RestError} `invalid_credentials`, `rate_limited`, … */
export async function logIn(
  dependencies: RestDependencies,
  credentials: Credentials,
): Promise<{ readonly token: Token; readonly answer: LoginAnswer }> {
  const { username, password } = credentials;
  const answer = await send(dependencies, "POST", "/auth/login", { body: { username, password } });
  if (!isJsonObject(answer) || typeof answer.access_token !== "string" || typeof answer.expires_in !== "number") {
    throw unexpectedAnswer(dependencies.origin, 200, "the answer to the login has no token");
  }
  const expiresAt = dependencies.clock().getTime() + answer.expires_in * 1000;
  return { token: { accessToken: answer.access_token, expiresAt }, answer: answer as LoginAnswer };
}

/** A client that logs in when it must, and once more when its token has ended early. */
export function createRestClient(dependencies: RestDependencies, access: RestAccess): RestClient {
  let token = access.token;
  const { credentials } = access;

  async function renew(): Promise<Token> {
    if (credentials === undefined) {
      throw new RestError("unauthenticated", `The login at ${dependencies.origin} has ended; log in again.`, {
        origin: dependencies.origin,
        status: 401,
      });
    }
    token = (await logIn(dependencies, credentials)).token;
    return token;
  }

  async function withToken<T>(wanted: RestRequest, sendIt: (request: RestRequest) => Promise<T>): Promise<T> {
    // Ten seconds before its end a token may not survive the request.
    const soon = dependencies.clock().getTime() + 10_000;
    const held = token !== undefined && token.expiresAt > soon ? token : await renew();
    const sendWith = (used: Token) =>
      sendIt({ ...wanted, headers: { ...wanted.headers, authorization: `Bearer ${used.accessToken}` } });
    try {
      return await sendWith(held);
    } catch (error) {
      const ended = error instanceof RestError && error.status === 401 && credentials !== undefined;
      if (!ended) throw error;
      return await sendWith(await renew());
    }
  }

  const request: RestClient["request"] = (method, path, wanted = {}) =>
    withToken(wanted, (sent) => send(dependencies, method, path, sent));

  return {
    origin: dependencies.origin,
    request,
    open: (path, wanted = {}) => withToken(wanted, (sent) => openAnswer(dependencies, path, sent)),
    async list(path, query = {}) {
      const items: JsonObject[] = [];
      let cursor: string | undefined;
      do {
        const page = await request("GET", path, { query: { limit: 200, ...query, cursor } });
        if (!isJsonObject(page) || !Array.isArray(page.items)) {
          throw unexpectedAnswer(dependencies.origin, 200, `${path} gave no list`);
        }
        items.push(...page.items.filter(isJsonObject));
        cursor = typeof page.next_cursor === "string" ? page.next_cursor : undefined;
      } while (cursor !== undefined);
      return items;
    },
  };
}

async function send(
  dependencies: RestDependencies,
  method: string,
  path: string,
  request: RestRequest,
): Promise<unknown> {
  const limit = AbortSignal.timeout(dependencies.timeout ?? usualTimeout);
  return await readAnswer(
    await knock(dependencies, method, path, { ...request, signal: either(limit, request.signal) }),
    dependencies.origin,
  );
}

/** The answer once it has begun; what is no success is read to its end. */
async function openAnswer(dependencies: RestDependencies, path: string, request: RestRequest): Promise<Response> {
  const { origin, timeout = usualTimeout } = dependencies;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new DOMException("The answer did not begin.", "TimeoutError")), timeout);
  try {
    const response = await knock(dependencies, "GET", path, {
      ...request,
      signal: either(late.signal, request.signal),
    });
    if (!response.ok) await readAnswer(response, origin);
    return response;
  } finally {
    clearTimeout(timer);
  }
}

const usualTimeout = 30_000;

const either = (one: AbortSignal, other: AbortSignal | undefined) =>
  other === undefined ? one : AbortSignal.any([one, other]);

async function knock(
  { origin, fetch }: RestDependencies,
  method: string,
  path: string,
  { query = {}, body, headers = {}, signal }: RestRequest,
): Promise<Response> {
  const url = new URL(`${origin}/api/v1${path}`);
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
  return await fetch(url, {
    method,
    headers: {
      accept: "application/json",
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    redirect: "error",
    ...(signal === undefined ? {} : { signal }),
  }).catch((cause: unknown) => {
    throw new RestError("instance_unreachable", `${origin} does not answer${reasonOf(cause)}.`, {
      origin,
      status: 0,
      cause,
    });
  });
}

async function readAnswer(response: Response, origin: string): Promise<unknown> {
  const text = await response.text().catch((cause: unknown) => {
    throw new RestError("instance_unreachable", `The answer of ${origin} broke off.`, { origin, status: 0, cause });
  });
  const value = text === "" ? null : parseAnswer(text, origin, response.status);
  if (response.ok) return value;
  throw problemError(value, origin, response.status);
}

/** `fetch` hides why it failed in the cause: a name that does not resolve, a refused connection, a time limit. */
function reasonOf(error: unknown): string {
  const parts = [error, error instanceof Error ? error.cause : undefined].flatMap((part) => {
    const code = part instanceof Error && "code" in part ? part.code : undefined;
    if (typeof code === "string") return [code];
    return part instanceof Error && part.name === "TimeoutError" ? ["timed out"] : [];
  });
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}

function parseAnswer(text: string, origin: string, status: number): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw unexpectedAnswer(origin, status, "the answer is not JSON");
  }
}

function unexpectedAnswer(origin: string, status: number, what: string): RestError {
  return new RestError("unexpected_answer", `${origin} does not answer as an instance does: ${what} (${status}).`, {
    origin,
    status,
  });
}

function problemError(value: unknown, origin: string, status: number): RestError {
  if (!isJsonObject(value) || typeof value.code !== "string") {
    return unexpectedAnswer(origin, status, "a refusal without a problem code");
  }
  const { type: _type, title, status: _status, code, detail, ...members } = value;
  const message = typeof detail === "string" ? detail : typeof title === "string" ? title : `refused with ${status}`;
  return new RestError(code, message, { origin, status, members });
}
