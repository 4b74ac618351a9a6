/** What stands in the databases once all is quiet: who may read what, and no ciphertext where nobody may read it. */
import * as assert from "uvu/assert";
import type { Json } from "../harness/rest.ts";
import { currentOf, type ModelProject } from "./model.ts";
import type { WalkNode } from "./world.ts";
import type { Walk } from "./writes.ts";

const rowsOfObjects = `
  select o.uri, o.deleted_at is not null as deleted, o.object is not null as kept,
    coalesce(json_agg(json_build_array(a.platform_uri, a.mode))
      filter (where a.ended_revision is null and a.platform_uri is not null), '[]') as holders
  from objects o left join access a on a.object_uri = o.uri group by o.uri`;

/** Stops the nodes, since an embedded database is read while its node is away. */
export async function assertRows(walk: Walk): Promise<void> {
  const { nodes } = walk.world;
  for (const at of nodes) at.up = false;
  await Promise.all(nodes.map(({ node }) => node.stop()));
  for (const at of nodes) {
    const rows = new Map((await at.node.query(rowsOfObjects)).map((row) => [String(row.uri), row]));
    for (const project of walk.model.projects) assertRow(walk, at, project, rows.get(project.uri));
  }
}

function assertRow({ world }: Walk, at: WalkNode, project: ModelProject, row: Json | undefined): void {
  const where = `${project.code} at ${at.node.origin}`;
  const isHome = world.walkerOf(project.owner).node === at;
  const isKept = row?.kept === true;
  if (project.deleted) {
    assert.ok(!isHome || row?.deleted === true, `${where}: its home keeps a tombstone`);
    assert.is(isKept, false, `${where}: the ciphertext of what is deleted`);
    return;
  }
  // A node elsewhere answers for its own platforms: of others it hears no more once it holds nothing of the project.
  const counts = (uri: string) => isHome || world.walkerOf(uri).node === at;
  const grants = [...currentOf(project).grants].map(([uri, { mode }]) => [uri, mode] as const);
  const granted = [[project.owner, "owner"] as const, ...grants].filter(([uri]) => counts(uri));
  const holders = ((row?.holders ?? []) as [string, string][]).filter(([uri]) => counts(uri));
  assert.equal(holders.sort(), [...granted].sort(), `${where}: its access rows`);
  assert.is(isKept, granted.length > 0, `${where}: its ciphertext`);
}
