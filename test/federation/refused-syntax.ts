import * as assert from "uvu/assert";
import { mintId } from "../../src/protocol/ids.ts";
import type { TestNode } from "../harness/node.ts";
import type { ScriptedPeer } from "../harness/peer.ts";
import { assertRefused, type Judging, startJudging, type Trace } from "../harness/refusal.ts";
import type { Json } from "../harness/rest.ts";
import { type FormKnobs, postIn, type SignatureForm } from "../harness/signature-form.ts";
import { suite } from "../harness/suite.ts";
import { type Answer, sendRequest } from "../harness/wire.ts";
/** What is malformed, too large or of another kind, and the order in which faults are told (docs/protocol.md, "Answers"). */
export function testRefusedSyntax(form: SignatureForm): void {
  const test = suite(`refusals, ${form}: syntax, sizes and their order`);

  let judging: Judging;
  let node: TestNode;
  let peer: ScriptedPeer;

  test.before(async () => {
    judging = await startJudging((node) => node.admin.ok("POST", "/platforms", { name: "Anybody" }));
    ({ node, peer } = judging);
  });
  test.after(async () => await judging[Symbol.asyncDispose]());

  /** An activity without any effect: what is refused is refused for its signature or its form. */
  const note = (members: Json = {}): Json =>
    peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, ...members });
  const post = (knobs: FormKnobs = {}, activity: unknown = note()) => postIn(form, peer, node.origin, activity, knobs);

  const refuse = (name: string, status: number, code: string, trace: Trace, send: () => Promise<Answer>) =>
    test(`${name}: ${status} ${code}`, async () =>
      void (await assertRefused(node, peer, { status, code, trace }, send)));
  const accept = (name: string, send: () => Promise<Answer>) =>
    test(`accepts ${name}`, async () => {
      const answer = await send();
      assert.is(answer.status, 202, JSON.stringify(answer.body));
      assert.type(answer.body.receipt, "string");
    });
  const raw = (body: string | Buffer) => () => post({ body });
  const nested = (depth: number) => `${'{"x":'.repeat(depth - 1)}{}${"}".repeat(depth - 1)}`;
  const textOf = (members: string) => JSON.stringify(note()).replace(/\}$/, `,${members}}`);
  for (const [name, body] of [
    ["what is no JSON", () => "{"],
    ["an empty body", () => ""],
    ["a BOM", () => `\ufeff${JSON.stringify(note())}`],
    ["octets that are no UTF-8", () => Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff]), Buffer.from('"}')])],
    ["a member twice", () => textOf('"a":1,"a":2')],
    ["a member twice, once escaped", () => textOf('"a":1,"\\u0061":2')],
    ["__proto__", () => textOf('"__proto__":{}')],
    ["constructor", () => textOf('"x":{"constructor":1}')],
    ["a value at depth 33", () => textOf(`"x":${nested(32)}`)],
    ["NUL in a string", () => textOf('"a":"\\u0000"')],
    ["a lone surrogate", () => textOf('"a":"\\ud800"')],
    ["an integer beyond 2^53", () => textOf('"a":9007199254740993')],
    ["an integer beyond 2^53 with an exponent", () => textOf('"a":9.1e15')],
    ["a direction character in a name", () => textOf('"name":"a\\u202eb"')],
    ["a control character in a name", () => textOf('"name":"a\\u0085b"')],
  ] as const) {
    refuse(name, 400, "malformed_json", "none", () => raw(body())());
  }
  accept("a value at depth 32", () => post({ body: textOf(`"x":${nested(31)}`) }));

  for (const [name, make] of [
    ["an array", () => [note()]],
    ["no type", () => note({ type: undefined })],
    ["a type that is a number", () => note({ type: 1 })],
    [
      "a Create of a project without its members",
      () => note({ type: "Create", object: projectShape({ "hf:code": undefined }) }),
    ],
    ["revision 0", () => note({ type: "Create", object: projectShape({ "hf:revision": 0 }) })],
    ["revision 2^31", () => note({ type: "Create", object: projectShape({ "hf:revision": 2 ** 31 }) })],
    ["30 February", () => note({ type: "Create", object: projectShape({ "hf:startDate": "2026-02-30" }) })],
    [
      "an unknown grant mode",
      () =>
        note({
          type: "Create",
          object: projectShape({ "hf:grants": [{ platform: peer.actor, mode: "all", from: "2026-01-01T00:00:00Z" }] }),
        }),
    ],
    [
      "an unknown remote context",
      () => note({ "@context": ["https://www.w3.org/ns/activitystreams", "https://evil.example/c"] }),
    ],
    ["@graph", () => note({ "@graph": [] })],
    ["@reverse in the object", () => note({ object: { id: `${peer.origin}/notes/2`, "@reverse": {} } })],
    ["@included", () => note({ "@included": [] })],
    [
      "@vocab in the context",
      () => note({ "@context": ["https://www.w3.org/ns/activitystreams", { "@vocab": "x:" }] }),
    ],
    [
      "a redefined standard term",
      () => note({ "@context": ["https://www.w3.org/ns/activitystreams", { actor: "x:y" }] }),
    ],
  ] as const) {
    refuse(name, 400, "malformed_activity", "none", () => post({}, make()));
  }
  accept("the other known contexts", () =>
    post(
      {},
      note({
        "@context": [
          "https://www.w3.org/ns/activitystreams",
          "https://w3id.org/security/data-integrity/v2",
          { hf: "urn:concordat:ns#" },
        ],
      }),
    ),
  );

  function projectShape(members: Json): Json {
    return {
      id: mintId(peer.origin, "projects"),
      type: ["Document", "hf:Project"],
      attributedTo: peer.actor,
      "hf:code": "X",
      "hf:grants": [],
      "hf:revision": 1,
      ...members,
    };
  }

  for (const [name, id] of [
    ["no URL", () => "notes"],
    ["no http(s)", () => "urn:x:1"],
    ["userinfo", () => peer.origin.replace("http://", "http://a@")],
    ["another text than its serialisation", () => `${peer.origin}/a/../b`],
    ["an upper-case scheme", () => `HTTP${peer.origin.slice(4)}/a`],
    ["more than 2,048 characters", () => `${peer.origin}/${"a".repeat(2048)}`],
  ] as const) {
    refuse(`an activity id with ${name}`, 400, "malformed_id", "none", () => post({}, note({ id: id() })));
  }
  refuse("an object id with userinfo", 400, "malformed_id", "none", () =>
    post({}, note({ type: "Create", object: projectShape({ id: "http://a:b@x.example/projects/1" }) })),
  );

  refuse("more than 1,000 recipients", 413, "too_large", "none", () =>
    post({}, note({ to: Array.from({ length: 1001 }, (_, at) => `${node.origin}/platforms/p${at}`) })),
  );
  accept("a peer's activity beyond 64 KiB", () => post({}, note({ filling: "x".repeat(100 * 1024) })));
  refuse("a peer's activity beyond 1 MiB", 413, "too_large", "none", () =>
    post({}, note({ filling: "x".repeat(1024 * 1024) })),
  );

  for (const mediaType of [
    "text/plain",
    "application/ld+json",
    "application/activity+json; charset=latin1",
    "garbage",
  ]) {
    refuse(`media type ${mediaType}`, 415, "unsupported_media", "none", () => post({ mediaType }));
  }
  refuse("an encoded body", 415, "unsupported_media", "none", () => post({ headers: [["Content-Encoding", "gzip"]] }));

  for (const [method, path] of [
    ["GET", "/inbox"],
    ["PUT", "/inbox"],
    ["DELETE", "/actor/inbox"],
    ["POST", "/actor"],
    ["PUT", "/api/v1/auth/login"],
  ] as const) {
    test(`${method} ${path}: 405 method_not_allowed, with Allow`, async () => {
      const answer = await sendRequest(node.origin, { method, path, headers: [] });
      assert.is(answer.status, 405);
      assert.is(answer.body.code, "method_not_allowed");
      assert.match(String(answer.headers.allow), path === "/actor" ? /GET/ : /POST/);
      assert.not.match(String(answer.headers.allow), new RegExp(`\\b${method}\\b`));
    });
  }

  /** Of two faults the one that comes first in the order of judgement is told. */
  for (const [name, status, code, trace, send] of [
    [
      "method before media type",
      405,
      "method_not_allowed",
      "none",
      () => post({ method: "PUT", mediaType: "text/plain" }),
    ],
    [
      "media type before size",
      415,
      "unsupported_media",
      "none",
      () => post({ mediaType: "text/plain" }, note({ x: "x".repeat(1024 * 1024) })),
    ],
    ["size before syntax", 413, "too_large", "none", () => post({ body: "{".repeat(1024 * 1024 + 1) })],
    [
      "the number of recipients before the shape",
      413,
      "too_large",
      "none",
      () => post({}, note({ to: Array.from({ length: 1001 }, () => node.origin), type: 1 })),
    ],
    ["syntax before host", 400, "malformed_json", "none", () => post({ body: "{", host: "other.example" })],
    ["shape before host", 400, "malformed_activity", "none", () => post({ host: "other.example" }, note({ type: 1 }))],
    ["ids before host", 400, "malformed_id", "none", () => post({ host: "other.example" }, note({ id: "notes" }))],
    ["syntax before signature", 400, "malformed_json", "none", () => post({ body: "{", unsigned: true })],
    ["host before signature", 421, "wrong_host", "none", () => post({ unsigned: true, host: "other.example" })],
    [
      "signature before origins",
      401,
      "signature_invalid",
      "entry",
      () => post({ otherKey: true }, note({ actor: "http://127.0.0.1:9/actor" })),
    ],
    [
      "the actor before the activity's id",
      403,
      "actor_mismatch",
      "entry",
      () => post({}, note({ actor: "http://127.0.0.1:9/actor", id: "http://127.0.0.1:9/a" })),
    ],
  ] as const) {
    refuse(`order: ${name}`, status, code, trace, send);
  }

  test("the same signed request again gets the same answer and has no second effect", async () => {
    const activity = note();
    const date = new Date();
    const first = await post({ date }, activity);
    assert.is(first.status, 202);
    const receipts = await node.admin.list("/receipts?direction=out");
    const entries = await node.admin.list("/audit");
    const again = await post({ date }, activity);
    assert.is(again.status, 202);
    assert.equal(again.body, first.body);
    assert.equal(await node.admin.list("/receipts?direction=out"), receipts);
    assert.equal(await node.admin.list("/audit"), entries);
  });

  test("an activity counts once, to whichever inbox it comes", async () => {
    const activity = note();
    const answers = [];
    for (const path of ["/inbox", "/actor/inbox", "/platforms/anybody/inbox"])
      answers.push(await post({ path }, activity));
    assert.is((await post({ path: "/platforms/nobody/inbox" }, activity)).status, 404);
    assert.equal(
      answers.map(({ status }) => status),
      [202, 202, 202],
    );
    assert.is(new Set(answers.map(({ body }) => body.receipt)).size, 1);
  });

  test.run();
}
