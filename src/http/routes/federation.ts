/** Where other nodes come in: the inboxes, one handler for all of them. */
import type Router from "@koa/router";
import type { Context, Next } from "koa";
import { Problem } from "../../errors.ts";
import { type BatchResult, receiveActivity, receiveBatch } from "../../inbox/receive.ts";
import { serveObject } from "../../inbox/serve.ts";
import { type InboxRequest, readClaimedOrigin } from "../../inbox/verify.ts";
import { activityMediaType } from "../../protocol/activities.ts";
import { limits } from "../../protocol/limits.ts";
import { findLocalByHandle } from "../../registry/platforms.ts";
import type { HttpRequest } from "../../signatures/request.ts";
import { isActivityType, readBody, requireMediaType } from "../body.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { logFailure, problemOf } from "../problems.ts";

export function mountFederation(router: Router, dependencies: HttpDependencies): void {
  const { clock, readAddress, onInboxAnswer } = dependencies;
  const receive = async (ctx: Context): Promise<void> => {
    const request = await readInboxRequest(ctx, dependencies, limits.peerActivityOctets);
    const accepted = await receiveActivity(dependencies, request);
    onInboxAnswer("accepted");
    ctx.status = 202;
    ctx.type = "application/json";
    ctx.body = JSON.stringify(accepted);
  };
  const receiveMany = async (ctx: Context): Promise<void> => {
    const request = await readInboxRequest(ctx, dependencies, limits.batchOctets);
    const results = await receiveBatch(dependencies, request);
    ctx.status = 200;
    ctx.type = "application/json";
    ctx.body = JSON.stringify({ results: results.map((result) => answerItem(result, dependencies)) });
  };
  const serve = async (ctx: Context): Promise<void> => {
    const request = { ...readRequestHead(ctx), address: readAddress(ctx.req), arrivedAt: clock() };
    const object = await serveObject(dependencies, request, `${dependencies.origin}${ctx.path}`);
    ctx.status = 200;
    ctx.vary("Accept");
    ctx.type = activityMediaType;
    ctx.body = JSON.stringify(object);
  };
  for (const path of ["projects", "activities"]) router.get(`/${path}/:uuid`, serve);
  router.post(["/inbox", "/actor/inbox"], tellRefusals(onInboxAnswer), receive);
  router.post("/batch-inbox", tellRefusals(onInboxAnswer), receiveMany);
  router.post("/platforms/:handle/inbox", tellRefusals(onInboxAnswer), async (ctx: PlatformContext) => {
    if (!(await findLocalByHandle(dependencies.database.db, ctx.params.handle ?? ""))) throw new Problem("not_found");
    await receive(ctx);
  });
}

type PlatformContext = Context & { readonly params: Record<string, string> };

function tellRefusals(tell: HttpDependencies["onInboxAnswer"]) {
  return async (_: Context, next: Next): Promise<void> => {
    try {
      await next();
    } catch (error) {
      tell(problemOf(error).code);
      throw error;
    }
  };
}

/** What the activity would have been answered alone; `retry_after` stands in the problem, for there is no header. */
function answerItem({ id, outcome }: BatchResult, { log, onInboxAnswer }: HttpDependencies) {
  if (outcome.status === "fulfilled") {
    onInboxAnswer("accepted");
    return { id, status: 202, receipt: outcome.value };
  }
  const problem = problemOf(outcome.reason);
  if (problem !== outcome.reason) logFailure(log, outcome.reason, problem);
  onInboxAnswer(problem.code);
  return { id, status: problem.status, problem };
}

/** A signed message to an inbox, of at most `octets` where an approved peer sends it. */
async function readInboxRequest(ctx: Context, dependencies: HttpDependencies, octets: number): Promise<InboxRequest> {
  requireMediaType(ctx, isActivityType);
  const request = readRequestHead(ctx);
  const isSmall = Number(ctx.get("content-length") || Number.NaN) <= limits.activityOctets;
  const greatest = isSmall || !(await isFromPeer(dependencies, request)) ? limits.activityOctets : octets;
  const body = await readBody(ctx, greatest);
  return { ...request, body, address: dependencies.readAddress(ctx.req), arrivedAt: dependencies.clock() };
}

/** The request as it came: raw target, raw headers, so that what was signed is what is judged. */
function readRequestHead(ctx: Context): HttpRequest {
  const { method = "", url: target = "", rawHeaders } = ctx.req;
  const headers: [string, string][] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) headers.push([rawHeaders[at] ?? "", rawHeaders[at + 1] ?? ""]);
  return { method, target, headers };
}

/** An approved peer may send more than a stranger; the signature that comes to prove it is judged later. */
async function isFromPeer({ readPeer }: HttpDependencies, request: HttpRequest): Promise<boolean> {
  const origin = readClaimedOrigin(request);
  const peer = origin === null ? undefined : await readPeer(origin);
  return peer?.state === "approved";
}
