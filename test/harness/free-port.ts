import { createServer } from "node:net";

/**
 * A port of loopback that nobody listens on now and that this process has not been given before. It is none of those
 * that the system hands out by itself: a connection that somebody opens meanwhile, or another node that is started at
 * the same time, would have it before the node that it is meant for.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (!given.has(port) && (await canListen(port))) {
      given.add(port);
      return port;
    }
  }
}

/** Below the ephemeral ports of Linux (32768), macOS and Windows (49152). */
const FIRST = 12_000;
const COUNT = 20_000;

const given = new Set<number>();

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
