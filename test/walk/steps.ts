/** What happens in a walk: each step is drawn by chance, done, and written into the model as the node answered. */
import { type PlatformKeys, type Grant as SealedGrant, sealEdit, sealNext, sealProject } from "../harness/platform.ts";
import type { Json, RestAnswer } from "../harness/rest.ts";
import {
  addSnapshot,
  adopt,
  currentOf,
  digestOf,
  type Grant,
  type Mode,
  type Model,
  type ModelProject,
} from "./model.ts";
import { adminOf, readAs, type Walker, type WalkNode, type World } from "./world.ts";

export interface Walk {
  readonly world: World;
  readonly model: Model;
  readonly random: () => number;
}

type Step = (walk: Walk) => Promise<string>;

const greatestProjects = 12;
/** What the owner's node may answer to a write when it and the clock have moved on meanwhile. */
const overtaken = new Set(["revision_stale", "recipients_stale"]);
/** The same for a grantee, whose own node may not know yet what was withdrawn. */
const lost = new Set([...overtaken, "not_found", "not_owner", "grants_refused"]);

const pick = <T>({ random }: Walk, items: readonly T[]): T | undefined => items[Math.floor(random() * items.length)];
const living = ({ model }: Walk) => model.projects.filter(({ deleted }) => !deleted);
const keysOf = ({ world }: Walk, uri: string): PlatformKeys => world.walkerOf(uri).platform;

/** The grants that an envelope is sealed for, and which stand in the object. */
function sealedGrants(walk: Walk, grants: ReadonlyMap<string, Grant>): readonly SealedGrant[] {
  return [...grants].map(([uri, { mode, expires }]) => ({
    to: keysOf(walk, uri),
    mode,
    ...(expires === undefined ? {} : { expires: new Date(expires).toISOString() }),
  }));
}
const isSealedFor = ({ expires }: SealedGrant) => expires === undefined || Date.parse(expires) > Date.now();

const declare: Step = async (walk) => {
  const owner = pick(walk, walk.world.walkers);
  if (!owner?.node.up || living(walk).length >= greatestProjects) return "nothing declared";
  const code = `P${walk.model.projects.length}`;
  const content = { description: code };
  const object = await sealProject(owner.platform, { code, content });
  const { uri } = owner.platform;
  const project: ModelProject = {
    uri: String(object.id),
    code,
    owner: uri,
    snapshots: new Map(),
    current: "",
    ownersWord: "",
    deleted: false,
  };
  const digest = addSnapshot(project, { object, revision: 1, grants: new Map(), content, sender: uri });
  project.current = digest;
  project.ownersWord = digest;
  expectStatus(await owner.call("POST", "/projects", { object }), 201);
  walk.model.projects.push(project);
  return `declared ${code}`;
};

/** The next revision by the owner, on what its node holds by now. */
async function revise(
  walk: Walk,
  project: ModelProject,
  verb: "PATCH" | "share" | "unshare",
  change: (grants: ReadonlyMap<string, Grant>) => ReadonlyMap<string, Grant>,
): Promise<string> {
  const owner = walk.world.walkerOf(project.owner);
  if (!owner.node.up) return "the owner's node is down";
  const shown = await readAs(owner, project.uri);
  if (shown === undefined) throw new Error(`${project.code} is gone at its owner's`);
  adopt(project, shown.object as Json);
  const before = currentOf(project);
  const grants = change(before.grants);
  const content = { description: `${project.code} at ${before.revision + 1}` };
  const listed = sealedGrants(walk, grants);
  const named = verb === "PATCH" ? { name: `Revision ${before.revision + 1}` } : {};
  const clear = { ...named, "hf:grants": listed.map(grantOf) };
  const sealing = { grants: listed.filter(isSealedFor), clear, content };
  const object = await sealNext(owner.platform, before.object, sealing);
  const path = `/projects/${String(shown.id)}${verb === "PATCH" ? "" : `/${verb}`}`;
  const answer = await owner.call(verb === "PATCH" ? "PATCH" : "POST", path, { object });
  if (answer?.status !== 200) return `${verb} of ${project.code}: ${expectCode(answer, overtaken)}`;
  const snapshot = { object, revision: before.revision + 1, grants, content, sender: project.owner };
  addSnapshot(project, snapshot);
  adopt(project, object);
  return `${verb} of ${project.code}, revision ${before.revision + 1}`;
}

const grantOf = ({ to, mode = "readonly", from = "2026-01-01T00:00:00Z", expires }: SealedGrant) => ({
  platform: to.uri,
  mode,
  from,
  ...(expires === undefined ? {} : { expires }),
});

const edit: Step = async (walk) => {
  const project = pick(walk, living(walk));
  return project === undefined ? "nothing to edit" : await revise(walk, project, "PATCH", (grants) => grants);
};

const share: Step = async (walk) => {
  const project = pick(walk, living(walk));
  if (project === undefined) return "nothing to share";
  const others = walk.world.walkers.filter(({ platform }) => platform.uri !== project.owner);
  const grantee = pick(walk, others) as Walker;
  const mode: Mode = walk.random() < 0.5 ? "editable" : "readonly";
  const expires = walk.random() < 0.1 ? { expires: Date.now() + 5_000 } : {};
  return await revise(walk, project, "share", (grants) => {
    return new Map([...grants, [grantee.platform.uri, { mode, ...expires }]]);
  });
};

const unshare: Step = async (walk) => {
  const project = pick(
    walk,
    living(walk).filter((one) => currentOf(one).grants.size > 0),
  );
  if (project === undefined) return "nothing to withdraw";
  const grantee = pick(walk, [...currentOf(project).grants.keys()]);
  return await revise(walk, project, "unshare", (grants) => {
    return new Map([...grants].filter(([uri]) => uri !== grantee));
  });
};

const remove: Step = async (walk) => {
  const project = pick(walk, living(walk));
  if (project === undefined) return "nothing to delete";
  const owner = walk.world.walkerOf(project.owner);
  if (!owner.node.up) return "the owner's node is down";
  const shown = await readAs(owner, project.uri);
  adopt(project, (shown as Json).object as Json);
  expectStatus(await owner.call("DELETE", `/projects/${String((shown as Json).id)}`), 204);
  project.deleted = true;
  return `deleted ${project.code}`;
};

/** An editable grantee revises what its own node shows it, which may be old. */
const editAsGrantee: Step = async (walk) => {
  const project = pick(walk, living(walk));
  const editors = [...(project ? currentOf(project).grants : [])].filter(([, { mode }]) => mode === "editable");
  const editor = pick(walk, editors)?.[0];
  const walker = editor === undefined ? undefined : walk.world.walkerOf(editor);
  if (project === undefined || !walker?.node.up) return "no grantee edits";
  const shown = await readAs(walker, project.uri);
  if (shown === undefined) return "no grantee edits";
  const before = project.snapshots.get(digestOf(shown.object as Json));
  if (!before) throw new Error(`nobody has sealed what is shown of ${project.code}`);
  if (shown.access !== "editable") return "no grantee edits";
  const content = { description: `${project.code} by ${walker.platform.handle} at ${before.revision + 1}` };
  const object = await sealEdit(walker.platform, keysOf(walk, project.owner), before.object, {
    grants: sealedGrants(walk, before.grants).filter(isSealedFor),
    clear: { name: `By ${walker.platform.handle}` },
    content,
  });
  const { uri } = walker.platform;
  addSnapshot(project, { object, revision: before.revision + 1, grants: before.grants, content, sender: uri });
  const answer = await walker.call("PATCH", `/projects/${String(shown.id)}`, { object });
  if (answer?.status !== 200) return `edit of ${project.code}: ${expectCode(answer, lost)}`;
  if (walker.node === walk.world.walkerOf(project.owner).node) adopt(project, object);
  else walk.model.proposals += 1;
  return `${walker.platform.handle} edits ${project.code}, revision ${before.revision + 1}`;
};

const peerOf = async (at: WalkNode, of: WalkNode) => {
  const admin = await adminOf(at);
  const [peer] = await admin.list(`/peers?origin=${encodeURIComponent(of.node.origin)}`);
  return { admin, peer: peer as Json };
};

const suspendOrResume: Step = async (walk) => {
  const at = pick(walk, walk.world.nodes) as WalkNode;
  const of = pick(
    walk,
    walk.world.nodes.filter((one) => one !== at),
  ) as WalkNode;
  if (!at.up) return "the node is down";
  const { admin, peer } = await peerOf(at, of);
  const verb = peer.state === "approved" ? "suspend" : "resume";
  expectStatus(await admin.call("POST", `/peers/${String(peer.id)}/${verb}`, {}), 200);
  return `${at.node.origin} ${verb}s ${of.node.origin}`;
};

const endProcess =
  (how: "stop" | "kill"): Step =>
  async (walk) => {
    const node = pick(walk, walk.world.nodes) as WalkNode;
    if (!node.up) {
      await node.node.start();
      node.up = true;
      return `${node.node.origin} is back`;
    }
    node.up = false;
    await node.node[how]();
    return `${how} of ${node.node.origin}`;
  };

const rotate: Step = async (walk) => {
  const node = pick(walk, walk.world.nodes) as WalkNode;
  if (node.up) await node.node.stop();
  await node.node.command("node-keys", "rotate");
  await node.node.start();
  node.up = true;
  return `${node.node.origin} has new keys`;
};

/** How often each step comes, of all together. */
const chances: readonly (readonly [number, Step])[] = [
  [10, declare],
  [18, edit],
  [24, share],
  [12, unshare],
  [4, remove],
  [20, editAsGrantee],
  [5, suspendOrResume],
  [3, endProcess("stop")],
  [4, endProcess("kill")],
  [1, rotate],
];
const total = chances.reduce((sum, [chance]) => sum + chance, 0);

/** One step of a walk; says what it did. @throws when a node answers what it must not */
export async function takeStep(walk: Walk): Promise<string> {
  let drawn = walk.random() * total;
  for (const [chance, step] of chances) {
    drawn -= chance;
    if (drawn < 0) return await step(walk);
  }
  return await edit(walk);
}

/** All nodes up, nobody suspended. */
export async function putInOrder({ world }: Walk): Promise<void> {
  for (const node of world.nodes.filter(({ up }) => !up)) {
    await node.node.start();
    node.up = true;
  }
  for (const at of world.nodes) {
    const admin = await adminOf(at);
    for (const peer of await admin.list("/peers?state=suspended")) {
      expectStatus(await admin.call("POST", `/peers/${String(peer.id)}/resume`, {}), 200);
    }
  }
}

function expectStatus(answer: RestAnswer | undefined, status: number): void {
  if (answer?.status !== status) throw new Error(`answered ${answer?.status} ${JSON.stringify(answer?.body)}`);
}

function expectCode(answer: RestAnswer | undefined, codes: ReadonlySet<string>): string {
  const code = String(answer?.body.code);
  if (!codes.has(code)) throw new Error(`answered ${answer?.status} ${JSON.stringify(answer?.body)}`);
  return code;
}
