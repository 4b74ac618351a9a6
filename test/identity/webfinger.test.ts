import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import { answerWebFinger } from "../../src/identity/webfinger.ts";
import { suite } from "../harness/suite.ts";

const test = suite("WebFinger");
const origin = "https://lyon.example:8443";
const platforms: Readonly<Record<string, string>> = { chu: "active", old: "suspended" };

function answer(resource: string | undefined, at = origin) {
  return answerWebFinger(resource, {
    origin: at,
    findPlatform: async (handle) => {
      const status = Object.hasOwn(platforms, handle) ? platforms[handle] : undefined;
      return status === undefined ? undefined : { status };
    },
  });
}

async function codeOf(resource: string | undefined): Promise<string> {
  try {
    await answer(resource);
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
  return "answered";
}

const chu = {
  subject: "acct:chu@lyon.example:8443",
  aliases: [`${origin}/platforms/chu`],
  links: [{ rel: "self", type: "application/activity+json", href: `${origin}/platforms/chu` }],
};

test("leads from an account, with the port of the origin, and from the actor's URL to the platform", async () => {
  assert.equal(await answer("acct:chu@lyon.example:8443"), chu);
  assert.equal(await answer("acct:chu@LYON.example:8443"), chu);
  assert.equal(await answer(`${origin}/platforms/chu`), chu);
  const standard = await answer("acct:chu@lyon.example", "https://lyon.example");
  assert.is(standard.subject, "acct:chu@lyon.example");
});

test("leads from the actor's URL and from its preferred user name to the instance", async () => {
  const instance = {
    subject: "acct:lyon.example@lyon.example:8443",
    aliases: [`${origin}/actor`],
    links: [{ rel: "self", type: "application/activity+json", href: `${origin}/actor` }],
  };
  assert.equal(await answer(`${origin}/actor`), instance);
  assert.equal(await answer("acct:lyon.example@lyon.example:8443"), instance);
});

test("knows nothing of unknown and suspended platforms, other hosts and other documents", async () => {
  const unknown = [
    "acct:nobody@lyon.example:8443",
    "acct:old@lyon.example:8443",
    `${origin}/platforms/old`,
    "acct:chu@lyon.example",
    "acct:chu@other.example",
    "acct:constructor@lyon.example:8443",
    "acct:../actor@lyon.example:8443",
    `${origin}/platforms/`,
    `${origin}/platforms/lyon.example`,
    `${origin}/platforms/chu/inbox`,
    `${origin}/platforms/chu#main-key`,
    `${origin}/projects/chu`,
    "https://lyon.example/platforms/chu",
    "https://other.example/actor",
  ];
  for (const resource of unknown) assert.is(await codeOf(resource), "not_found", resource);
});

test("refuses what is neither an account nor a URL", async () => {
  const malformed = [
    undefined,
    "",
    "chu",
    "acct:",
    "acct:chu",
    "acct:@lyon.example:8443",
    "acct:chu@",
    "acct:chu@a@b",
    "mailto:chu@lyon.example",
    "https://lyon.example",
  ];
  for (const resource of malformed) assert.is(await codeOf(resource), "invalid", resource);
});

test.run();
