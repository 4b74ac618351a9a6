/** What all connections to PostgreSQL have in common. */
import pg from "pg";
import { ConcordatError } from "../errors.ts";

/** Settings of a connection; the server notices within 25 s when the machine at our end is gone. */
export function connectionSettings(url: string) {
  const session = {
    // Raw SQL gives instants as text, in the zone of the session.
    TimeZone: "UTC",
    tcp_keepalives_idle: 10,
    tcp_keepalives_interval: 5,
    tcp_keepalives_count: 3,
  };
  return {
    connectionString: url,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    application_name: "concordat",
    options: Object.entries(session)
      .map(([name, value]) => `-c ${name}=${value}`)
      .join(" "),
  } satisfies pg.ClientConfig;
}

/** A connection outside of any pool, yet to be opened. @param onLost told when it ends by itself */
export function createClient(
  url: string,
  settings: pg.ClientConfig = {},
  onLost: (error: Error) => void = () => {},
): pg.Client {
  const client = new pg.Client({ ...connectionSettings(url), ...settings });
  // Without a listener a connection that ends would end the process.
  client.on("error", onLost);
  return client;
}

/** Opens a connection outside of any pool. */
export async function connectClient(...options: Parameters<typeof createClient>): Promise<pg.Client> {
  const client = createClient(...options);
  await client.connect();
  return client;
}

/** How long a server may take for its goodbye, milliseconds. */
const goodbye = 1_000;

/** Ends a connection, by force where the server does not answer. */
export async function endClient(client: pg.Client): Promise<void> {
  const late = setTimeout(() => client.connection.stream.destroy(), goodbye);
  await client.end().catch(() => {});
  clearTimeout(late);
}

/** Where a database is, without user and password: `127.0.0.1:5432/concordat`. */
export function placeOf(url: string): string {
  const { hostname, port, pathname } = new URL(url);
  return `${hostname}:${port || 5432}${pathname}`;
}

export function unreachable(url: string, cause: unknown): ConcordatError {
  return new ConcordatError(
    "database_unreachable",
    `PostgreSQL at ${placeOf(url)} does not answer or cannot be written to (${(cause as Error).message}): ` +
      "start it, or correct CONCORDAT_DATABASE_URL.",
    { cause },
  );
}
