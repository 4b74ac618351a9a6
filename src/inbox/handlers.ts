/** One handler per kind of intent. They change the registry in the receiver's transaction and return what is to be said. */
import { Problem } from "../errors.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import { readInstanceActor } from "../identity/remote-actors.ts";
import { appendAnnouncements, cancelDeliveriesTo } from "../outbox/append.ts";
import { introducePlatforms } from "../outbox/directory.ts";
import { acceptFollow, endPeering, repeatAccept } from "../peering/peering.ts";
import { type Activity, protocolVersion } from "../protocol/activities.ts";
import { actorIds, mintedAt, originOf } from "../protocol/ids.ts";
import type { Project } from "../protocol/objects.ts";
import { system } from "../registry/caller.ts";
import { storeBundleItems } from "../registry/key-bundles.ts";
import { pinRotatedKeys } from "../registry/peer-pins.ts";
import { confirmPeer, type PeerRow, readPeerRow, rejectPeer } from "../registry/peers.ts";
import { receiveRemoval } from "../registry/platform-endings.ts";
import { isRemoved, upsertRemotePlatform } from "../registry/platforms.ts";
import { type CopyEffect, receiveProject, receiveTombstone, removeGrantee } from "../registry/project-copies.ts";
import { receiveEdit } from "../registry/project-edits.ts";
import type { Tx } from "../storage/database.ts";
import type { Intent } from "./intent.ts";
import type { VerifiedActivity } from "./verify.ts";

export interface HandlerContext {
  readonly origin: string;
  readonly keys: NodeKeys;
  readonly now: Date;
}

export interface Effect {
  readonly effect: "applied" | "stale" | "stored" | "unhandled";
  /** With `stale`: the revision held here. */
  readonly revision?: number;
  /** Platforms of this node for which it came. */
  readonly recipients?: readonly string[];
  /** Peers to whom something was appended. */
  readonly lanes?: readonly string[];
}

type Handler<Kind extends Intent["kind"]> = (
  tx: Tx,
  context: HandlerContext,
  verified: VerifiedActivity,
  intent: Extract<Intent, { readonly kind: Kind }>,
) => Promise<Effect>;

const applied: Effect = { effect: "applied" };

/** A Follow of somebody whom we asked: both administrators have said yes. Of a peer: it lost our Accept. */
const follow: Handler<"follow"> = async (tx, context, { activity, peer }, intent) => {
  if (intent.object !== actorIds.instance(context.origin)) {
    throw new Problem("not_for_us", "A Follow is of the instance actor.");
  }
  const row = await readPeerRow(tx, peer.id);
  if (row.state === "approved") return { effect: "applied", lanes: await repeatAccept(tx, context, row, activity.id) };
  const approved = await confirmPeer(tx, system, row, { followIn: activity.id, now: context.now });
  return { effect: "applied", lanes: await acceptFollow(tx, context, context.keys, approved, activity.id) };
};

/** A newer protocol may accept, reject and undo what is no Follow. @throws {Problem} `state_conflict` */
function otherFollow({ protocol }: Activity, detail: string): Effect {
  if (protocol > protocolVersion) return { effect: "unhandled" };
  throw new Problem("state_conflict", detail);
}

const accept: Handler<"accept"> = async (tx, context, { activity, peer }, intent) => {
  const row = await readPeerRow(tx, peer.id);
  if (intent.follow !== row.followOut) return otherFollow(activity, "That is not the Follow that we sent.");
  if (row.state === "approved") return applied;
  const approved = await confirmPeer(tx, system, row, { now: context.now });
  return { effect: "applied", lanes: await introducePlatforms(tx, context, context.keys, approved) };
};

const reject: Handler<"reject"> = async (tx, context, { activity, peer }, intent) => {
  const row = await readPeerRow(tx, peer.id);
  if (intent.follow !== row.followOut) return otherFollow(activity, "That is not the Follow that we sent.");
  // Of a Follow that was accepted before, a Reject ends the peering.
  if (row.state === "approved") await endPeering(tx, system, row, context.now);
  else await rejectPeer(tx, system, row, context.now);
  return applied;
};

/** The follower ends the peering. */
const undo: Handler<"undo"> = async (tx, context, { activity, peer }, intent) => {
  const row = await readPeerRow(tx, peer.id);
  if (intent.follow !== row.followIn) return otherFollow(activity, "That is not the Follow that we accepted.");
  await endPeering(tx, system, row, context.now);
  return applied;
};

/** Key bundles that a peer passed on beside what it says. */
const storePassedOn = (
  tx: Tx,
  { origin, now }: HandlerContext,
  peer: PeerRow,
  bundles: { readonly about: readonly string[]; readonly items: readonly unknown[] },
) => storeBundleItems(tx, { ...bundles, sender: peer.origin, home: origin, now });

const directory: Handler<"directory"> = async (tx, context, { activity, peer }, intent) => {
  const { now } = context;
  if (activity.actor === peer.actorUri) return await repin(tx, peer, activity.object, now);
  const { handle, name } = intent;
  if (!(await upsertRemotePlatform(tx, { uri: activity.actor, handle, name }, now))) return { effect: "stale" };
  await storePassedOn(tx, context, peer, { about: [activity.actor], items: intent.bundles });
  return applied;
};

/**
 * An instance actor's own document. A server that is no Concordat has no key chain: its old key, which signed this,
 * vouches for the new one. With a chain nothing is taken from an activity.
 */
async function repin(tx: Tx, peer: PeerRow, document: unknown, now: Date): Promise<Effect> {
  if (peer.receipts) return { effect: "unhandled" };
  await pinRotatedKeys(tx, peer, { actor: readInstanceActor(document, peer.origin), seq: 0, now });
  return applied;
}

/** Of whom bundles may travel beside a project; its last editor is one of its grantees. */
const partiesOf = (project: Project) => [project.attributedTo, ...project["hf:grants"].map(({ platform }) => platform)];

const project: Handler<"project"> = async (tx, context, { activity, peer }, intent) => {
  const { now } = context;
  const { value } = intent.judged;
  if (originOf(value.id) !== peer.origin)
    throw new Problem("foreign_id", "The object's id is not on its owner's origin.");
  await storePassedOn(tx, context, peer, { about: partiesOf(value), items: intent.bundles });
  return await receiveProject(tx, activity.actor, intent.judged, {
    protocol: activity.protocol,
    // By its sender's clock, since what is sealed follows from that one.
    sentAt: new Date(Math.min((mintedAt(activity.id) ?? now).getTime(), now.getTime())),
    now,
  });
};

/** The one exception to the rule of origins: an edit names the owner's object, at the owner's node alone. */
const edit: Handler<"edit"> = async (tx, context, { activity, peer }, intent) => {
  const { origin, now } = context;
  const { value } = intent.judged;
  if (originOf(value.id) !== origin) throw new Problem("foreign_id", "An edit goes to the node of the object's owner.");
  if (await isRemoved(tx, activity.actor)) return { effect: "stale" };
  await storePassedOn(tx, context, peer, { about: partiesOf(value), items: intent.bundles });
  const { baseRevision, judged } = intent;
  const written = await receiveEdit(tx, activity.actor, judged, { baseRevision, protocol: activity.protocol, now });
  const { lanes } = await appendAnnouncements(tx, { origin, now }, written.announcements);
  return { effect: "applied", recipients: [value.attributedTo], lanes };
};

const tombstone: Handler<"tombstone"> = async (tx, { now }, { activity, peer }, { uri }) => {
  if (originOf(uri) !== peer.origin) throw new Problem("foreign_id", "Only an object's home deletes it.");
  return (await receiveTombstone(tx, activity.actor, uri, now)) satisfies CopyEffect;
};

/** A platform is gone; an instance ends its peering by another word. */
const removal: Handler<"removal"> = async (tx, { now }, { activity, peer }) => {
  if (activity.actor === peer.actorUri) return { effect: "unhandled" };
  await receiveRemoval(tx, activity.actor, now);
  await cancelDeliveriesTo(tx, activity.actor);
  return applied;
};

const remove: Handler<"remove"> = async (tx, { now }, { activity, peer }, intent) => {
  if (originOf(intent.uri) !== peer.origin) throw new Problem("foreign_id", "Only an object's home ends access to it.");
  return { ...(await removeGrantee(tx, activity.actor, intent, now)), recipients: [intent.platform] };
};

/** Kept, receipted, without effect: tomorrow's types do not end in today's dead letters. */
const unhandled: Handler<"unhandled"> = async () => ({ effect: "unhandled" });

const handlers: { readonly [Kind in Intent["kind"]]: Handler<Kind> } = {
  follow,
  accept,
  reject,
  undo,
  directory,
  project,
  edit,
  tombstone,
  removal,
  remove,
  unhandled,
};

/** Applies a verified activity. @throws {Problem} its refusal; the caller rolls back */
export function applyActivity(tx: Tx, context: HandlerContext, verified: VerifiedActivity): Promise<Effect> {
  const handler = handlers[verified.intent.kind] as Handler<Intent["kind"]>;
  return handler(tx, context, verified, verified.intent);
}
