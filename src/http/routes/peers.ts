/** Peers: request, open, approve, reject. */
import { z } from "zod";
import { invitePeer } from "../../peering/invitations.ts";
import {
  approvePeering,
  openPeering,
  rejectPeering,
  requestPeering,
  resumePeering,
  revokePeering,
  setPeerPolicy,
  suspendPeering,
} from "../../peering/peering.ts";
import { isOrigin } from "../../protocol/ids.ts";
import { instantSchema } from "../../protocol/values.ts";
import { getPeer, listPeers, lockPeer } from "../../registry/peer-views.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { defineRoute, idParams, listOf, pageQuery, type Route } from "../route.ts";
import { peerSchema } from "../shapes.ts";

/** Deliveries go on while somebody edits the peer. */
const moving = ["lane"];
/** What administrators compare; another spelling of it is another one. */
const fingerprintSchema = z.string().max(100);

export function peerRoutes(dependencies: HttpDependencies): readonly Route[] {
  const { database } = dependencies;
  const access = { administrator: "manage_peers" } as const;
  return [
    defineRoute({
      method: "get",
      path: "/peers",
      summary: "Peers, and the state of the lane to each",
      access,
      query: pageQuery.extend({
        origin: z.string().max(2048).optional(),
        state: z.enum(["pending_out", "pending_in", "approved", "rejected", "suspended", "revoked"]).optional(),
      }),
      answer: { status: 200, schema: listOf(peerSchema) },
      handle: async ({ caller, query }) => ({ status: 200, body: await listPeers(database.db, caller, query) }),
    }),
    defineRoute({
      method: "post",
      path: "/peers",
      summary: "Ask another instance to become a peer, by its origin or its invitation; this side's approval",
      access,
      body: z
        .strictObject({
          origin: z.string().max(2048).optional(),
          invitation: z.string().max(8192).optional(),
          fingerprint: fingerprintSchema.optional(),
        })
        .refine((body) => (body.origin === undefined) !== (body.invitation === undefined), {
          message: "needs either origin or invitation",
        }),
      answer: { status: 201, schema: peerSchema },
      handle: async ({ caller, body, commit }) => {
        const peer = await requestPeering(dependencies, commit, caller, body);
        return { status: 201, location: `/api/v1/peers/${peer.id}`, body: peer };
      },
    }),
    defineRoute({
      method: "post",
      path: "/peers/invitations",
      summary: "Invite another instance: one string, good for one use",
      access,
      body: z.strictObject({ expires_at: instantSchema.optional(), for: z.string().refine(isOrigin).optional() }),
      answer: {
        status: 201,
        schema: z.object({ id: z.uuid(), invitation: z.string(), expires_at: z.string() }).meta({ id: "Invitation" }),
      },
      handle: async ({ caller, body, commit }) => {
        const week = new Date(dependencies.clock().getTime() + 7 * 86_400_000);
        const expiresAt = body.expires_at === undefined ? week : new Date(body.expires_at);
        const wanted = { expiresAt, forOrigin: body.for ?? null };
        return { status: 201, body: await invitePeer(dependencies, commit, caller, wanted) };
      },
    }),
    defineRoute({
      method: "get",
      path: "/peers/:id",
      summary: "One peer",
      access,
      params: idParams,
      answer: { status: 200, schema: peerSchema },
      moving,
      handle: async ({ caller, params }) => ({ status: 200, body: await getPeer(database.db, caller, params.id) }),
    }),
    defineRoute({
      method: "post",
      path: "/peers/:id/open",
      summary: "Open a request: fetch its actor, judge the stored signature, show the fingerprint",
      access,
      params: idParams,
      body: z.strictObject({}),
      answer: {
        status: 200,
        schema: peerSchema.extend({ signature_verified: z.boolean() }).meta({ id: "OpenedPeer" }),
      },
      handle: async ({ caller, params, commit }) => ({
        status: 200,
        body: await openPeering(dependencies, commit, caller, params.id),
      }),
    }),
    defineRoute({
      method: "post",
      path: "/peers/:id/approve",
      summary: "Approve an opened request; with a fingerprint only if it is the one that was shown",
      access,
      params: idParams,
      body: z.strictObject({ fingerprint: fingerprintSchema.optional() }),
      answer: { status: 200, schema: peerSchema },
      handle: async ({ caller, params, body, commit }) => ({
        status: 200,
        body: await approvePeering(dependencies, commit, caller, params.id, body.fingerprint),
      }),
    }),
    verb("reject", "Reject a request", rejectPeering),
    verb("suspend", "Refuse a peer and hold what is for it, until resumed", suspendPeering),
    verb("resume", "End a suspension", resumePeering),
    verb("revoke", "End the peering, for both sides", revokePeering),
    defineRoute({
      method: "patch",
      path: "/peers/:id",
      summary: "Which platforms a peer learns of, what it may send, how much; null is no quota",
      access,
      params: idParams,
      body: z.strictObject({ policy: policySchema }),
      answer: { status: 200, schema: peerSchema },
      moving,
      current: (tx, { caller, params }) => lockPeer(tx, caller, params.id),
      handle: async ({ caller, params, body, commit }) => ({
        status: 200,
        body: await setPeerPolicy(dependencies, commit, caller, params.id, dropAbsent(body.policy)),
      }),
    }),
  ];

  function verb(name: string, summary: string, run: typeof rejectPeering): Route {
    return defineRoute({
      method: "post",
      path: `/peers/:id/${name}`,
      summary,
      access,
      params: idParams,
      body: z.strictObject({}),
      answer: { status: 200, schema: peerSchema },
      handle: async ({ caller, params, commit }) => ({
        status: 200,
        body: await run(commit, caller, params.id),
      }),
    });
  }
}

const quota = z.int().min(0).nullable().optional();
const names = z.union([z.literal("all"), z.array(z.string().max(200)).max(1000)]).optional();
const policySchema = z.strictObject({ platforms: names, activities: names, per_minute: quota, per_day: quota });

function dropAbsent<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as never;
}
