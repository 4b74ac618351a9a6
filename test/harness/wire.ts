/** HTTP as a stranger writes it: exactly these lines, or exactly these octets. */
import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";
import type { Json } from "./rest.ts";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Json;
}

/** One HTTP request with exactly these header lines, and Content-Length. */
export async function sendRequest(
  origin: string,
  sent: {
    readonly method: string;
    readonly path: string;
    readonly headers: readonly (readonly [string, string])[];
    readonly body?: Buffer;
    /** Keeps the last octet of the body back until then. */
    readonly lastOctet?: Promise<unknown>;
  },
): Promise<Answer> {
  const { hostname, port, host } = new URL(origin);
  const { method, path, body = Buffer.alloc(0) } = sent;
  const lines = sent.headers.some(([name]) => name.toLowerCase() === "host")
    ? sent.headers
    : [["Host", host] as const, ...sent.headers];
  const bounded = [...lines, ["Content-Length", String(body.length)] as const, ["Connection", "close"] as const];
  return await new Promise((resolve, reject) => {
    const outgoing = request({
      hostname,
      port,
      method,
      path,
      headers: bounded.flat() as never,
      setHost: false,
      agent: false,
    });
    outgoing.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        const isJson = /json/.test(response.headers["content-type"] ?? "");
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: isJson ? (JSON.parse(text) as Json) : {},
        });
      });
    });
    outgoing.on("error", reject);
    if (sent.lastOctet === undefined) {
      outgoing.end(body);
    } else {
      outgoing.write(body.subarray(0, -1));
      void sent.lastOctet.then(() => outgoing.end(body.subarray(-1)));
    }
  });
}

/** Sends these octets over a socket of its own and gives everything that comes back until the other side closes. */
export async function sendRaw(origin: string, octets: string | Buffer, waitMilliseconds = 3_000): Promise<string> {
  const { hostname, port } = new URL(origin);
  return await new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    const chunks: Buffer[] = [];
    const end = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(chunks).toString());
    };
    const timer = setTimeout(end, waitMilliseconds);
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("close", end);
    socket.on("error", (error: NodeJS.ErrnoException) => (error.code === "ECONNRESET" ? end() : reject(error)));
    socket.write(octets);
  });
}
