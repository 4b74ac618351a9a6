import * as assert from "uvu/assert";
import { mintId } from "../../src/protocol/ids.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { joinPlatform, makePlatformKeys, sealNext, sealProject, type TestPlatform } from "../harness/platform.ts";
import { createRest, type Json, logIn, type RestAnswer } from "../harness/rest.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

/** The contract of the REST API with scripts: status, code and members (docs/rest.md). */
const test = suite("REST API");
const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
const browser = "https://console.example";

let node: TestNode;
let owner: TestPlatform;
let grantee: TestPlatform;

test.before(async () => {
  node = await startNode({
    store,
    environment: { CONCORDAT_CORS_ORIGINS: browser, CONCORDAT_TRUST_PROXY: "127.0.0.0/8" },
  });
  owner = await joinPlatform(node, "owner");
  grantee = await joinPlatform(node, "grantee");
});
test.after(async () => {
  await node[Symbol.asyncDispose]();
});

function assertProblem(answer: RestAnswer, status: number, code: string): Json {
  assert.is(answer.body.code, code, `${answer.status} ${JSON.stringify(answer.body)}`);
  assert.is(answer.status, status);
  assert.is(answer.body.status, status);
  assert.match(String(answer.headers["content-type"]), /^application\/problem\+json/);
  return answer.body;
}
const pathsOf = (problem: Json) => (problem.errors as Json[]).map(({ path }) => path);
const logInFrom = (address: string, body: Json) =>
  createRest(node.origin).call("POST", "/auth/login", body, { "x-forwarded-for": address });

test("an administrator logs in as JSON or as a form, and the answer has the contract's members", async () => {
  const form = "username=admin&password=not-a-secret-in-a-test";
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  const { status, body } = await createRest(node.origin).call("POST", "/auth/login", form, headers);
  assert.is(status, 200);
  assert.is(body.token_type, "Bearer");
  assert.is(body.username, "admin");
  assert.is(body.is_admin, true);
  assert.is(body.platform, null);
  assert.ok(Number(body.expires_in) > 0 && Number(body.expires_in) <= 900);
  for (const member of ["firstname", "lastname", "email", "last_login", "role"]) assert.ok(member in body, member);
});

test("a platform logs in with its handle and an access key", async () => {
  const { body } = await logInFrom("203.0.113.1", { username: "owner", password: owner.accessKey });
  assert.equal(body.platform, { id: owner.id, handle: "owner", uri: owner.uri });
  assert.is(body.is_admin, false);
});

test("a wrong password and an unknown name get the same answer", async () => {
  const wrong = await logInFrom("203.0.113.2", { username: "admin", password: "wrong-password" });
  const unknown = await logInFrom("203.0.113.2", { username: "nobody", password: "wrong-password" });
  const foreignKey = await logInFrom("203.0.113.2", { username: "grantee", password: owner.accessKey });
  assertProblem(wrong, 401, "invalid_credentials");
  assert.equal(unknown.body, wrong.body);
  assert.equal(foreignKey.body, wrong.body);
});

test("the tenth failed login for an account, or from an address, is the last that is tried", async () => {
  const attempts = (make: (count: number) => [string, Json]) => Array.from({ length: 11 }, (_, count) => make(count));
  for (const [number, [address, body]] of attempts((count) => [
    `203.0.113.${10 + count}`,
    { username: "throttled", password: "x" },
  ]).entries()) {
    const answer = await logInFrom(address, body);
    if (number < 10) assertProblem(answer, 401, "invalid_credentials");
    else assertProblem(answer, 429, "rate_limited");
    assert.is(answer.headers["retry-after"] !== undefined, number === 10);
  }
  for (const [number, [address, body]] of attempts((count) => [
    "203.0.113.99",
    { username: `somebody-${count}`, password: "x" },
  ]).entries()) {
    const answer = await logInFrom(address, body);
    if (number < 10) assertProblem(answer, 401, "invalid_credentials");
    else assertProblem(answer, 429, "rate_limited");
  }
  assertProblem(await logInFrom("203.0.113.99", { username: "owner", password: owner.accessKey }), 429, "rate_limited");
});

test("no token, a broken one and one that was logged out are refused", async () => {
  assertProblem(await createRest(node.origin).call("GET", "/projects"), 401, "unauthenticated");
  assertProblem(await createRest(node.origin, "garbage").call("GET", "/projects"), 401, "unauthenticated");
  const rest = await logIn(node.origin, "grantee", grantee.accessKey);
  const forged = `${String(rest.token).slice(0, -6)}AAAAAA`;
  assertProblem(await createRest(node.origin, forged).call("GET", "/projects"), 401, "unauthenticated");
  assert.is((await rest.call("POST", "/auth/logout", {})).status, 204);
  assertProblem(await rest.call("GET", "/projects"), 401, "unauthenticated");
  assert.is((await grantee.rest.call("GET", "/projects")).status, 200);
});

test("a suspended platform is out at once and in again when it is resumed", async () => {
  const platform = await joinPlatform(node, "suspended");
  await node.admin.ok("PATCH", `/platforms/${platform.id}`, { status: "suspended" });
  assertProblem(await platform.rest.call("GET", "/projects"), 401, "unauthenticated");
  assertProblem(
    await logInFrom("203.0.113.3", { username: "suspended", password: platform.accessKey }),
    401,
    "invalid_credentials",
  );
  await node.admin.ok("PATCH", `/platforms/${platform.id}`, { status: "active" });
  assert.is((await logIn(node.origin, "suspended", platform.accessKey)).token !== undefined, true);
  assertProblem(await platform.rest.call("GET", "/projects"), 401, "unauthenticated");
});

test("an archived access key ends with every session that it opened", async () => {
  const platform = await joinPlatform(node, "archived");
  const body = { platform_id: platform.id, label: "second" };
  const second = await node.admin.ok("POST", "/platforms/access-keys", body);
  assert.type(second.key, "string");
  const rest = await logIn(node.origin, "archived", String(second.key));
  const archived = await node.admin.ok("PATCH", `/platforms/access-keys/${String(second.id)}/archive`, {});
  assert.is(archived.key, undefined);
  assert.ok(archived.archived_at);
  assertProblem(await rest.call("GET", "/projects"), 401, "unauthenticated");
  assert.is((await platform.rest.call("GET", "/projects")).status, 200);
});

test("a platform never uses an administrator's route, nor one beyond its rights", async () => {
  assertProblem(await owner.rest.call("POST", "/platforms", { name: "X" }), 403, "right_missing");
  assertProblem(await owner.rest.call("GET", "/peers"), 403, "right_missing");
  assertProblem(await owner.rest.call("GET", "/audit"), 403, "right_missing");
  const limited = await joinPlatform(node, "limited", ["projects:read"]);
  const object = await sealProject(limited, { code: "L" });
  assertProblem(await limited.rest.call("POST", "/projects", { object }), 403, "right_missing");
  assertProblem(await limited.rest.call("GET", "/platforms/recipients"), 403, "right_missing");
  assertProblem(await node.admin.call("POST", "/projects", { object }), 403, "right_missing");
});

test("unknown members, wrong types and missing members are told by path", async () => {
  const unknown = assertProblem(
    await node.admin.call("POST", "/platforms", { name: "X", surprise: 1 }),
    400,
    "unknown_member",
  );
  assert.equal(pathsOf(unknown), ["surprise"]);
  const wrong = assertProblem(await node.admin.call("POST", "/platforms", { name: 1 }), 400, "invalid");
  assert.equal(pathsOf(wrong), ["name"]);
  assert.equal(pathsOf(assertProblem(await node.admin.call("POST", "/platforms", {}), 400, "invalid")), ["name"]);
  assertProblem(await node.admin.call("POST", "/platforms", "{"), 400, "malformed_json");
  assertProblem(await node.admin.call("POST", "/platforms", '{"name":"a","name":"b"}'), 400, "malformed_json");
  assertProblem(
    await node.admin.call("POST", "/platforms", "x", { "content-type": "text/plain" }),
    415,
    "unsupported_media",
  );
  assertProblem(await node.admin.call("GET", "/platforms?surprise=1"), 400, "unknown_member");
  assertProblem(await node.admin.call("GET", "/platforms?limit=0"), 400, "invalid");
  assertProblem(await node.admin.call("GET", "/platforms?cursor=AAAA"), 400, "invalid");
  assertProblem(await node.admin.call("GET", "/nowhere"), 404, "not_found");
  assertProblem(await node.admin.call("GET", "/platforms/no-uuid"), 404, "not_found");
});

test("a range that is reversed is invalid", async () => {
  const body = { name: "R", kind: "other", valid_from: "2026-02-01", valid_until: "2026-01-01" };
  assertProblem(await node.admin.call("POST", "/projects/frameworks", body), 400, "invalid");
  assertProblem(
    await node.admin.call("POST", "/projects/frameworks", { name: "R", kind: "other", valid_from: "2026-02-30" }),
    400,
    "invalid",
  );
});

test("PATCH leaves what is absent and clears what is null", async () => {
  const body = { name: "Reference methodology", kind: "mr-004", reference: "MR-004", valid_from: "2026-01-01" };
  const created = await node.admin.ok("POST", "/projects/frameworks", body);
  const path = `/projects/frameworks/${String(created.id)}`;
  assert.is((await node.admin.ok("PATCH", path, {})).reference, "MR-004");
  const cleared = await node.admin.ok("PATCH", path, { reference: null });
  assert.is(cleared.reference, null);
  assert.is(cleared.valid_from, "2026-01-01");
  assertProblem(await node.admin.call("PATCH", path, { name: null }), 400, "invalid");
});

test("an id of nothing in a body is an unknown reference; a name that is there is taken", async () => {
  const nothing = mintId(node.origin, "projects").slice(-36);
  assertProblem(
    await node.admin.call("POST", "/entities", { name: "E", entity_type_id: nothing }),
    422,
    "unknown_reference",
  );
  assertProblem(
    await node.admin.call("POST", "/platforms/access-keys", { platform_id: nothing }),
    422,
    "unknown_reference",
  );
  const type = await node.admin.ok("POST", "/entities/types", { name: "Hospital" });
  assertProblem(await node.admin.call("POST", "/entities/types", { name: "Hospital" }), 409, "id_taken");
  await node.admin.ok("POST", "/entities", { name: "CHU", entity_type_id: type.id });
  assertProblem(await node.admin.call("POST", "/entities", { name: "CHU", entity_type_id: type.id }), 409, "id_taken");
  assertProblem(await node.admin.call("POST", "/platforms", { name: "Other", handle: "owner" }), 409, "id_taken");
});

test("a project names entities, frameworks and platforms that exist, and a code of its own", async () => {
  const stranger = await makePlatformKeys("http://127.0.0.1:9/platforms/nobody");
  const declare = async (object: Json) => await owner.rest.call("POST", "/projects", { object });
  const unknownEntity = await sealProject(owner, { code: "U1", clear: { "hf:entities": [{ name: "Nowhere" }] } });
  assertProblem(await declare(unknownEntity), 422, "unknown_reference");
  const unknownFramework = await sealProject(owner, {
    code: "U2",
    clear: { "hf:frameworks": [{ kind: "other", name: "None" }] },
  });
  assertProblem(await declare(unknownFramework), 422, "unknown_reference");
  const unknownGrantee = await sealProject(owner, { code: "U3", grants: [{ to: stranger }] });
  assertProblem(await declare(unknownGrantee), 422, "unknown_reference");

  const known = {
    "hf:entities": [{ name: "CHU" }],
    "hf:frameworks": [{ kind: "mr-004", name: "Reference methodology" }],
  };
  const created = await declare(await sealProject(owner, { code: "K1", clear: known }));
  assert.is(created.status, 201, JSON.stringify(created.body));
  assert.is(String(created.headers.location), `/api/v1/projects/${String(created.body.id)}`);
  assertProblem(await declare(await sealProject(owner, { code: "K1" })), 409, "id_taken");
});

test("a project that is not sealed, or not for exactly its readers, is refused", async () => {
  const declare = async (object: unknown) => await owner.rest.call("POST", "/projects", { object });
  const plain = await owner.rest.call("POST", "/projects", { code: "OLD", name: "Plain", description: "text" });
  assert.match(String(assertProblem(plain, 422, "envelope_missing").detail), /SDK/);
  const { "hf:sealed": sealed, ...clear } = await sealProject(owner, { code: "S1", grants: [{ to: grantee }] });
  assertProblem(await declare(clear), 422, "envelope_missing");
  assertProblem(await declare({ ...clear, "hf:sealed": { ...(sealed as Json), zip: "DEF" } }), 422, "envelope_shape");
  assertProblem(await declare({ ...clear, "hf:sealed": sealed, summary: "ward 3" }), 422, "clear_field_refused");
  const forOne = await sealProject(owner, { code: "S2" });
  const grants = [{ platform: grantee.uri, mode: "readonly", from: "2026-01-01T00:00:00Z" }];
  const stale = assertProblem(await declare({ ...forOne, "hf:grants": grants }), 422, "recipients_stale");
  assert.equal(stale.platforms, [grantee.uri]);
  const foreign = await sealProject(owner, { code: "S3", uri: mintId("http://127.0.0.1:9", "projects") });
  assertProblem(await declare(foreign), 403, "foreign_id");
  assertProblem(await declare(await sealProject(grantee, { code: "S4" })), 403, "not_owner");
});

test("sharing changes grants and nothing else", async () => {
  const object = await sealProject(owner, { code: "G1" });
  const { id } = await owner.rest.ok("POST", "/projects", { object });
  const more = await sealNext(owner, object, { grants: [{ to: grantee }], clear: { name: "Renamed" } });
  assertProblem(
    await owner.rest.call("POST", `/projects/${String(id)}/share`, { object: more }),
    422,
    "grants_refused",
  );
  assertProblem(await grantee.rest.call("GET", `/projects/${String(id)}`), 404, "not_found");
});

test("a name that shows nothing is refused, of whatever it is", async () => {
  const name = " \u200b";
  const { id: type } = await node.admin.ok("POST", "/entities/types", { name: "Of a blank name" });
  for (const [method, path, body] of [
    ["POST", "/platforms", { name, handle: "blank" }],
    ["PATCH", `/platforms/${grantee.id}`, { name }],
    ["POST", "/entities/types", { name }],
    ["POST", "/entities", { name, entity_type_id: type }],
    ["POST", "/projects/frameworks", { name, kind: "other" }],
  ] as const) {
    assert.equal(pathsOf(assertProblem(await node.admin.call(method, path, body), 400, "invalid")), ["name"], path);
  }
  const key = { platform_id: grantee.id, label: name };
  const refused = assertProblem(await node.admin.call("POST", "/platforms/access-keys", key), 400, "invalid");
  assert.equal(pathsOf(refused), ["label"]);
  const object = await sealProject(owner, { code: name, clear: { name } });
  const project = assertProblem(await owner.rest.call("POST", "/projects", { object }), 400, "invalid");
  assert.equal(pathsOf(project), ["object.name", "object.hf:code"]);
});

test("If-Match refuses a change of what has changed since", async () => {
  const before = await node.admin.call("GET", `/platforms/${grantee.id}`);
  const tag = String(before.headers.etag);
  const path = `/platforms/${grantee.id}`;
  assert.is((await node.admin.call("PATCH", path, { name: "Renamed" }, { "if-match": tag })).status, 200);
  assertProblem(
    await node.admin.call("PATCH", path, { name: "Again" }, { "if-match": tag }),
    412,
    "precondition_failed",
  );
  assert.is((await node.admin.ok("GET", path)).name, "Renamed");
});

test("an Idempotency-Key gets the same answer once more, and refuses another body", async () => {
  const headers = { "idempotency-key": "one" };
  const first = await node.admin.call("POST", "/entities/types", { name: "Registry" }, headers);
  assert.is(first.status, 201);
  const again = await node.admin.call("POST", "/entities/types", { name: "Registry" }, headers);
  assert.equal([again.status, again.text], [first.status, first.text]);
  assertProblem(
    await node.admin.call("POST", "/entities/types", { name: "Other" }, headers),
    409,
    "idempotency_conflict",
  );
});

test("pages are stable while rows are added, in each order", async () => {
  for (let count = 0; count < 7; count += 1) await node.admin.ok("POST", "/entities/types", { name: `Type ${count}` });
  const expected = (await node.admin.list("/entities/types")).map(({ id }) => id);
  const seen: unknown[] = [];
  let cursor: unknown = null;
  do {
    const page: Json = await node.admin.ok(
      "GET",
      `/entities/types?limit=2${cursor === null ? "" : `&cursor=${String(cursor)}`}`,
    );
    assert.ok((page.items as Json[]).length <= 2);
    seen.push(...(page.items as Json[]).map(({ id }) => id));
    cursor = page.next_cursor;
    await node.admin.ok("POST", "/entities/types", { name: `Added ${seen.length}` });
  } while (cursor !== null && seen.length < 50);
  assert.is(new Set(seen).size, seen.length, "no row twice");
  for (const id of expected) assert.ok(seen.includes(id), "no row lost");
});

test("only configured browser origins may use the API", async () => {
  const preflight = (origin: string) =>
    fetch(`${node.origin}/api/v1/projects`, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "POST" },
    });
  const allowed = await preflight(browser);
  assert.is(allowed.status, 204);
  assert.is(allowed.headers.get("access-control-allow-origin"), browser);
  assert.is(allowed.headers.get("access-control-allow-credentials"), null);
  assert.match(String(allowed.headers.get("vary")), /origin/i);
  assert.is((await preflight("https://evil.example")).headers.get("access-control-allow-origin"), null);
});

test("every operation of the OpenAPI document exists, declares its answers, and its references resolve", async () => {
  const document = (await (await fetch(`${node.origin}/openapi.json`)).json()) as Json;
  assert.match(String(document.openapi), /^3\.1\./);
  const references = JSON.stringify(document).match(/"\$ref":"#\/[^"]*"/g) ?? [];
  for (const reference of new Set(references)) {
    const steps = reference.slice('"$ref":"#/'.length, -1).split("/");
    let value: unknown = document;
    for (const step of steps) value = (value as Json | undefined)?.[step];
    assert.ok(value, reference);
  }
  const paths = document.paths as Record<string, Record<string, Json>>;
  for (const known of [
    "/api/v1/auth/login",
    "/api/v1/projects/{id}/share",
    "/api/v1/peers/{id}/approve",
    "/api/v1/audit",
  ]) {
    assert.ok(paths[known], known);
  }
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const name = `${method} ${path}`;
      assert.ok(operation.summary, name);
      assert.ok((operation.responses as Json).default, name);
      const url = `${node.origin}${path.replace("{id}", grantee.id)}`;
      const answer = await fetch(url, { method: method.toUpperCase() });
      const { code } = (await answer.json()) as Json;
      if ((operation.security as unknown[]).length > 0) assert.is(code, "unauthenticated", name);
      else assert.not.ok([404, 405].includes(answer.status), name);
    }
  }
});

test("the OpenAPI document names the headers under which a change is asked for", async () => {
  const { paths } = (await (await fetch(`${node.origin}/openapi.json`)).json()) as Record<"paths", Json>;
  const headersOf = (method: string, path: string) => {
    const operation = (paths[`/api/v1${path}`] as Record<string, Json>)[method];
    const parameters = (operation?.parameters ?? []) as Json[];
    return parameters.filter((one) => one.in === "header" && one.required !== true).map((one) => one.name);
  };
  assert.equal(headersOf("patch", "/projects/{id}"), ["If-Match"]);
  assert.equal(headersOf("delete", "/platforms/{id}"), ["If-Match"]);
  assert.equal(headersOf("post", "/projects/{id}/share").sort(), ["Idempotency-Key", "If-Match"]);
  assert.equal(headersOf("post", "/peers"), ["Idempotency-Key"]);
  assert.equal(headersOf("post", "/auth/login"), []);
  assert.equal(headersOf("get", "/projects/{id}"), []);
});

test.run();
