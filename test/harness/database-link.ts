import { type NodeOptions, startNode, type TestNode } from "./node.ts";
import { freshDatabaseUrl } from "./servers.ts";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

export interface LinkedNode extends AsyncDisposable {
  readonly node: TestNode;
  /** Between the node and its PostgreSQL; the test's own reads go past it. */
  readonly link: TcpProxy;
}

/** Starts a node whose link to its PostgreSQL can be frozen or cut. */
export async function startLinkedNode({ environment, ...options }: NodeOptions = {}): Promise<LinkedNode> {
  const databaseUrl = (await freshDatabaseUrl()) ?? "";
  const link = await startTcpProxy(new URL(databaseUrl), 5432);
  const settings = { ...environment, CONCORDAT_DATABASE_URL: link.url };
  const node = await startNode({ ...options, store: "postgres", databaseUrl, environment: settings });
  return {
    node,
    link,
    async [Symbol.asyncDispose]() {
      await node[Symbol.asyncDispose]();
      await link[Symbol.asyncDispose]();
    },
  };
}
