import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A link to a server that a test can freeze or cut: the tests' own, since the kernel has no slow or broken ones. */
export interface TcpProxy extends AsyncDisposable {
  /** The server's URL with the proxy's address in it. */
  readonly url: string;
  /** How many it has open. */
  readonly connections: number;
  /** Accepts connections and data, and forwards nothing until it is thawed. */
  freeze(): void;
  thaw(): void;
  /** Ends every connection and refuses new ones, until it is mended. */
  cut(): void;
  mend(): void;
}

/** Stands before the server at `target`, whose URL has a port, or `port` is taken. */
export async function startTcpProxy(target: URL, port: number): Promise<TcpProxy> {
  let frozen = false;
  let broken = false;
  const sockets = new Set<Socket>();
  const links = new Set<Socket>();
  /** Whose other side has ended while frozen: they hear of it at the thaw. */
  const orphans = new Set<Socket>();
  const server = createServer((near) => {
    if (broken) {
      near.destroy();
      return;
    }
    links.add(near);
    near.on("close", () => links.delete(near));
    const far = connect(Number(target.port || port), target.hostname);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        if (frozen) orphans.add(to);
        else to.destroy();
      });
      from.on("data", (octets) => to.write(octets));
      if (frozen) from.pause();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const proxied = new URL(target);
  proxied.hostname = "127.0.0.1";
  proxied.port = String((server.address() as AddressInfo).port);
  const endAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: proxied.href,
    get connections() {
      return links.size;
    },
    freeze() {
      frozen = true;
      for (const socket of sockets) socket.pause();
    },
    thaw() {
      frozen = false;
      for (const socket of sockets) socket.resume();
      for (const socket of orphans) socket.destroy();
      orphans.clear();
    },
    cut() {
      broken = true;
      endAll();
    },
    mend() {
      broken = false;
    },
    async [Symbol.asyncDispose]() {
      endAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
