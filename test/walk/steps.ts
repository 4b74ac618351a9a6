/** What happens in a walk: each step is drawn by chance, of what platforms write and of what befalls their nodes. */
import { pick, pickWeighted } from "../harness/random.ts";
import { pause } from "../harness/until.ts";
import { crashUnderWrite, disturbCluster, mendCluster } from "./disturbances.ts";
import { adminOf, untilQuiet, type WalkNode } from "./world.ts";
import {
  declare,
  edit,
  editAsGrantee,
  living,
  remove,
  revise,
  type Step,
  share,
  unshare,
  type Walk,
} from "./writes.ts";

/** Milliseconds: a kill comes within this time after the write of its step began. */
const killSpan = 60;

const running = ({ world }: Walk) => world.nodes.filter(({ up }) => up);

const suspend: Step = async (walk) => {
  const at = pick(walk.random, running(walk));
  const of = pick(
    walk.random,
    walk.world.nodes.filter((one) => one !== at),
  );
  if (at === undefined || of === undefined) return undefined;
  const admin = await adminOf(at);
  const [peer] = await admin.list(`/peers?origin=${encodeURIComponent(of.node.origin)}`);
  if (peer?.state !== "approved") return undefined;
  await admin.ok("POST", `/peers/${String(peer.id)}/suspend`, {});
  return `${at.node.origin} suspends ${of.node.origin}`;
};

const resume: Step = async (walk) => {
  const at = pick(walk.random, running(walk));
  return at === undefined ? undefined : await resumeAll(at);
};

async function resumeAll(at: WalkNode): Promise<string | undefined> {
  const admin = await adminOf(at);
  const suspended = await admin.list("/peers?state=suspended");
  for (const { id } of suspended) await admin.ok("POST", `/peers/${String(id)}/resume`, {});
  return suspended.length === 0 ? undefined : `${at.node.origin} resumes ${suspended.length}`;
}

/** One node at a time is away. */
const endProcess =
  (how: "stop" | "kill"): Step =>
  async (walk) => {
    const node = running(walk).length === walk.world.nodes.length ? pick(walk.random, walk.world.nodes) : undefined;
    if (node === undefined) return undefined;
    node.up = false;
    await node.node[how]();
    return `${how} of ${node.node.origin}`;
  };

const start: Step = async ({ world }) => {
  const node = world.nodes.find(({ up }) => !up);
  if (node === undefined) return undefined;
  await startNode(node);
  return `${node.node.origin} is back`;
};

/** The owner's node, or a store of it, is killed while it takes a revision, which is sent again as it was. */
const killWhileWriting: Step = async (walk) => {
  const { world, random } = walk;
  const project = pick(random, living(walk));
  const node = project && world.walkerOf(project.owner).node;
  if (project === undefined || !node?.up) return undefined;
  const { shared } = world;
  const killing = pause(Math.floor(random() * killSpan)).then(async () => {
    if (shared !== undefined && shared.cluster === node.node) return await crashUnderWrite(shared, random);
    await node.node.kill();
    await node.node.start();
    return "killed";
  });
  const [done, how] = await Promise.all([revise(walk, project, "PATCH", (grants) => grants), killing]);
  return `${how} while writing: ${done}`;
};

const rotate: Step = async ({ world }) => {
  const node = world.nodes.find(({ up }) => !up);
  if (node === undefined) return undefined;
  await node.node.command("node-keys", "rotate");
  return `${node.node.origin} has new keys`;
};

const settle: Step = async (walk) => {
  await putInOrder(walk);
  await untilQuiet(walk.world, 120_000);
  return "all is quiet";
};

const disturb: Step = async ({ world, random }) => await disturbCluster(world, random);

/** How often each step comes, of all together. */
const chances: readonly (readonly [number, Step])[] = [
  [10, declare],
  [18, edit],
  [24, share],
  [12, unshare],
  [4, remove],
  [20, editAsGrantee],
  [4, suspend],
  [6, resume],
  [2, endProcess("stop")],
  [3, endProcess("kill")],
  [2, killWhileWriting],
  [12, start],
  [2, rotate],
  [5, settle],
  [10, disturb],
];

/** The first step drawn that finds something to do; says what it did. @throws when a node answers what it must not */
export async function takeStep(walk: Walk): Promise<string> {
  for (;;) {
    const done = await pickWeighted(walk.random, chances)(walk);
    if (done !== undefined) return done;
  }
}

/** All nodes up. */
export async function startAll({ world, random }: Walk): Promise<void> {
  const away = world.nodes.filter(({ up }) => !up);
  await Promise.all(away.map(startNode));
  await mendCluster(world, random);
}

async function startNode(at: WalkNode): Promise<void> {
  await at.node.start();
  at.up = true;
}

/** All nodes up, nobody suspended. */
export async function putInOrder(walk: Walk): Promise<void> {
  await startAll(walk);
  for (const at of walk.world.nodes) await resumeAll(at);
}
