/**
 * `projects.get`, `projects.list`: requests a second of a platform that owns 10,000 projects, over 32 connections: one
 * project of them, drawn anew for each request, with its sealed object; the first page of 50. Beside it the same node in
 * the same run while the platform owned 100. A hundred were declared; the others are copies of them in the database.
 */
import type { TestNode } from "../test/harness/node.ts";
import { joinPlatform, sealProject, type TestPlatform } from "../test/harness/platform.ts";
import { createRandom } from "../test/harness/random.ts";
import { type Benchmark, type Figure, figureOf, type Profile } from "./figure.ts";
import { measureLoad } from "./load.ts";
import { type MeasuredNode, startMeasured } from "./nodes.ts";

const few = 100;
const many = 10_000;
const connections = 32;
const gets = { n: 2_000, warmUp: 400 };
const lists = { n: 300, warmUp: 60 };
const content = { description: "x".repeat(1024) };

interface Rates {
  readonly get: number;
  readonly list: number;
}

async function* measureProjects(profile: Profile): AsyncIterable<Figure> {
  await using measured = await startMeasured(profile);
  const { node } = measured;
  const owner = await joinPlatform(node, "owner");
  for (let at = 0; at < few; at += 1) {
    await owner.rest.ok("POST", "/projects", { object: await sealProject(owner, { code: `P-${at}`, content }) });
  }
  const beside = await measureRates(measured, owner);
  await node.stop();
  await copyProjects(node);
  await node.start();
  const own = await measureRates(measured, owner);
  const what = `requests/s at ${few} projects`;
  const common = { profile, unit: "requests/s" };
  yield figureOf({
    ...common,
    name: "projects.get",
    value: own.get,
    beside: { what, value: beside.get },
    n: gets.n,
  });
  yield figureOf({
    ...common,
    name: "projects.list",
    value: own.list,
    beside: { what, value: beside.list },
    n: lists.n,
  });
}

async function measureRates({ ports }: MeasuredNode, owner: TestPlatform): Promise<Rates> {
  const ids = (await owner.rest.list("/projects")).map(({ id }) => String(id));
  const random = createRandom(1);
  const draw = () => ids[Math.floor(random() * ids.length)];
  const measureGets = ({ n, warmUp }: typeof gets, path: () => string) => {
    const requests = Array.from({ length: warmUp + n }, () => writeGet(owner, path()));
    return measureLoad({ ports, connections, requests, warmUp }, 200);
  };
  return {
    get: await measureGets(gets, () => `/projects/${draw()}`),
    list: await measureGets(lists, () => "/projects"),
  };
}

function writeGet({ node, rest }: TestPlatform, path: string): Uint8Array {
  const lines = [`host: ${new URL(node.origin).host}`, `authorization: Bearer ${rest.token}`];
  return Buffer.from(`${[`GET /api/v1${path} HTTP/1.1`, ...lines].join("\r\n")}\r\n\r\n`);
}

/** Makes many of the few that a stopped node has: rows that differ in name and time alone. */
async function copyProjects(node: TestNode): Promise<void> {
  await node.query(`
    insert into objects (uri, id, type, owner_uri, local, revision, digest, protocol, object, code, name, status,
      created_at, updated_at)
    select replace(uri, id::text, copy::text), copy, type, owner_uri, local, revision, digest, protocol,
      replace(object::text, id::text, copy::text)::json, code || '-' || number, name, status,
      created_at - number * interval '1 minute', updated_at - number * interval '1 minute'
    from (select *, gen_random_uuid() as copy from objects, generate_series(1, ${many / few - 1}) as number) as copies`);
  await node.query(`
    insert into access (object_uri, platform_uri, mode, starts_at)
    select uri, owner_uri, 'owner', created_at from objects
    where not exists (select from access where object_uri = uri)`);
  // As the node's database is after a while: autovacuum would have come by.
  await node.query("analyze");
}

export const projectsBenchmarks: readonly Benchmark[] = [
  { names: ["projects.get", "projects.list"], run: measureProjects },
];
