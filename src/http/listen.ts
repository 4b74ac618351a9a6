/** Listening on a port, for as long as what listens is not disposed. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { ConcordatError } from "../errors.ts";

/** What a request that is under way may still take when the node closes, milliseconds. */
export const requestGrace = 6_500;

export interface Listener extends AsyncDisposable {
  readonly address: AddressInfo;
}

export interface ListenPlace {
  readonly host: string;
  readonly port: number;
  /** What decides on it, named where it cannot be used. */
  readonly setting: string;
  /** What a request that is under way may still take, milliseconds. */
  readonly grace?: number;
}

/**
 * Listens; disposing stops accepting, lets what runs finish, and ends connections that take too long.
 * @throws {ConcordatError} `listen_in_use`, `listen_failed`
 */
export async function listen(
  server: Server,
  { host, port, setting, grace = requestGrace }: ListenPlace,
): Promise<Listener> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const inUse = error.code === "EADDRINUSE";
      const message = inUse
        ? `${host}:${port} is taken by another process; set ${setting} to another one.`
        : `Cannot listen on ${host}:${port} (${error.code}); check ${setting}.`;
      reject(new ConcordatError(inUse ? "listen_in_use" : "listen_failed", message, { cause: error }));
    });
    server.listen(port, host, resolve);
  });
  return {
    address: server.address() as AddressInfo,
    async [Symbol.asyncDispose]() {
      await new Promise<void>((resolve) => {
        const late = setTimeout(() => server.closeAllConnections(), grace);
        // Those whose request ends meanwhile would be kept for the next one.
        const idle = setInterval(() => server.closeIdleConnections(), 50);
        server.close(() => {
          clearTimeout(late);
          clearInterval(idle);
          resolve();
        });
        server.closeIdleConnections();
      });
    },
  };
}
