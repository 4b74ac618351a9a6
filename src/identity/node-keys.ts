/** The node's own keys, and the record of who this node is (docs/protocol.md, "Identifiers and documents"). */
import { createPrivateKey, createPublicKey, generateKeyPair, hkdfSync, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseCompactJws } from "../crypto/jws.ts";
import { encodeMultikey, type PrivateJwk, type PublicJwk, parsePublicJwk, thumbprint } from "../crypto/keys.ts";
import { createNodeKeyLink } from "../crypto/node-key-chain.ts";
import { ConcordatError } from "../errors.ts";
import { assertStrongKey } from "../signatures/strong-key.ts";
import type { Tx } from "../storage/database.ts";
import { nodes } from "../storage/schema.ts";
import { writeWhole } from "../storage/whole-file.ts";

export interface NodeKeys {
  /** Signs draft-cavage requests; named `#main-key`. */
  readonly rsa: { readonly privateKey: KeyObject; readonly publicKeyPem: string; readonly kid: string };
  /** Signs receipts and access tokens; named `#ed25519-key`. */
  readonly ed25519: {
    readonly kid: string;
    readonly privateKey: KeyObject;
    readonly privateJwk: PrivateJwk;
    readonly publicJwk: PublicJwk;
    readonly multibase: string;
  };
  /** All rotations so far, in order: compact JWS, each by the Ed25519 key before it. */
  readonly chain: readonly string[];
  /** What keyids end in after a rotation: `-2`, `-3`. */
  readonly suffix: string;
}

/** The secret form: what the file and `CONCORDAT_NODE_KEYS` hold. */
interface NodeKeysSecret {
  readonly rsa: string;
  readonly ed25519: PrivateJwk;
  readonly chain?: readonly string[];
}

const fileName = "node-keys.json";
const generate = promisify(generateKeyPair);

/**
 * The keys from `secret` (JSON), else from the data directory, where they are made at the first start (mode 0600).
 * @throws {ConcordatError} `node_keys` when they cannot be read, `weak_key`; with `existing` `node_missing`
 */
export async function loadNodeKeys({
  dataDir,
  secret,
  existing = false,
}: {
  readonly dataDir: string;
  readonly secret?: string | undefined;
  /** Makes none. */
  readonly existing?: boolean;
}): Promise<NodeKeys> {
  if (secret !== undefined) return parseNodeKeys(secret, "CONCORDAT_NODE_KEYS");
  const path = join(dataDir, fileName);
  const stored = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw new ConcordatError("node_keys", `The node's keys in ${path} cannot be read (${error.code}).`, {
      cause: error,
    });
  });
  if (stored !== null) return parseNodeKeys(stored, path);
  if (existing) {
    throw new ConcordatError(
      "node_missing",
      `There are no keys of a node in ${dataDir}: \`concordat serve\` makes them.`,
    );
  }
  const made = await makeSecret();
  await writeWhole(path, made);
  return parseNodeKeys(made, path);
}

/** A secret of the node for one purpose, the same in all of its processes; it changes with the keys. */
export function deriveSecret({ ed25519 }: NodeKeys, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", Buffer.from(ed25519.privateJwk.d, "base64url"), "", purpose, 32));
}

/** New keys of a node that has none, kept nowhere yet. */
export async function makeNodeKeys(): Promise<NodeKeys> {
  return parseNodeKeys(await makeSecret(), "the new keys");
}

/** The keys as one JSON secret, for several processes. */
export function exportNodeKeys({ rsa, ed25519, chain }: NodeKeys): string {
  const secret: NodeKeysSecret = {
    rsa: rsa.privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
    ed25519: ed25519.privateJwk,
    ...(chain.length > 0 ? { chain } : {}),
  };
  return JSON.stringify(secret);
}

/**
 * Replaces the node's keys by new ones, which the old Ed25519 key vouches for; they count from the next start. With keys
 * from a file the file is replaced whole; `secret` is the caller's to put where it came from.
 */
export async function rotateNodeKeys({
  dataDir,
  secret,
  origin,
  now,
}: {
  readonly dataDir: string;
  readonly secret?: string | undefined;
  readonly origin: string;
  readonly now: Date;
}): Promise<NodeKeys> {
  const old = await loadNodeKeys({ dataDir, secret, existing: true });
  const fresh = await makeNodeKeys();
  const link = await createNodeKeyLink({
    origin,
    chain: old.chain,
    next: { publicKeyPem: fresh.rsa.publicKeyPem, ed25519: fresh.ed25519.multibase },
    key: old.ed25519,
    now: Math.floor(now.getTime() / 1000),
  });
  const rotated = parseNodeKeys(exportNodeKeys({ ...fresh, chain: [...old.chain, link] }), "the new keys");
  if (secret === undefined) await writeWhole(join(dataDir, fileName), exportNodeKeys(rotated));
  return rotated;
}

async function makeSecret(): Promise<string> {
  const rsa = await generate("rsa", { modulusLength: 2048 });
  const ed25519 = await generate("ed25519", {});
  return JSON.stringify({
    rsa: rsa.privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
    ed25519: ed25519.privateKey.export({ format: "jwk" }),
  });
}

function parseNodeKeys(text: string, place: string): NodeKeys {
  try {
    const secret = JSON.parse(text) as NodeKeysSecret;
    const rsaKey = createPrivateKey(secret.rsa);
    const rsaPublic = createPublicKey(rsaKey);
    const edKey = createPrivateKey({ key: { ...secret.ed25519 }, format: "jwk" });
    const edPublic = createPublicKey(edKey);
    assertStrongKey(rsaPublic);
    assertStrongKey(edPublic);
    const publicJwk = parsePublicJwk(edPublic.export({ format: "jwk" }), "Ed25519");
    if (publicJwk === null || rsaKey.asymmetricKeyType !== "rsa") throw new Error("not an RSA and an Ed25519 key");
    const { d } = edKey.export({ format: "jwk" });
    const chain = secret.chain ?? [];
    return {
      rsa: {
        privateKey: rsaKey,
        publicKeyPem: rsaPublic.export({ format: "pem", type: "spki" }).toString(),
        kid: thumbprint(rsaPublic.export({ format: "jwk" }) as Record<string, unknown>),
      },
      ed25519: {
        kid: thumbprint(publicJwk),
        privateKey: edKey,
        publicJwk,
        privateJwk: { ...publicJwk, d: d as string },
        multibase: encodeMultikey(publicJwk),
      },
      chain,
      suffix: chain.length === 0 ? "" : `-${chain.length + 1}`,
    };
  } catch (error) {
    if (error instanceof ConcordatError) throw error;
    throw new ConcordatError(
      "node_keys",
      `${place} does not hold the node's keys; it is the JSON that \`concordat node-keys export\` writes.`,
      { cause: error },
    );
  }
}

/**
 * Records origin and keys at the first start; later refuses another origin or other keys: peers have pinned both.
 * @throws {ConcordatError} `origin_changed`, `node_keys_changed`, naming both values
 */
export async function claimNode(
  tx: Tx,
  { origin, keys, now }: { readonly origin: string; readonly keys: NodeKeys; readonly now: Date },
): Promise<void> {
  const own = { origin, rsaThumbprint: keys.rsa.kid, ed25519Thumbprint: keys.ed25519.kid };
  await tx
    .insert(nodes)
    .values({ ...own, createdAt: now })
    .onConflictDoNothing();
  const [node] = await tx.select().from(nodes);
  if (!node) throw new ConcordatError("node_missing", "The database has lost the record of this node.");
  if (node.origin !== origin) {
    throw new ConcordatError(
      "origin_changed",
      `CONCORDAT_ORIGIN is ${origin}, but this database belongs to ${node.origin}: set it back, or start with another database.`,
    );
  }
  if (vouchesFor(keys, node.ed25519Thumbprint)) {
    await tx.update(nodes).set(own);
    return;
  }
  const changed = [
    { kind: "Ed25519", found: own.ed25519Thumbprint, recorded: node.ed25519Thumbprint },
    { kind: "RSA", found: own.rsaThumbprint, recorded: node.rsaThumbprint },
  ].find(({ found, recorded }) => found !== recorded);
  if (changed) {
    throw new ConcordatError(
      "node_keys_changed",
      `The node's ${changed.kind} key is ${changed.found}, but this database belongs to ${changed.recorded}: ` +
        "bring back the node-keys.json that belongs to it (or CONCORDAT_NODE_KEYS).",
    );
  }
}

/** Were these keys reached from the recorded one by rotations? Then the record follows. */
function vouchesFor({ chain, ed25519 }: NodeKeys, recorded: string): boolean {
  return recorded !== ed25519.kid && chain.some((link) => parseCompactJws(link)?.header.kid === recorded);
}
