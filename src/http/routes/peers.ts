/** Peers: request, open, approve, reject. */
import { z } from "zod";
import { approvePeering, openPeering, rejectPeering, requestPeering } from "../../outbox/peering.ts";
import { getPeer, listPeers } from "../../registry/peers.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { defineRoute, idParams, listOf, pageQuery, type Route } from "../route.ts";
import { peerSchema } from "../shapes.ts";

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
      summary: "Ask another instance to become a peer; this side's approval",
      access,
      body: z.strictObject({ origin: z.string().max(2048) }),
      answer: { status: 201, schema: peerSchema },
      handle: async ({ caller, body, once }) => {
        const peer = await requestPeering({ ...dependencies, once }, caller, body.origin);
        return { status: 201, location: `/api/v1/peers/${peer.id}`, body: peer };
      },
    }),
    defineRoute({
      method: "get",
      path: "/peers/:id",
      summary: "One peer",
      access,
      params: idParams,
      answer: { status: 200, schema: peerSchema },
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
      handle: async ({ caller, params, once }) => ({
        status: 200,
        body: await openPeering({ ...dependencies, once }, caller, params.id),
      }),
    }),
    defineRoute({
      method: "post",
      path: "/peers/:id/approve",
      summary: "Approve an opened request; with a fingerprint only if it is the one that was shown",
      access,
      params: idParams,
      body: z.strictObject({ fingerprint: z.string().max(100).optional() }),
      answer: { status: 200, schema: peerSchema },
      handle: async ({ caller, params, body, once }) => ({
        status: 200,
        body: await approvePeering({ ...dependencies, once }, caller, params.id, body.fingerprint),
      }),
    }),
    defineRoute({
      method: "post",
      path: "/peers/:id/reject",
      summary: "Reject a request",
      access,
      params: idParams,
      body: z.strictObject({}),
      answer: { status: 200, schema: peerSchema },
      handle: async ({ caller, params, once }) => ({
        status: 200,
        body: await rejectPeering({ ...dependencies, once }, caller, params.id),
      }),
    }),
  ];
}
