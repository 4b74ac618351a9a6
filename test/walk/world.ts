/** Three nodes in processes of their own, two platforms on each, all peers of each other. */
import { startCluster } from "../harness/cluster.ts";
import { makePeers, startNode, type TestNode } from "../harness/node.ts";
import { joinPlatform, type TestPlatform, untilKnown } from "../harness/platform.ts";
import { type Json, logIn, type Rest, type RestAnswer } from "../harness/rest.ts";
import { freshDatabaseUrl, type OwnServers } from "../harness/servers.ts";
import { until } from "../harness/until.ts";
import type { Shared } from "./disturbances.ts";

/** A platform whose token is renewed when it is over: a walk takes longer than a session, and keys rotate. */
export interface Walker {
  readonly platform: TestPlatform;
  readonly node: WalkNode;
  /** Undefined while its node does not answer. */
  call(method: string, path: string, body?: unknown): Promise<RestAnswer | undefined>;
}

export interface WalkNode {
  readonly node: TestNode;
  up: boolean;
}

export interface World extends AsyncDisposable {
  readonly nodes: readonly WalkNode[];
  /** The first node, where it is one of several processes. */
  readonly shared?: Shared;
  readonly walkers: readonly Walker[];
  walkerOf(uri: string): Walker;
}

export interface WorldOptions {
  /** Compiled `main.js` of the nodes. */
  readonly program?: string | undefined;
  /** The first node on the server profile, with these servers: two web and two worker processes. */
  readonly servers?: OwnServers | undefined;
}

export async function buildWorld({ program, servers }: WorldOptions): Promise<World> {
  const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
  const options = program === undefined ? {} : { program };
  const cluster = servers && (await startCluster({ ...options, servers }));
  const alone = { ...options, child: true };
  const started = [
    cluster ?? (await startNode({ ...alone, store })),
    ...(await Promise.all([startNode(alone), startNode(alone)])),
  ] as const;
  const nodes: WalkNode[] = started.map((node) => ({ node, up: true }));
  const [first, second, third] = started;
  const platforms: TestPlatform[] = [];
  for (const [at, node] of started.entries()) {
    for (const name of ["a", "b"]) platforms.push(await joinPlatform(node, `${name}${at}`));
  }
  for (const [asking, asked] of [
    [first, second],
    [first, third],
    [second, third],
  ] as const) {
    await makePeers(asking, asked);
  }
  for (const platform of platforms) await untilKnown(platform, ...platforms.filter((other) => other !== platform));
  const walkers = platforms.map((platform) => {
    return createWalker(platform, nodes.find(({ node }) => node === platform.node) as WalkNode);
  });
  return {
    nodes,
    ...(servers && cluster && { shared: { cluster, servers } }),
    walkers,
    walkerOf: (uri) => walkers.find(({ platform }) => platform.uri === uri) as Walker,
    async [Symbol.asyncDispose]() {
      await Promise.all(started.map((node) => node[Symbol.asyncDispose]()));
    },
  };
}

function createWalker(platform: TestPlatform, node: WalkNode): Walker {
  let rest: Rest = platform.rest;
  const ask: Walker["call"] = async (method, path, body) => {
    const answer = await rest.call(method, path, body);
    if (answer.status === 401) rest = await logIn(platform.node.origin, platform.handle, platform.accessKey);
    return answer.status === 401 || answer.status >= 500 ? undefined : answer;
  };
  return {
    platform,
    node,
    async call(method, path, body) {
      if (!node.up) return undefined;
      // One that is killed meanwhile may or may not have stored what it was sent: the same again makes no difference.
      return await until("the node answers", () => ask(method, path, body), 90_000);
    },
  };
}

/** The project as `walker` sees it; undefined when it does not. @throws when its node is down */
export async function readAs(walker: Walker, uri: string): Promise<Json | undefined> {
  const answer = await walker.call("GET", `/projects?include=object&uri=${encodeURIComponent(uri)}`);
  if (answer === undefined || answer.status !== 200)
    throw new Error(`${walker.platform.uri} cannot read: ${answer?.status}`);
  return (answer.body.items as Json[])[0];
}

/** Tokens of administrators end, too. */
export async function adminOf({ node }: WalkNode): Promise<Rest> {
  return await logIn(node.origin, "admin", "not-a-secret-in-a-test");
}

/** Waits until nothing waits to be delivered. What a node sends on comes of what it was sent: twice quiet is quiet. */
export async function untilQuiet({ nodes }: World, patience: number): Promise<void> {
  const admins = await Promise.all(nodes.map(adminOf));
  const countQueued = async (admin: Rest) => (await admin.list("/deliveries?state=queued")).length;
  const isQuiet = async () => (await Promise.all(admins.map(countQueued))).every((count) => count === 0);
  for (const time of ["once", "twice"]) await until(`everything is delivered, ${time}`, isQuiet, patience);
}
