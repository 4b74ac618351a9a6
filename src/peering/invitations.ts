/** Peering by invitation: the inviting node opens and approves by itself what came with a good token. */
import { randomBytes } from "node:crypto";
import { createInvitation } from "../crypto/invitation.ts";
import { Problem } from "../errors.ts";
import { type Commit, createCommit } from "../outbox/commit.ts";
import { type Caller, system } from "../registry/caller.ts";
import { burnInvitation, type Invited, listInvited, recordInvitation } from "../registry/invitations.ts";
import { approvePeer } from "../registry/peers.ts";
import { acceptFollow, openPeering, type PeeringDependencies } from "./peering.ts";

export interface IssuedInvitation {
  readonly id: string;
  /** `concordat-invite.…`: shown here and never again. */
  readonly invitation: string;
  readonly expires_at: string;
}

/** Makes an invitation. @param wanted.forOrigin the only origin that may use it */
export async function invitePeer(
  { origin, keys }: PeeringDependencies,
  commit: Commit,
  caller: Caller,
  wanted: { readonly expiresAt: Date; readonly forOrigin: string | null },
): Promise<IssuedInvitation> {
  const token = randomBytes(32);
  const invitation = createInvitation({
    origin,
    key: keys.ed25519.kid,
    token,
    exp: Math.floor(wanted.expiresAt.getTime() / 1000),
    ...(wanted.forOrigin === null ? {} : { for: wanted.forOrigin }),
  });
  return await commit(async (tx, { now }) => {
    const record = { ...wanted, token: token.toString("base64url") };
    const id = await recordInvitation(tx, caller, record, now);
    return { value: { id, invitation, expires_at: wanted.expiresAt.toISOString() }, lanes: [] };
  });
}

/** Origins that are asked side by side: one that does not answer holds few others up. */
const askedAtOnce = 8;

/** Opens and approves every peer that waits with a good token; what cannot be reached now waits for the next time. */
export async function admitInvited(dependencies: PeeringDependencies): Promise<void> {
  const { database, clock } = dependencies;
  const commit = createCommit(dependencies);
  const invited = (await listInvited(database.db, clock())).values();
  const admitThem = async () => {
    for (const one of invited) await admit(dependencies, commit, one);
  };
  const ends = await Promise.allSettled(Array.from({ length: askedAtOnce }, admitThem));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

async function admit(
  dependencies: PeeringDependencies,
  commit: Commit,
  { peerId, origin, invitationId, tokenHash }: Invited,
): Promise<void> {
  try {
    const opened = await openPeering(dependencies, commit, system, peerId, tokenHash);
    if (!opened.signature_verified) return;
    await commit(async (tx, context) => {
      if (!(await burnInvitation(tx, invitationId, origin, context.now))) return { value: undefined, lanes: [] };
      const peer = await approvePeer(tx, system, peerId, { now: context.now });
      const lanes = await acceptFollow(tx, context, dependencies.keys, peer, peer.followIn as string);
      return { value: undefined, lanes };
    });
  } catch (error) {
    // Unreachable or refused: the request stays as it is, for the next time or for the administrator.
    if (!(error instanceof Problem)) throw error;
  }
}
