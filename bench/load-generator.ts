/**
 * The other side of a benchmark, in a process of its own: sends requests that were written before, octets as they are,
 * over connections that are kept, and says how long that took. It is told once, and answers once.
 */
import { connect } from "node:net";

export interface Load {
  /** Each connection goes to the next of them. */
  readonly ports: readonly number[];
  readonly connections: number;
  readonly requests: readonly Uint8Array[];
  /** So many of them come first and are not measured. */
  readonly warmUp: number;
}

export interface LoadResult {
  readonly seconds: number;
  /** How often each status was answered. */
  readonly statuses: Readonly<Record<number, number>>;
}

process.once("message", (load: Load) => {
  void sendAll(load).then((result) => process.send?.(result, () => process.disconnect()));
});

async function sendAll({ ports, connections, requests, warmUp }: Load): Promise<LoadResult> {
  const statuses: Record<number, number> = {};
  const send = async (from: number, to: number) => {
    let next = from;
    await Promise.all(
      Array.from({ length: connections }, async (_, number) => {
        const connection = await openConnection(ports[number % ports.length] as number);
        while (next < to) {
          const status = await connection.exchange(requests[next++] as Uint8Array);
          statuses[status] = (statuses[status] ?? 0) + 1;
        }
        connection.close();
      }),
    );
  };
  await send(0, warmUp);
  const start = performance.now();
  await send(warmUp, requests.length);
  return { seconds: (performance.now() - start) / 1000, statuses };
}

interface Connection {
  readonly exchange: (request: Uint8Array) => Promise<number>;
  readonly close: () => void;
}

/** HTTP/1.1 as far as it is needed: one answer at a time, with a Content-Length. */
async function openConnection(port: number): Promise<Connection> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  let received = Buffer.alloc(0);
  let answered: { readonly resolve: (status: number) => void; readonly reject: (error: Error) => void } | undefined;
  const fail = (error: Error) => answered?.reject(error);
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("the connection was closed")));
  socket.on("data", (chunk) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    const head = received.indexOf("\r\n\r\n");
    if (head < 0) return;
    const text = received.toString("latin1", 0, head);
    const end = head + 4 + Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1] ?? 0);
    if (received.length < end) return;
    received = received.subarray(end);
    answered?.resolve(Number(text.slice(9, 12)));
  });
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  return {
    exchange: (request) =>
      new Promise((resolve, reject) => {
        answered = { resolve, reject };
        socket.write(request);
      }),
    close: () => {
      answered = undefined;
      socket.destroy();
    },
  };
}
