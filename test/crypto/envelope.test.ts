import fc from "fast-check";
import * as assert from "uvu/assert";
import { openObject, type ReaderKnowledge, type SenderIdentity, sealObject } from "../../src/crypto/envelope.ts";
import { inspectEnvelope } from "../../src/crypto/envelope-inspection.ts";
import { generateEncryptionKeys, generateIdentityKeys, type PrivateJwk } from "../../src/crypto/keys.ts";
import { Problem } from "../../src/errors.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors } from "../vectors/load.ts";
import { assertVerdict } from "./verdict.ts";

const test = suite("envelopes");
const { file, cases } = loadVectors("envelope");

interface Platform {
  actor: string;
  identities: SenderIdentity[];
  encryption: { kid: string; privateJwk: PrivateJwk }[];
}
const platforms = file.platforms as Record<string, Platform>;
const identitiesOf = (actor: string) =>
  Object.values(platforms).find((platform) => platform.actor === actor)?.identities ?? [];

/** Who may make the moves that occur in the vectors, from the table of export requests. */
function moversOf(request: Json, to: unknown): string[] {
  const byHolder = ["under_review", "approved", "denied"].includes(String(to));
  return [String(byHolder ? request["hf:holder"] : request.attributedTo)];
}

for (const item of cases) {
  const object = item.object as Json;
  test(`reader ${item.name}`, async () => {
    const { request, ...known } = item.known as ReaderKnowledge & { request?: Json };
    const verdict = await openObject({
      object,
      keys: platforms[item.reader as string]?.encryption ?? [],
      identitiesOf,
      known: request === undefined ? known : { ...known, movers: moversOf(request, object["hf:to"]) },
      isNew: item.new as boolean,
      now: new Date(item.now as string),
    });
    assertVerdict(verdict, item);
    if (verdict.accepted) assert.equal(verdict.content, item.content);
  });
  test(`node ${item.name}`, () => {
    let found = "accept";
    try {
      inspectEnvelope(object);
    } catch (error) {
      assert.instance(error, Problem);
      found = (error as Problem).code;
    }
    assert.is(found, item.node);
  });
}

test("what is sealed passes the node and opens for each recipient, whatever it holds", async () => {
  const identity = await generateIdentityKeys();
  const readers = await Promise.all([1, 2, 3].map(generateEncryptionKeys));
  const sender = "https://ouest.example/platforms/chu";
  const now = new Date("2026-11-23T10:00:00Z");
  const property = fc.asyncProperty(
    fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), fc.string({ unit: "grapheme" }).filter(isPlain)),
    fc.integer({ min: 1, max: 3 }),
    fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    async (entries, count, revision) => {
      const content = Object.fromEntries(
        Object.entries(entries).filter(([name]) => !/^(name|constructor)$/.test(name)),
      );
      const object = {
        id: "https://ouest.example/projects/1",
        type: ["Document", "hf:Project"],
        attributedTo: sender,
        "hf:revision": revision,
        "hf:grants": [],
      };
      const recipients = readers.slice(0, count);
      const sealed = await sealObject({
        object,
        sender,
        identity,
        recipients: recipients.map(({ publicJwk }) => publicJwk),
        content,
        prev: revision === 1 ? null : "A".repeat(43),
        now,
      });
      const facts = inspectEnvelope(sealed);
      assert.equal([...facts.kids].sort(), recipients.map(({ kid }) => kid).sort());
      assert.is(facts.sender, sender);
      for (const reader of readers) {
        const identities = () => [{ jwk: identity.publicJwk }];
        const verdict = await openObject({
          object: sealed,
          keys: [reader],
          identitiesOf: identities,
          isNew: true,
          now,
        });
        if (recipients.includes(reader)) assert.equal(verdict.accepted && verdict.content, content);
        else assert.equal(verdict, { accepted: false, reason: "not_a_recipient" });
      }
    },
  );
  await fc.assert(property, { numRuns: 25 });
});

const isPlain = (text: string) => !text.includes("\u0000");

test("what a reader would refuse is not sealed", async () => {
  const identity = await generateIdentityKeys();
  const { publicJwk } = await generateEncryptionKeys();
  const object = { id: "https://a.example/projects/1", type: "hf:Project", "hf:revision": 1 };
  const common = { object, sender: "https://a.example/platforms/a", identity, prev: null, now: new Date(0) };
  const codeOf = async (recipients: (typeof publicJwk)[], content: Json) => {
    try {
      await sealObject({ ...common, recipients, content });
      return null;
    } catch (error) {
      return (error as Problem).code;
    }
  };
  assert.is(await codeOf([publicJwk], { text: "a\u0000" }), "malformed_json");
  assert.is(await codeOf([publicJwk, publicJwk], {}), "seal");
  assert.is(await codeOf([], {}), "seal");
  assert.is(await codeOf([publicJwk], {}), null);
});

test.run();
