/** What platforms write in a walk: each write is done, and written into the model as the node answered. */
import { type PlatformKeys, type Grant as SealedGrant, sealEdit, sealNext, sealProject } from "../harness/platform.ts";
import { pick, type Random } from "../harness/random.ts";
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
import { readAs, type Walker, type World } from "./world.ts";

export interface Walk {
  readonly world: World;
  readonly model: Model;
  readonly random: Random;
}

/** Says what it did; undefined when there was nothing to do. */
export type Step = (walk: Walk) => Promise<string | undefined>;

const greatestProjects = 12;
/** What the owner's node may answer to a write when it and the clock have moved on meanwhile. */
const overtaken = new Set(["revision_stale", "recipients_stale"]);
/** The same for a grantee, whose own node may not know yet what was withdrawn. */
const lost = new Set([...overtaken, "not_found", "not_owner", "grants_refused"]);

export const living = ({ model }: Walk) => model.projects.filter(({ deleted }) => !deleted);
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

export const declare: Step = async (walk) => {
  const owner = pick(walk.random, walk.world.walkers);
  if (!owner?.node.up || living(walk).length >= greatestProjects) return undefined;
  const code = `P${walk.model.projects.length}`;
  const content = { description: code };
  const object = await sealProject(owner.platform, { code, content });
  const { uri } = owner.platform;
  const project: ModelProject = {
    uri: String(object.id),
    code,
    owner: uri,
    snapshots: new Map(),
    taken: new Set(),
    proposed: new Set(),
    current: "",
    ownersWord: "",
    deleted: false,
  };
  const digest = addSnapshot(project, { object, revision: 1, grants: new Map(), content, sender: uri });
  project.taken.add(digest);
  project.current = digest;
  project.ownersWord = digest;
  expectStatus(await owner.call("POST", "/projects", { object }), 201);
  walk.model.projects.push(project);
  return `declared ${code}`;
};

/** The next revision by the owner, on what its node holds by now. */
export async function revise(
  walk: Walk,
  project: ModelProject,
  verb: "PATCH" | "share" | "unshare",
  change: (grants: ReadonlyMap<string, Grant>) => ReadonlyMap<string, Grant>,
): Promise<string | undefined> {
  const owner = walk.world.walkerOf(project.owner);
  if (!owner.node.up) return undefined;
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

export const edit: Step = async (walk) => {
  const project = pick(walk.random, living(walk));
  return project === undefined ? undefined : await revise(walk, project, "PATCH", (grants) => grants);
};

export const share: Step = async (walk) => {
  const project = pick(walk.random, living(walk));
  if (project === undefined) return undefined;
  const others = walk.world.walkers.filter(({ platform }) => platform.uri !== project.owner);
  const grantee = pick(walk.random, others) as Walker;
  const mode: Mode = walk.random() < 0.5 ? "editable" : "readonly";
  const expires = walk.random() < 0.1 ? { expires: Date.now() + 5_000 } : {};
  return await revise(walk, project, "share", (grants) => {
    return new Map([...grants, [grantee.platform.uri, { mode, ...expires }]]);
  });
};

export const unshare: Step = async (walk) => {
  const project = pick(
    walk.random,
    living(walk).filter((one) => currentOf(one).grants.size > 0),
  );
  if (project === undefined) return undefined;
  const grantee = pick(walk.random, [...currentOf(project).grants.keys()]);
  return await revise(walk, project, "unshare", (grants) => {
    return new Map([...grants].filter(([uri]) => uri !== grantee));
  });
};

export const remove: Step = async (walk) => {
  const project = pick(walk.random, living(walk));
  if (project === undefined) return undefined;
  const owner = walk.world.walkerOf(project.owner);
  if (!owner.node.up) return undefined;
  const shown = await readAs(owner, project.uri);
  adopt(project, (shown as Json).object as Json);
  expectStatus(await owner.call("DELETE", `/projects/${String((shown as Json).id)}`), 204);
  project.deleted = true;
  return `deleted ${project.code}`;
};

/** An editable grantee revises what its own node shows it, which may be old. */
export const editAsGrantee: Step = async (walk) => {
  const project = pick(walk.random, living(walk));
  const editors = [...(project ? currentOf(project).grants : [])].filter(([, { mode }]) => mode === "editable");
  const editor = pick(walk.random, editors)?.[0];
  const walker = editor === undefined ? undefined : walk.world.walkerOf(editor);
  if (project === undefined || !walker?.node.up) return undefined;
  const shown = await readAs(walker, project.uri);
  if (shown === undefined) return undefined;
  const before = project.snapshots.get(digestOf(shown.object as Json));
  if (!before) throw new Error(`nobody has sealed what is shown of ${project.code}`);
  if (shown.access !== "editable") return undefined;
  const content = { description: `${project.code} by ${walker.platform.handle} at ${before.revision + 1}` };
  const object = await sealEdit(walker.platform, keysOf(walk, project.owner), before.object, {
    grants: sealedGrants(walk, before.grants).filter(isSealedFor),
    clear: { name: `By ${walker.platform.handle}` },
    content,
  });
  const { uri } = walker.platform;
  // What a node elsewhere shows, the owner's has taken.
  project.taken.add(digestOf(before.object));
  const sealed = { object, revision: before.revision + 1, grants: before.grants, content, sender: uri };
  const digest = addSnapshot(project, sealed);
  const answer = await walker.call("PATCH", `/projects/${String(shown.id)}`, { object });
  if (answer?.status !== 200) return `edit of ${project.code}: ${expectCode(answer, lost)}`;
  if (walker.node === walk.world.walkerOf(project.owner).node) adopt(project, object);
  else project.proposed.add(digest);
  return `${walker.platform.handle} edits ${project.code}, revision ${before.revision + 1}`;
};

export function expectStatus(answer: RestAnswer | undefined, status: number): void {
  if (answer?.status !== status) throw new Error(`answered ${answer?.status} ${JSON.stringify(answer?.body)}`);
}

function expectCode(answer: RestAnswer | undefined, codes: ReadonlySet<string>): string {
  const code = String(answer?.body.code);
  if (!codes.has(code)) throw new Error(`answered ${answer?.status} ${JSON.stringify(answer?.body)}`);
  return code;
}
