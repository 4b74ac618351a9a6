/** Invitations: one string that makes a peer, without trust at first use (docs/protocol.md, "Peers"). */
import { createHash } from "node:crypto";
import { and, eq, gt, isNull, or, sql } from "drizzle-orm";
import { mintUuid } from "../protocol/ids.ts";
import type { Tx } from "../storage/database.ts";
import { followRequests, invitations, peers } from "../storage/schema.ts";
import { type Caller, nameCaller } from "./caller.ts";
import { recordEffects } from "./journal.ts";

/** What is kept of a token: it is random enough for a plain hash. */
export function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}

/** Records an invitation; the token itself is the caller's to hand over. Returns its id. */
export async function recordInvitation(
  tx: Tx,
  caller: Caller,
  invitation: { readonly token: string; readonly forOrigin: string | null; readonly expiresAt: Date },
  now: Date,
): Promise<string> {
  const id = mintUuid();
  const { token, forOrigin, expiresAt } = invitation;
  await tx.insert(invitations).values({ id, tokenHash: hashToken(token), forOrigin, expiresAt, createdAt: now });
  await recordEffects(tx, { at: now, actor: nameCaller(caller), action: "invitation.made", object: id });
  return id;
}

const isGood = (now: Date) => and(isNull(invitations.usedAt), gt(invitations.expiresAt, now));

/** A peer that waits with an invitation. */
export interface Invited {
  readonly peerId: string;
  readonly origin: string;
  readonly invitationId: string;
  readonly tokenHash: string;
}

/** Peers that wait with a token that is good and meant for them. */
export async function listInvited(tx: Tx, now: Date): Promise<Invited[]> {
  return await tx
    .selectDistinct({
      peerId: peers.id,
      origin: peers.origin,
      invitationId: invitations.id,
      tokenHash: invitations.tokenHash,
    })
    .from(followRequests)
    .innerJoin(invitations, eq(invitations.tokenHash, followRequests.invitationHash))
    .innerJoin(peers, eq(peers.origin, followRequests.origin))
    .where(
      and(
        eq(peers.state, "pending_in"),
        isGood(now),
        or(isNull(invitations.forOrigin), sql`${invitations.forOrigin} = ${followRequests.origin}`),
      ),
    );
}

/** Burns an invitation; false when somebody else has used it meanwhile. */
export async function burnInvitation(tx: Tx, id: string, origin: string, now: Date): Promise<boolean> {
  const burnt = await tx
    .update(invitations)
    .set({ usedBy: origin, usedAt: now })
    .where(and(eq(invitations.id, id), isGood(now)))
    .returning({ id: invitations.id });
  return burnt.length > 0;
}
