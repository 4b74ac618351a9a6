import { createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { decodeMultikey, thumbprint } from "../../src/crypto/keys.ts";
import { ConcordatError } from "../../src/errors.ts";
import { claimNode, exportNodeKeys, loadNodeKeys, type NodeKeys } from "../../src/identity/node-keys.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { suite } from "../harness/suite.ts";

const test = suite("node keys");
const now = new Date("2026-11-26T08:00:00Z");
const origin = "https://lyon.example";
const folders: string[] = [];
let database: Database;
/** Of two nodes; made once, for RSA keys take their time. */
let keys: NodeKeys;
let other: NodeKeys;

async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), "concordat-keys-"));
  folders.push(made);
  return made;
}

test.before(async () => {
  database = await openDatabase({ dataDir: join(await folder(), "database") });
  keys = await loadNodeKeys({ dataDir: await folder() });
  other = await loadNodeKeys({ dataDir: await folder() });
});
test.after(async () => {
  await database[Symbol.asyncDispose]();
  for (const made of folders) await rm(made, { recursive: true, force: true });
});

async function refusalOf(act: Promise<unknown>): Promise<ConcordatError> {
  try {
    await act;
  } catch (error) {
    if (error instanceof ConcordatError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

test("makes an RSA and an Ed25519 key at the first start, and finds them again", async () => {
  const dataDir = await folder();
  const made = await loadNodeKeys({ dataDir });
  assert.equal(await readdir(dataDir), ["node-keys.json"]);
  assert.is((await stat(join(dataDir, "node-keys.json"))).mode & 0o777, 0o600);
  const rsa = createPublicKey(made.rsa.publicKeyPem);
  assert.is(rsa.asymmetricKeyDetails?.modulusLength, 2048);
  const signature = sign("sha256", Buffer.from("text"), made.rsa.privateKey);
  assert.is(verify("sha256", Buffer.from("text"), rsa, signature), true);
  assert.equal(decodeMultikey(made.ed25519.multibase), made.ed25519.publicJwk);
  assert.is(made.ed25519.kid, thumbprint(made.ed25519.publicJwk));
  assert.equal(Object.keys(made.ed25519.publicJwk).sort(), ["crv", "kty", "x"]);
  assert.is(exportNodeKeys(await loadNodeKeys({ dataDir })), exportNodeKeys(made));
});

test("makes other keys for another node", () => {
  assert.is.not(keys.ed25519.kid, other.ed25519.kid);
  assert.is.not(keys.rsa.kid, other.rsa.kid);
});

test("takes the exported keys as a secret, and writes nothing then", async () => {
  const dataDir = await folder();
  const taken = await loadNodeKeys({ dataDir, secret: exportNodeKeys(keys) });
  assert.is(taken.ed25519.kid, keys.ed25519.kid);
  assert.is(taken.rsa.publicKeyPem, keys.rsa.publicKeyPem);
  assert.equal(await readdir(dataDir), []);
});

test("starts after a first start that ended while it wrote the keys, and keeps them secret", async () => {
  const dataDir = await folder();
  const leftOver = join(dataDir, "node-keys.json.new");
  await writeFile(leftOver, '{"rsa":"-----BEGIN', { mode: 0o644 });
  await chmod(leftOver, 0o644);
  await loadNodeKeys({ dataDir });
  assert.equal(await readdir(dataDir), ["node-keys.json"]);
  assert.is((await stat(join(dataDir, "node-keys.json"))).mode & 0o777, 0o600);
});

test("refuses keys that it cannot read, and leaves the file as it is", async () => {
  const whole = JSON.parse(exportNodeKeys(keys)) as { rsa: string; ed25519: object };
  const broken = [
    "",
    "null",
    "[]",
    "{}",
    '{"rsa":"-----BEGIN',
    JSON.stringify({ rsa: whole.rsa }),
    JSON.stringify({ ...whole, ed25519: keys.ed25519.publicJwk }),
    JSON.stringify({ ...whole, rsa: keys.rsa.publicKeyPem }),
    JSON.stringify({
      ...whole,
      rsa: generateKeyPairSync("ed25519").privateKey.export({ format: "pem", type: "pkcs8" }),
    }),
  ];
  for (const secret of broken) {
    const error = await refusalOf(loadNodeKeys({ dataDir: "/nowhere", secret }));
    assert.is(error.code, "node_keys", secret.slice(0, 60));
    assert.match(error.message, /CONCORDAT_NODE_KEYS.*node-keys export/);
  }
  const dataDir = await folder();
  const path = join(dataDir, "node-keys.json");
  await writeFile(path, "half a fi");
  const error = await refusalOf(loadNodeKeys({ dataDir }));
  assert.is(error.code, "node_keys");
  assert.ok(error.message.startsWith(path));
  assert.is(await readFile(path, "utf8"), "half a fi");
});

test("refuses a file that is none of its own business to replace", async () => {
  const dataDir = await folder();
  await mkdir(join(dataDir, "node-keys.json"));
  const error = await refusalOf(loadNodeKeys({ dataDir }));
  assert.is(error.code, "node_keys");
  assert.match(error.message, /EISDIR/);
});

test("refuses RSA keys of less than 2,048 bits", async () => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const rsa = privateKey.export({ format: "pem", type: "pkcs8" });
  const secret = JSON.stringify({ ...JSON.parse(exportNodeKeys(keys)), rsa });
  assert.is((await refusalOf(loadNodeKeys({ dataDir: "/nowhere", secret }))).code, "weak_key");
});

test("records who the node is at the first start, and refuses another origin or other keys later", async () => {
  const claim = (as: string, using: NodeKeys) => {
    return database.transaction((tx) => claimNode(tx, { origin: as, keys: using, now }));
  };
  await claim(origin, keys);
  await claim(origin, keys);

  const moved = await refusalOf(claim("https://paris.example", keys));
  assert.is(moved.code, "origin_changed");
  assert.match(moved.message, /https:\/\/paris\.example.*https:\/\/lyon\.example/);

  const swapped = await refusalOf(claim(origin, other));
  assert.is(swapped.code, "node_keys_changed");
  assert.ok(swapped.message.includes(other.ed25519.kid) && swapped.message.includes(keys.ed25519.kid));

  const half = await refusalOf(claim(origin, { ...keys, rsa: other.rsa }));
  assert.is(half.code, "node_keys_changed");
  assert.ok(half.message.includes(other.rsa.kid) && half.message.includes(keys.rsa.kid));

  await claim(origin, keys);
});

test.run();
