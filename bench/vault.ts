/**
 * `seal`, `open`: a project of 1 KiB of content for three readers, sealed and opened with every check, one after the
 * other. Beside it what bare jose does for the same readers over as many octets with the same algorithms, with keys that
 * it was given ready: neither signature nor rules. No store takes part, so there is one profile.
 */
import { type CryptoKey, GeneralEncrypt, generalDecrypt, importJWK } from "jose";
import type { PublicJwk } from "../src/crypto/keys.ts";
import { suite } from "../src/protocol/suite.ts";
import { makePlatformKeys, openAs, sealProject } from "../test/harness/platform.ts";
import { type Benchmark, type Figure, figureOf, type Profile } from "./figure.ts";

const n = 400;
const warmUp = 50;
const content = { description: "x".repeat(1024) };
const { alg, enc } = suite.encryption;

/** Runs `work` so many times, one after the other; gives how often in a second. */
async function measureRate(work: () => Promise<unknown>): Promise<number> {
  for (let at = 0; at < warmUp; at += 1) await work();
  const start = performance.now();
  for (let at = 0; at < n; at += 1) await work();
  return n / ((performance.now() - start) / 1000);
}

async function* measureVault(profile: Profile): AsyncIterable<Figure> {
  const origin = "https://node.example";
  const [owner, first, second] = await Promise.all(
    ["owner", "first", "second"].map((handle) => makePlatformKeys(`${origin}/platforms/${handle}`)),
  );
  if (!owner || !first || !second) throw new Error("three platforms were made");
  const draft = { code: "P-1", grants: [{ to: first }, { to: second }], content };
  const sealed = await sealProject(owner, draft);
  const seal = await measureRate(() => sealProject(owner, draft));
  const open = await measureRate(() => openAs(first, owner, sealed));

  const keyOf = (jwk: PublicJwk) => importJWK({ ...jwk }, alg) as Promise<CryptoKey>;
  const readers = await Promise.all([owner, first, second].map(({ encryption }) => keyOf(encryption.publicJwk)));
  const { ciphertext } = sealed["hf:sealed"] as { readonly ciphertext: string };
  const octets = Buffer.alloc(Buffer.from(ciphertext, "base64url").length, "x");
  const encrypt = async () => {
    const encryption = new GeneralEncrypt(octets).setProtectedHeader({ alg, enc });
    for (const reader of readers) encryption.addRecipient(reader);
    return await encryption.encrypt();
  };
  const jwe = await encrypt();
  const forFirst = { ...jwe, recipients: jwe.recipients.slice(1, 2) };
  const key = await keyOf(first.encryption.privateJwk);
  const bareSeal = await measureRate(encrypt);
  const bareOpen = await measureRate(() => generalDecrypt(forFirst, key));

  const common = { profile, unit: "/s", n };
  const what = "jose alone, encryption for the same readers";
  yield figureOf({ ...common, name: "seal", value: seal, beside: { what, value: bareSeal } });
  yield figureOf({ ...common, name: "open", value: open, beside: { what: "jose alone, decryption", value: bareOpen } });
}

export const vaultBenchmarks: readonly Benchmark[] = [
  { names: ["seal", "open"], profiles: ["embedded"], run: measureVault },
];
