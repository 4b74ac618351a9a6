/** Where other nodes come in: the inboxes, one handler for all of them. */
import type Router from "@koa/router";
import type { Context, Next } from "koa";
import { Problem } from "../../errors.ts";
import { receiveActivity } from "../../inbox/receive.ts";
import { serveObject } from "../../inbox/serve.ts";
import { readClaimedOrigin } from "../../inbox/verify.ts";
import { activityMediaType } from "../../protocol/activities.ts";
import { limits } from "../../protocol/limits.ts";
import { findPeer } from "../../registry/peers.ts";
import { findLocalByHandle } from "../../registry/platforms.ts";
import type { HttpRequest } from "../../signatures/request.ts";
import { isActivityType, readBody, requireMediaType } from "../body.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { problemOf } from "../problems.ts";

export function mountFederation(router: Router, dependencies: HttpDependencies): void {
  const { clock, readAddress, onInboxAnswer } = dependencies;
  const receive = async (ctx: Context): Promise<void> => {
    requireMediaType(ctx, isActivityType);
    const request = readRequestHead(ctx);
    const body = await readBody(ctx, await greatestBody(dependencies, request));
    const accepted = await receiveActivity(dependencies, {
      ...request,
      body,
      address: readAddress(ctx.req),
      arrivedAt: clock(),
    });
    ctx.status = 202;
    ctx.type = "application/json";
    ctx.body = JSON.stringify(accepted);
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
  router.post(["/inbox", "/actor/inbox"], tellAnswers(onInboxAnswer), receive);
  router.post("/platforms/:handle/inbox", tellAnswers(onInboxAnswer), async (ctx: PlatformContext) => {
    if (!(await findLocalByHandle(dependencies.database.db, ctx.params.handle ?? ""))) throw new Problem("not_found");
    await receive(ctx);
  });
}

type PlatformContext = Context & { readonly params: Record<string, string> };

function tellAnswers(tell: HttpDependencies["onInboxAnswer"]) {
  return async (_: Context, next: Next): Promise<void> => {
    try {
      await next();
      tell("accepted");
    } catch (error) {
      tell(problemOf(error).code);
      throw error;
    }
  };
}

/** The request as it came: raw target, raw headers, so that what was signed is what is judged. */
function readRequestHead(ctx: Context): HttpRequest {
  const { method = "", url: target = "", rawHeaders } = ctx.req;
  const headers: [string, string][] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) headers.push([rawHeaders[at] ?? "", rawHeaders[at + 1] ?? ""]);
  return { method, target, headers };
}

/** An approved peer may send more than a stranger; the signature that comes to prove it is judged later. */
async function greatestBody({ database }: HttpDependencies, request: HttpRequest): Promise<number> {
  const origin = readClaimedOrigin(request);
  const peer = origin === null ? undefined : await findPeer(database.db, origin);
  return peer?.state === "approved" ? limits.peerActivityOctets : limits.activityOctets;
}
