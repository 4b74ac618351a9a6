/** ActivityPub client-to-server: a platform's own outbox and inbox, with the effects of the REST API. */
import type Router from "@koa/router";
import type { Context } from "koa";
import { Problem } from "../../errors.ts";
import { listInbox } from "../../inbox/collection.ts";
import { listOutbox } from "../../outbox/collection.ts";
import { createCommit } from "../../outbox/commit.ts";
import { type ProjectWrite, submitProject } from "../../outbox/submit.ts";
import { activityMediaType, context } from "../../protocol/activities.ts";
import { actorIds } from "../../protocol/ids.ts";
import { idOf, isJsonObject, type JsonObject, typesOf } from "../../protocol/objects.ts";
import { parseStrictJson } from "../../protocol/strict-json.ts";
import { type AdministratorCaller, type PlatformCaller, requireRight } from "../../registry/caller.ts";
import { findProjectId } from "../../registry/project-views.ts";
import { parseSubmission } from "../../registry/projects.ts";
import { authenticate } from "../auth.ts";
import { isActivityType, readBody, requireMediaType, restOctets } from "../body.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { createWitness } from "../refusals.ts";

type PlatformContext = Context & { readonly params: Record<string, string> };

export function mountClientToServer(router: Router, dependencies: HttpDependencies): void {
  const { database, origin } = dependencies;
  const commit = createCommit(dependencies);
  const witness = createWitness(dependencies);
  /** A route for the platform that its path names, by its own token. */
  const ownRoute =
    (handle: (ctx: PlatformContext, caller: PlatformCaller) => Promise<void>) => (ctx: PlatformContext) =>
      witness(ctx, async (known) => {
        const caller = await authenticate(dependencies, ctx.get("authorization"));
        known(caller);
        await handle(ctx, requireItself(ctx, caller));
      });

  router.post(
    "/platforms/:handle/outbox",
    ownRoute(async (ctx, caller) => {
      requireMediaType(ctx, isActivityType);
      const activity = parseStrictJson(await readBody(ctx, restOctets));
      const write = await readWrite(dependencies, caller, activity);
      const { activityId } = await submitProject(commit, caller, write);
      ctx.status = 201;
      if (activityId !== null) ctx.set("Location", activityId);
      ctx.type = activityMediaType;
      ctx.body = JSON.stringify({ ...(activity as JsonObject), id: activityId, actor: caller.uri });
    }),
  );

  for (const [name, list] of [["outbox", listOutbox] as const, ["inbox", listInbox] as const]) {
    router.get(
      `/platforms/:handle/${name}`,
      ownRoute(async (ctx, caller) => {
        requireRight(caller, "projects:read");
        const id = `${actorIds.platform(origin, caller.handle)}/${name}`;
        const cursor = typeof ctx.query.cursor === "string" ? ctx.query.cursor : undefined;
        const page = await list(database.db, caller, { limit: 50, cursor });
        const isPage = ctx.query.page !== undefined || cursor !== undefined;
        ctx.vary("Accept");
        ctx.type = activityMediaType;
        const here = cursor === undefined ? `${id}?page=1` : `${id}?cursor=${encodeURIComponent(cursor)}`;
        ctx.body = JSON.stringify(isPage ? pageOf(id, here, page) : collectionOf(id, page.total));
      }),
    );
  }
}

function collectionOf(id: string, totalItems: number): JsonObject {
  return { "@context": context, id, type: "OrderedCollection", totalItems, first: `${id}?page=1` };
}

function pageOf(id: string, here: string, page: Awaited<ReturnType<typeof listOutbox>>): JsonObject {
  const next = page.next_cursor === null ? {} : { next: `${id}?cursor=${encodeURIComponent(page.next_cursor)}` };
  return {
    "@context": context,
    id: here,
    type: "OrderedCollectionPage",
    partOf: id,
    ...next,
    orderedItems: page.items,
  };
}

/** @throws {Problem} `right_missing` */
function requireItself(ctx: PlatformContext, caller: AdministratorCaller | PlatformCaller): PlatformCaller {
  if (caller.kind === "platform" && caller.handle === ctx.params.handle) return caller;
  throw new Problem("right_missing", "Only the platform itself uses its outbox and inbox.");
}

const invalid = (path: string, message: string) =>
  new Problem("invalid", `${path} ${message}`, { errors: [{ path, code: "invalid", message }] });

/** The write that an activity without id asks for; an Update that changes only the grants is a share as well. */
async function readWrite(
  { database, clock }: HttpDependencies,
  caller: PlatformCaller,
  activity: unknown,
): Promise<ProjectWrite> {
  if (!isJsonObject(activity)) throw invalid("activity", "must be an object");
  if (activity.id !== undefined) throw invalid("id", "is given by the node");
  if (activity.actor !== undefined && idOf(activity.actor) !== caller.uri) {
    throw new Problem("actor_mismatch", "The actor is not the caller.");
  }
  const { type, object } = activity;
  if (type !== "Create" && type !== "Update" && type !== "Delete") {
    throw invalid("type", "must be Create, Update or Delete");
  }
  if (type !== "Delete" && !typesOf(object).includes("hf:Project")) throw invalid("object", "must be an hf:Project");
  const uri = idOf(object) ?? "";
  if (type === "Create") return { verb: "declare", judged: parseSubmission(object) };
  const id = await findProjectId(database.db, caller, uri, clock());
  if (id === null) throw new Problem("not_found");
  return type === "Delete" ? { verb: "delete", id } : { verb: "edit", id, judged: parseSubmission(object) };
}
