/**
 * `share.opened.*`: from the request that shares a project with a platform of another node until that platform has had
 * the event, fetched the project and opened it. Two nodes, each a process, approved peers on loopback; one share after
 * the other. Beside it an object of that kind sent to a bare server, which sends it back, and opened.
 */
import { request } from "undici";
import { createRestClient, watchEvents } from "../src/sdk/index.ts";
import { makePeers } from "../test/harness/node.ts";
import {
  joinPlatform,
  openAs,
  readProject,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../test/harness/platform.ts";
import type { Json } from "../test/harness/rest.ts";
import { startChild } from "./child-server.ts";
import { type Benchmark, type Figure, figureOf, type Profile, quantile } from "./figure.ts";
import { startMeasured } from "./nodes.ts";

const n = 200;
const warmUp = 20;
const content = { description: "x".repeat(1024) };

interface Declared {
  readonly id: string;
  readonly uri: string;
  /** Its next revision, with a grant. */
  readonly shared: Json;
}

async function declare(owner: TestPlatform, reader: TestPlatform, code: string): Promise<Declared> {
  const object = await sealProject(owner, { code, content });
  const { id } = await owner.rest.ok("POST", "/projects", { object });
  const shared = await sealNext(owner, object, { grants: [{ to: reader }], content });
  return { id: String(id), uri: String(object.id), shared };
}

async function* measureShares(profile: Profile): AsyncIterable<Figure> {
  await using giving = await startMeasured(profile);
  await using taking = await startMeasured(profile);
  await makePeers(giving.node, taking.node);
  const owner = await joinPlatform(giving.node, "owner");
  const reader = await joinPlatform(taking.node, "reader");
  await untilKnown(owner, reader);

  const ending = new AbortController();
  const events = watchShares(reader, ending.signal);
  await using echo = await startChild<number>("echo", {});
  const times: number[] = [];
  const bare: number[] = [];
  try {
    for (let at = 0; at < warmUp + n; at += 1) {
      const { id, uri, shared } = await declare(owner, reader, `P-${at}`);
      const start = performance.now();
      const sharing = owner.rest.ok("POST", `/projects/${id}/share`, { object: shared });
      const { value: event } = await events.next();
      if (event?.object !== uri) throw new Error(`the event tells of ${event?.object}, not of ${uri}`);
      const project = await readProject(reader, uri);
      await openAs(reader, owner, project?.object as Json);
      times.push(performance.now() - start);
      await sharing;

      const bareStart = performance.now();
      const url = `http://127.0.0.1:${echo.ready}/`;
      const answer = await request(url, { method: "POST", body: JSON.stringify(shared) });
      await openAs(reader, owner, (await answer.body.json()) as Json);
      bare.push(performance.now() - bareStart);
    }
  } finally {
    ending.abort();
  }
  const measured = times.slice(warmUp);
  const what = "a bare server that sends it back, and opening";
  for (const [name, part] of [["share.opened.p50", 0.5] as const, ["share.opened.p99", 0.99] as const]) {
    const beside = { what, value: quantile(bare.slice(warmUp), part) };
    yield figureOf({ name, profile, value: quantile(measured, part), unit: "ms", beside, n });
  }
}

/** What is shared with a platform, as its client's watch tells it, from the beginning. */
function watchShares({ node, handle, accessKey }: TestPlatform, signal: AbortSignal) {
  const { origin } = node;
  const dependencies = { origin, fetch, clock: () => new Date() };
  const credentials = { username: handle, password: accessKey };
  const client = createRestClient(dependencies, { credentials });
  return watchEvents(client, { after: 0, types: ["project.shared"], signal });
}

export const shareBenchmarks: readonly Benchmark[] = [
  { names: ["share.opened.p50", "share.opened.p99"], run: measureShares },
];
