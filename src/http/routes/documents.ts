/** Public documents: actors, key bundles, WebFinger, NodeInfo. */
import type Router from "@koa/router";
import type { Context } from "koa";
import { Problem } from "../../errors.ts";
import { instanceActor, platformActor } from "../../identity/actor-documents.ts";
import { nodeInfo, nodeInfoLinks } from "../../identity/node-info.ts";
import { answerWebFinger } from "../../identity/webfinger.ts";
import { activityMediaType } from "../../protocol/activities.ts";
import { system } from "../../registry/caller.ts";
import { readKeyBundles, readPublished } from "../../registry/key-bundles.ts";
import { findLocalByHandle, type PlatformRow } from "../../registry/platforms.ts";
import type { HttpDependencies } from "../dependencies.ts";

export function mountDocuments(router: Router, dependencies: HttpDependencies): void {
  const { database, origin, keys, nodeName, version } = dependencies;

  const platformOf = async (ctx: Context & { params: Record<string, string> }): Promise<PlatformRow> => {
    const row = await findLocalByHandle(database.db, ctx.params.handle ?? "");
    if (row?.status === "removed") throw new Problem("gone");
    if (row?.status !== "active") throw new Problem("not_found");
    return row;
  };

  router.get("/actor", (ctx) => answerActivity(ctx, instanceActor({ origin, keys, name: nodeName })));

  router.get("/platforms/:handle", async (ctx) => {
    const { handle, name } = await platformOf(ctx);
    answerActivity(ctx, platformActor({ origin, keys, handle, name }));
  });

  router.get("/platforms/:handle/key-bundle", async (ctx) => {
    const { id } = await platformOf(ctx);
    answerJson(ctx, await readPublished(database.db, system, id));
  });

  router.get("/platforms/:handle/key-bundles", async (ctx) => {
    const { id } = await platformOf(ctx);
    const from = Number(ctx.query.from ?? 1);
    if (!Number.isSafeInteger(from) || from < 0) {
      throw new Problem("invalid", "from is a sequence number.", {
        errors: [{ path: "from", code: "invalid_type", message: "must be a whole number" }],
      });
    }
    answerJson(ctx, { items: await readKeyBundles(database.db, system, id, from) });
  });

  router.get("/.well-known/webfinger", async (ctx) => {
    ctx.set("Access-Control-Allow-Origin", "*");
    const resource = typeof ctx.query.resource === "string" ? ctx.query.resource : undefined;
    const body = await answerWebFinger(resource, {
      origin,
      findPlatform: (handle) => findLocalByHandle(database.db, handle),
    });
    answerJson(ctx, body, "application/jrd+json");
  });

  router.get("/.well-known/nodeinfo", (ctx) => answerJson(ctx, nodeInfoLinks(origin)));
  router.get("/nodeinfo/2.1", (ctx) => {
    answerJson(ctx, nodeInfo({ version }));
    ctx.type = 'application/json; profile="http://nodeinfo.diaspora.software/ns/schema/2.1#"';
  });
}

/** An ActivityPub document, as `application/activity+json`, the JSON-LD form of it, or plain JSON. */
function answerActivity(ctx: Context, document: unknown): void {
  ctx.vary("Accept");
  const accept = ctx.get("accept").toLowerCase();
  const wanted = ctx.accepts(activityMediaType, "application/ld+json", "application/json");
  const type =
    accept.includes("application/ld+json") && wanted === "application/ld+json"
      ? 'application/ld+json; profile="https://www.w3.org/ns/activitystreams"'
      : wanted === "application/json" && accept.includes("application/json")
        ? "application/json"
        : activityMediaType;
  answerJson(ctx, document, type);
}

function answerJson(ctx: Context, document: unknown, type = "application/json"): void {
  ctx.status = 200;
  ctx.type = type;
  ctx.body = JSON.stringify(document);
}
