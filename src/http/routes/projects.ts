/** Projects: writes carry the sealed object exactly as it will be forwarded. */
import { z } from "zod";
import { Problem } from "../../errors.ts";
import { submitProject } from "../../outbox/submit.ts";
import { projectStatuses } from "../../protocol/objects.ts";
import type { PlatformCaller } from "../../registry/caller.ts";
import { getProject, listProjects, lockProject } from "../../registry/project-views.ts";
import { parseSubmission, type RevisionKind } from "../../registry/projects.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { defineRoute, idParams, listOf, pageQuery, type Route } from "../route.ts";
import { projectViewSchema } from "../shapes.ts";

/** Bodies in a plain form, without `object`, get their own answer, which says what to do instead. */
const writeSchema = z.looseObject({ object: z.unknown().optional(), user_ids: z.array(z.uuid()).max(1000).optional() });

export function projectRoutes(dependencies: HttpDependencies): readonly Route[] {
  const { database, clock } = dependencies;
  const readers = { administrator: "manage_projects", platform: "projects:read" } as const;

  const revise = (path: string, method: "patch" | "post", kind: RevisionKind, summary: string) =>
    defineRoute({
      method,
      path,
      summary,
      access: { platform: kind === "edit" ? "projects:write" : "projects:share" },
      params: idParams,
      body: writeSchema,
      answer: { status: 200, schema: projectViewSchema },
      current: (tx, { caller, params }, now) => lockProject(tx, caller, params.id, now),
      handle: async ({ caller, params, body, commit }) => {
        const judged = readWrite(body);
        await submitProject(commit, caller, { verb: kind, id: params.id, judged });
        return { status: 200, body: await getProject(database.db, caller, params.id, clock()) };
      },
    });

  return [
    defineRoute({
      method: "get",
      path: "/projects",
      summary: "Projects: owned and shared for a platform, the clear part of all for an administrator",
      access: readers,
      query: pageQuery.extend({
        uri: z.string().max(2048).optional(),
        code: z.string().max(200).optional(),
        name: z.string().max(500).optional(),
        status: z.enum(projectStatuses).optional(),
        q: z.string().max(200).optional(),
        include: z.literal("object").optional(),
      }),
      answer: { status: 200, schema: listOf(projectViewSchema) },
      handle: async ({ caller, query: { include, ...query } }) => ({
        status: 200,
        body: await listProjects(database.db, caller, { ...query, includeObject: include === "object" }, clock()),
      }),
    }),
    defineRoute({
      method: "get",
      path: "/projects/:id",
      summary: "One project, with its sealed object for owner and grantees",
      access: readers,
      params: idParams,
      answer: { status: 200, schema: projectViewSchema },
      handle: async ({ caller, params }) => ({
        status: 200,
        body: await getProject(database.db, caller, params.id, clock()),
      }),
    }),
    defineRoute({
      method: "post",
      path: "/projects",
      summary: "Declare a project",
      access: { platform: "projects:write" },
      body: writeSchema,
      answer: { status: 201, schema: projectViewSchema },
      handle: async ({ caller, body, commit }) => {
        const { id } = await submitProject(commit, caller, {
          verb: "declare",
          judged: readWrite(body),
        });
        return { status: 201, location: `/api/v1/projects/${id}`, body: await readBack(caller, id) };
      },
    }),
    revise("/projects/:id", "patch", "edit", "The next revision of a project"),
    revise("/projects/:id/share", "post", "share", "The next revision of a project, with more grants"),
    revise("/projects/:id/unshare", "post", "unshare", "The next revision of a project, with fewer grants"),
    defineRoute({
      method: "delete",
      path: "/projects/:id",
      summary: "Delete a project everywhere; a tombstone stays",
      access: { platform: "projects:write" },
      params: idParams,
      answer: { status: 204 },
      current: (tx, { caller, params }, now) => lockProject(tx, caller, params.id, now),
      handle: async ({ caller, params, commit }) => {
        await submitProject(commit, caller, { verb: "delete", id: params.id });
        return { status: 204 };
      },
    }),
  ];

  function readBack(caller: PlatformCaller, id: string) {
    return getProject(database.db, caller, id, clock());
  }
}

function readWrite({ object, user_ids: users = [], ...others }: z.infer<typeof writeSchema>) {
  const judged = parseSubmission(object);
  const unknown = Object.keys(others);
  if (unknown.length > 0) {
    const errors = unknown.map((path) => ({ path, code: "unknown_member", message: "is not a member here" }));
    throw new Problem("unknown_member", `Not known here: ${unknown.join(", ")}`, { errors });
  }
  if (users.length > 0) {
    const errors = users.map((_, at) => ({
      path: `user_ids.${at}`,
      code: "unknown_reference",
      message: "is no person here",
    }));
    throw new Problem("unknown_reference", "user_ids name people of this node.", { errors });
  }
  return judged;
}
