import * as assert from "uvu/assert";
import { createInvitation, judgeInvitation, parseInvitation } from "../../src/crypto/invitation.ts";
import { generateIdentityKeys } from "../../src/crypto/keys.ts";
import { ConcordatError } from "../../src/errors.ts";
import { suite } from "../harness/suite.ts";
import { loadVectors } from "../vectors/load.ts";
import { assertVerdict } from "./verdict.ts";

const test = suite("invitations");
const { cases } = loadVectors("invitation");

for (const item of cases) {
  test(item.name, () => {
    const verdict = judgeInvitation({ text: item.invitation, self: item.self as string, now: item.now as number });
    assertVerdict(verdict, item);
    if (verdict.accepted) assert.equal(verdict.invitation, item.result);
  });
}

const origin = "https://ouest.example";
const { kid: key } = await generateIdentityKeys();
const token = Uint8Array.from({ length: 32 }, (_, index) => index);

test("one made here says what it was made of, and counts until it ends", () => {
  const text = createInvitation({ origin, key, token, exp: 2000, for: "https://lyon.example" });
  const judge = (self: string, now: number) => judgeInvitation({ text, self, now });
  const invitation = {
    origin,
    key,
    token: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    exp: 2000,
    for: "https://lyon.example",
  };
  assert.equal(judge("https://lyon.example", 1999), { accepted: true, invitation });
  assert.equal(judge("https://lyon.example", 2000), { accepted: false, reason: "expired" });
  assert.equal(judge("https://paris.example", 1999), { accepted: false, reason: "for_another" });
});

test("plain HTTP is taken only by a node that has nothing better itself", () => {
  const text = createInvitation({ origin: "http://127.0.0.1:8080", key, token, exp: 2000 });
  assert.is(judgeInvitation({ text, self: "http://127.0.0.1:8081", now: 1 }).accepted, true);
  const refusal = { accepted: false, reason: "malformed" };
  assert.equal(judgeInvitation({ text, self: "https://lyon.example", now: 1 }), refusal);
});

test("members that are not ours are left out", () => {
  const json = { origin, key, token: "A".repeat(43), exp: 2000, note: "hello" };
  const text = `concordat-invite.${Buffer.from(JSON.stringify(json)).toString("base64url")}`;
  assert.equal(parseInvitation(text), { origin, key, token: "A".repeat(43), exp: 2000 });
});

test("none is made that no node would take", () => {
  const good = { origin, key, token, exp: 2000 };
  const bad = [
    { ...good, token: token.slice(1) },
    { ...good, origin: `${origin}/` },
    { ...good, for: "lyon.example" },
    { ...good, key: "short" },
    { ...good, exp: 1795514400000 },
  ];
  for (const values of bad) {
    assert.throws(
      () => createInvitation(values),
      (error: unknown) => error instanceof ConcordatError && error.code === "invitation",
    );
  }
});

test.run();
