/**
 * The one place of outbound requests (docs/protocol.md, "Outbound requests" and "Delivery"): addresses are resolved
 * and judged first, the connection goes to the judged address, nothing is followed, everything is bounded.
 */
import { lookup as resolveName } from "node:dns/promises";
import { isIP, type LookupFunction } from "node:net";
import { Agent, buildConnector, type Dispatcher, ProxyAgent } from "undici";
import { ConcordatError } from "../errors.ts";
import { limits } from "../protocol/limits.ts";
import { type AddressSettings, isAllowedAddress } from "./address-policy.ts";

export type OutboundCode =
  | "address_refused"
  | "connect_failed"
  | "request_timeout"
  | "response_too_large"
  | "response_broken";

/**
 * A request that got no answer. `phase` says whether the other side was reached: failures to connect speak of the peer,
 * later ones may speak of what was sent.
 */
export class OutboundError extends ConcordatError {
  declare readonly code: OutboundCode;
  readonly phase: "connect" | "exchange";

  constructor(code: OutboundCode, phase: "connect" | "exchange", message: string, options?: ErrorOptions) {
    super(code, message, options);
    this.phase = phase;
  }
}

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

export interface GuardedFetchSettings extends AddressSettings {
  /** URL of an HTTP proxy. It resolves names, so only the origin of a request can be judged here. */
  readonly proxy?: string;
  /** Every address of a host name. */
  readonly lookup?: (hostname: string) => Promise<readonly ResolvedAddress[]>;
  /** Milliseconds and octets; the defaults are those of the protocol. */
  readonly limits?: Partial<typeof protocolLimits>;
}

const protocolLimits: { readonly connectMs: number; readonly wholeMs: number; readonly responseOctets: number } = {
  connectMs: limits.connectMilliseconds,
  wholeMs: limits.requestMilliseconds,
  responseOctets: limits.responseOctets,
};

export interface OutboundRequest {
  readonly method: "GET" | "POST";
  /** Absolute. HTTPS, or HTTP to loopback and private addresses under the development setting. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly signal?: AbortSignal;
}

export interface OutboundAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Uint8Array;
}

/** Disposing ends all connections, and requests that run with them. */
export interface GuardedFetch extends AsyncDisposable {
  /** One request, one answer of any status; a redirect is an answer. @throws {OutboundError} when there is none */
  request(request: OutboundRequest): Promise<OutboundAnswer>;
  /** Lets running requests end, then closes all connections. */
  close(): Promise<void>;
}

/** One pool of kept connections for each origin. */
export function createGuardedFetch(settings: GuardedFetchSettings): GuardedFetch {
  const limits = { ...protocolLimits, ...settings.limits };
  const dispatcher = createDispatcher(settings, limits);
  return {
    async request(request) {
      const url = new URL(request.url);
      const refusal = judgeUrl(url, settings);
      if (refusal) throw new OutboundError("address_refused", "connect", refusal);
      request.signal?.throwIfAborted();
      return await exchange(dispatcher, url, request, limits);
    },
    close: async () => await dispatcher.close(),
    [Symbol.asyncDispose]: async () => await dispatcher.destroy(),
  };
}

function judgeUrl(url: URL, settings: GuardedFetchSettings): string | null {
  if (url.protocol !== "https:" && !(url.protocol === "http:" && settings.allowPrivateAddresses)) {
    return `${url.origin} is not HTTPS; plain HTTP is for development on loopback and private addresses.`;
  }
  if (url.username || url.password) return "A URL with a user name or a password is not requested.";
  const host = stripBrackets(url.hostname);
  // An address in a URL is never looked up, so the check at the connection's lookup would not see it.
  return isIP(host) !== 0 && !isAllowedAddress(host, url.protocol, settings) ? refusedAddress(url.origin) : null;
}

function refusedAddress(name: string): string {
  return `${name} is not at an address that this node may connect to; see CONCORDAT_ALLOW_NETWORKS.`;
}

function stripBrackets(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}

function createDispatcher(settings: GuardedFetchSettings, limits: typeof protocolLimits): Dispatcher {
  const timeout = limits.connectMs;
  if (settings.proxy !== undefined) {
    return new ProxyAgent({
      uri: settings.proxy,
      connectTimeout: timeout,
      requestTls: { timeout },
      proxyTls: { timeout },
    });
  }
  const connectors = new Map(
    ["http:", "https:"].map((protocol) => {
      const lookup = createLookup(protocol, settings);
      return [protocol, buildConnector({ timeout, lookup } as buildConnector.BuildOptions)];
    }),
  );
  return new Agent({
    connect: (options, callback) => {
      const connector = connectors.get(options.protocol);
      if (connector) connector(options, callback);
      else callback(new OutboundError("address_refused", "connect", "Only HTTP and HTTPS are spoken."), null);
    },
  });
}

/** The lookup that the socket itself uses: what it returns is what is connected to, so no second answer can differ. */
function createLookup(protocol: string, settings: GuardedFetchSettings): LookupFunction {
  const resolve = settings.lookup ?? (async (hostname) => await resolveName(hostname, { all: true }));
  const resolveAllowed = async (hostname: string) => {
    const addresses = await resolve(hostname);
    const allowed = addresses.filter(({ address }) => isAllowedAddress(address, protocol, settings));
    if (allowed.length > 0) return allowed;
    throw new OutboundError("address_refused", "connect", refusedAddress(hostname));
  };
  return (hostname, options, callback) => {
    resolveAllowed(hostname).then(
      ([first, ...others]) => {
        if (options.all) callback(null, first ? [first, ...others] : []);
        else callback(null, first?.address ?? "", first?.family);
      },
      (error) => callback(error, ""),
    );
  };
}

/** Sends and receives under the limits; undici's own dispatch tells when the request has got a connection. */
async function exchange(
  dispatcher: Dispatcher,
  url: URL,
  { method, headers, body, signal }: OutboundRequest,
  { wholeMs, responseOctets }: typeof protocolLimits,
): Promise<OutboundAnswer> {
  return await new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | undefined;
    let failure: unknown;
    let answer: Omit<OutboundAnswer, "body"> | undefined;
    let octets = 0;
    const chunks: Uint8Array[] = [];

    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    const fail = (error: unknown) => {
      failure ??= error;
      end();
      reject(failure);
      controller?.abort(new Error("the request was given up"));
    };
    const onAbort = () => fail(signal?.reason);
    const timer = setTimeout(() => {
      const seconds = `${wholeMs / 1000} s`;
      if (controller)
        fail(new OutboundError("request_timeout", "exchange", `${url.origin} did not answer in ${seconds}.`));
      else fail(new OutboundError("connect_failed", "connect", `No connection to ${url.origin} in ${seconds}.`));
    }, wholeMs);
    signal?.addEventListener("abort", onAbort, { once: true });

    dispatcher.dispatch(
      {
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers: { ...headers, host: url.host },
        body: body ?? null,
        headersTimeout: wholeMs,
        bodyTimeout: wholeMs,
      },
      {
        onRequestStart(started) {
          controller = started;
          if (failure !== undefined) started.abort(new Error("the request was given up"));
        },
        onResponseStart(_, status, received) {
          if (status >= 200) answer = { status, headers: received };
        },
        onResponseData(_, chunk) {
          octets += chunk.length;
          if (octets <= responseOctets) chunks.push(chunk);
          else fail(new OutboundError("response_too_large", "exchange", `${url.origin} answered with too much.`));
        },
        onResponseEnd() {
          end();
          if (answer) resolve({ ...answer, body: Buffer.concat(chunks) });
          else fail(new OutboundError("response_broken", "exchange", `${url.origin} ended without an answer.`));
        },
        onResponseError(_, error) {
          fail(nameFailure(error, url.origin, controller !== undefined));
        },
      },
    );
  });
}

function nameFailure(error: Error, origin: string, connected: boolean): Error {
  if (error instanceof OutboundError) return error;
  const options = { cause: error };
  if (!connected) return new OutboundError("connect_failed", "connect", `No connection to ${origin}.`, options);
  const code = "code" in error ? error.code : null;
  if (code === "UND_ERR_HEADERS_TIMEOUT" || code === "UND_ERR_BODY_TIMEOUT") {
    return new OutboundError("request_timeout", "exchange", `${origin} did not answer in time.`, options);
  }
  return new OutboundError("response_broken", "exchange", `${origin} broke the exchange off.`, options);
}
