import { createPublicKey, generateKeyPairSync } from "node:crypto";
import * as assert from "uvu/assert";
import { signCompact } from "../../src/crypto/jws.ts";
import { encodeMultikey, generateIdentityKeys, type KeyPair } from "../../src/crypto/keys.ts";
import {
  createNodeKeyLink,
  judgeNodeKeyChain,
  type NodeKeyPin,
  type NodePublicKeys,
  pinNodeKeys,
} from "../../src/crypto/node-key-chain.ts";
import { ConcordatError } from "../../src/errors.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors } from "../vectors/load.ts";
import { assertVerdict } from "./verdict.ts";

const test = suite("chain of node keys");
const { file, cases } = loadVectors("node-key-chain");
const vectorKeys = file.keys as Record<string, NodeKeyPin>;
const entries = file.entries as Json;

for (const item of cases) {
  test(item.name, async () => {
    const document = vectorKeys[item.actorKeys as string] as NodeKeyPin;
    const chain = (item.chain as string[]).map((name) => entries[name]);
    const pin = vectorKeys[item.pin as string] as NodeKeyPin;
    const { origin } = file as { origin: string };
    const verdict = await judgeNodeKeyChain({ pin, chain, document, origin, now: item.now as number });
    assertVerdict(verdict, item);
    if (!verdict.accepted) return;
    const { publicKeyPem, ed25519 } = document;
    assert.equal(verdict.pin, { seq: chain.length, publicKeyPem, ed25519 });
    const seqs = Array.from({ length: chain.length - pin.seq }, (_, index) => pin.seq + index + 1);
    assert.equal(
      verdict.links.map((link) => link.seq),
      seqs,
    );
  });
}

const origin = "https://lyon.example";
const now = 1000;

interface Generation {
  readonly key: KeyPair;
  readonly keys: NodePublicKeys;
}

async function makeGeneration(): Promise<Generation> {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = await generateIdentityKeys();
  const publicKeyPem = publicKey.export({ format: "pem", type: "spki" }).toString();
  return { key, keys: { publicKeyPem, ed25519: encodeMultikey(key.publicJwk) } };
}

const generations = [await makeGeneration(), await makeGeneration(), await makeGeneration()] as const;
const [first, second, third] = generations;
const pin: NodeKeyPin = { seq: 0, ...first.keys };
const link = (chain: readonly string[], by: Generation, next: NodePublicKeys) =>
  createNodeKeyLink({ origin, chain, next, key: by.key, now });
const one = await link([], first, second.keys);
const two = await link([one], second, third.keys);

test("two rotations made here are followed, from the start and from between", async () => {
  const verdict = await judgeNodeKeyChain({ pin, chain: [one, two], document: third.keys, origin, now });
  const links = [
    { seq: 1, ...second.keys, iat: now },
    { seq: 2, ...third.keys, iat: now },
  ];
  assert.equal(verdict, { accepted: true, pin: { seq: 2, ...third.keys }, links });
  const between = { seq: 1, ...second.keys };
  const later = await judgeNodeKeyChain({ pin: between, chain: [one, two], document: third.keys, origin, now });
  assert.equal(later, { accepted: true, pin: { seq: 2, ...third.keys }, links: links.slice(1) });
});

test("a chain that is missing is an empty one, and one that is no list is refused", async () => {
  const judge = (chain: unknown) => judgeNodeKeyChain({ pin, chain, document: first.keys, origin, now });
  assert.equal(await judge(undefined), { accepted: true, pin, links: [] });
  assert.equal(await judge(one), { accepted: false, reason: "chain_shape" });
  assert.equal(await judge(["a.b.c"]), { accepted: false, reason: "chain_shape" });
});

test("another link under the pinned seq is refused, although the document keeps the pinned keys", async () => {
  const chain = [await link([], first, third.keys)];
  const pinned = { seq: 1, ...second.keys };
  const verdict = await judgeNodeKeyChain({ pin: pinned, chain, document: second.keys, origin, now });
  assert.equal(verdict, { accepted: false, reason: "chain_equivocation" });
});

test("iat may be ahead by 300 seconds", async () => {
  const judge = (at: number) => judgeNodeKeyChain({ pin, chain: [one], document: second.keys, origin, now: at });
  assert.is((await judge(now - 300)).accepted, true);
  assert.equal(await judge(now - 301), { accepted: false, reason: "iat_future" });
});

test("line ends of a PEM are no other key, text beside it in a link is refused", async () => {
  const document = { ...second.keys, publicKeyPem: second.keys.publicKeyPem.replaceAll("\n", "\r\n") };
  const verdict = await judgeNodeKeyChain({ pin, chain: [one], document, origin, now });
  assert.equal(verdict.accepted && verdict.pin, { seq: 1, ...document });
  const padded = { ...second.keys, publicKeyPem: `${second.keys.publicKeyPem}note\n` };
  const chain = [await link([], first, padded)];
  assert.equal(await judgeNodeKeyChain({ pin, chain, document: padded, origin, now }), {
    accepted: false,
    reason: "chain_shape",
  });
});

test("an RSA key with the exponent 1, and another kind of key, are weak", async () => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { n } = createPublicKey(second.keys.publicKeyPem).export({ format: "jwk" });
  const forgeable = createPublicKey({ key: { kty: "RSA", n: n as string, e: "AQ" }, format: "jwk" });
  const unsafe = [publicKey, forgeable].map((key) => key.export({ format: "pem", type: "spki" }).toString());
  for (const publicKeyPem of unsafe) {
    const document = { ...second.keys, publicKeyPem };
    const chain = [await link([], first, document)];
    const refusal = { accepted: false, reason: "weak_key" };
    assert.equal(await judgeNodeKeyChain({ pin, chain, document, origin, now }), refusal);
    assert.equal(await pinNodeKeys({ chain, document, origin }), refusal);
  }
});

test("a link is signed only by the key that the chain ends in", async () => {
  const failure = await link([one], first, third.keys).then(
    () => null,
    (error: unknown) => error,
  );
  assert.instance(failure, ConcordatError);
  assert.is((failure as ConcordatError).code, "key_chain");
  const damaged = await link(["a.b.c"], first, second.keys).then(
    () => null,
    (error: unknown) => error,
  );
  assert.is((damaged as ConcordatError).code, "key_chain");
});

test("approval pins the keys that the chain ends in, with a broken link before them too", async () => {
  const payload = { iss: origin, seq: 2, prev: null, ...third.keys, iat: now };
  const broken = await signCompact(payload, "hf-node-keys", first.key);
  const chain = [one, broken];
  const held = await judgeNodeKeyChain({ pin, chain, document: third.keys, origin, now });
  assert.equal(held, { accepted: false, reason: "chain_broken" });
  const approved = await pinNodeKeys({ chain, document: third.keys, origin });
  assert.equal(approved, { accepted: true, pin: { seq: 2, ...third.keys } });
  const next = [...chain, await link(chain, third, second.keys)];
  const verdict = await judgeNodeKeyChain({
    pin: { seq: 2, ...third.keys },
    chain: next,
    document: second.keys,
    origin,
    now,
  });
  assert.is(verdict.accepted && verdict.pin.seq, 3);
});

test("approval refuses a chain that ends in other keys, in another seq or at another node", async () => {
  const refused = async (chain: readonly string[], document: NodePublicKeys, at = origin) => {
    const verdict = await pinNodeKeys({ chain, document, origin: at });
    return verdict.accepted ? null : verdict.reason;
  };
  assert.is(await refused([one], first.keys), "actor_keys");
  assert.is(await refused([two], third.keys), "chain_order");
  assert.is(await refused([one], second.keys, "https://paris.example"), "issuer");
  assert.equal(await pinNodeKeys({ chain: undefined, document: first.keys, origin }), { accepted: true, pin });
});

test.run();
