/** The instance actor of another node: fetched through the guard, and judged before anything of it is pinned. */
import { createPublicKey, type KeyObject } from "node:crypto";
import { z } from "zod";
import { decodeMultikey, fingerprint } from "../crypto/keys.ts";
import { Problem } from "../errors.ts";
import { activityMediaType, features } from "../protocol/activities.ts";
import { actorIds, originOf } from "../protocol/ids.ts";
import { parseStrictJson } from "../protocol/strict-json.ts";
import { idSchema, isBlank, nameSchema } from "../protocol/values.ts";
import { assertStrongKey } from "../signatures/strong-key.ts";
import type { DeliveryForm, PinnedKey } from "../storage/schema.ts";
import { type GuardedFetch, type OutboundAnswer, OutboundError } from "./guarded-fetch.ts";

export interface RemoteActor {
  readonly actorUri: string;
  /** The shared inbox where there is one. */
  readonly inbox: string;
  /** Where it takes batches, if it does. */
  readonly batchInbox: string | null;
  readonly name: string | null;
  readonly software: string | null;
  /** `id` is the fragment of the keyid. */
  readonly keys: readonly PinnedKey[];
  /** Of the Ed25519 key; of the RSA key where there is no other. */
  readonly fingerprint: string;
  /** Does it sign receipts? */
  readonly receipts: boolean;
  /** How it is signed to first; what it turns out to take is remembered. */
  readonly signatureForm: DeliveryForm;
  /** `hf:keyChain` as it came; judged by whoever pins. */
  readonly keyChain?: unknown;
}

const keySchema = z.looseObject({ id: idSchema, owner: idSchema, publicKeyPem: z.string().max(10_000) });
const multikeySchema = z.looseObject({
  id: idSchema,
  type: z.literal("Multikey"),
  controller: idSchema,
  publicKeyMultibase: z.string().max(1_000),
});

const actorSchema = z.looseObject({
  id: idSchema,
  name: nameSchema(200).optional(),
  preferredUsername: nameSchema(200).optional(),
  inbox: idSchema,
  outbox: idSchema.optional(),
  endpoints: z.looseObject({ sharedInbox: idSchema.optional(), "hf:batchInbox": idSchema.optional() }).optional(),
  publicKey: keySchema,
  assertionMethod: z
    .array(z.union([multikeySchema, z.looseObject({}), z.string()]))
    .max(20)
    .optional(),
  generator: z
    .looseObject({
      implements: z
        .array(z.looseObject({ href: z.string().optional() }))
        .max(100)
        .optional(),
    })
    .optional(),
});

type ActorDocument = z.infer<typeof actorSchema>;

/** @throws {Problem} `actor_unreachable` (502), `actor_refused` and `weak_key` (422) */
export async function fetchInstanceActor(fetcher: GuardedFetch, origin: string): Promise<RemoteActor> {
  const url = actorIds.instance(origin);
  const answer = await request(fetcher, url);
  if (answer.status >= 300 && answer.status < 400) throw refuse("its address redirects");
  if (answer.status !== 200) throw new Problem("actor_unreachable", `${url} answers ${answer.status}.`);
  return readInstanceActor(parseDocument(answer.body), origin);
}

/** An instance actor's document, judged. @throws {Problem} `actor_refused` and `weak_key` (422) */
export function readInstanceActor(document: unknown, origin: string): RemoteActor {
  const url = actorIds.instance(origin);
  const actor = readActor(document);
  if (actor.id !== url) throw refuse("its id is not the address that it was fetched from");
  requireOrigin(actor, origin);
  const rsa = readRsaKey(actor);
  const ed25519 = readEd25519Keys(actor);
  const keys: PinnedKey[] = [
    { id: fragmentOf(actor.publicKey.id, url), publicKeyPem: actor.publicKey.publicKeyPem },
    ...ed25519.map((key) => ({ id: fragmentOf(key.id, url), publicKeyMultibase: key.publicKeyMultibase })),
  ];
  const [first] = ed25519;
  const shown = first ? decodeMultikey(first.publicKeyMultibase) : null;
  const implemented = (actor.generator?.implements ?? []).map((feature) => feature.href ?? "");
  // Without an Ed25519 key there is nothing that a receipt could be verified with.
  const receipts = implemented.includes(features.receipts) && first !== undefined;
  const messageSignatures = implemented.some((feature) => /\/rfc9421\b/i.test(feature));
  return {
    actorUri: url,
    inbox: actor.endpoints?.sharedInbox ?? actor.inbox,
    batchInbox: actor.endpoints?.["hf:batchInbox"] ?? null,
    name: [actor.name, actor.preferredUsername].find((name) => name !== undefined && !isBlank(name)) ?? null,
    software: null,
    keys,
    fingerprint: fingerprint(shown ?? (rsa.export({ format: "jwk" }) as Record<string, unknown>)),
    receipts,
    signatureForm: receipts && messageSignatures ? "rfc9421" : "draft-cavage",
    ...(actor["hf:keyChain"] === undefined ? {} : { keyChain: actor["hf:keyChain"] }),
  };
}

const refuse = (reason: string) => new Problem("actor_refused", `The remote instance's actor is refused: ${reason}.`);

async function request(fetcher: GuardedFetch, url: string): Promise<OutboundAnswer> {
  try {
    return await fetcher.request({ method: "GET", url, headers: { accept: activityMediaType } });
  } catch (error) {
    if (!(error instanceof OutboundError)) throw error;
    if (error.code === "address_refused") throw refuse("its address is one that this node does not connect to");
    if (error.code === "response_too_large") throw refuse("its answer is too large");
    throw new Problem("actor_unreachable", `${url} does not answer (${error.code}).`);
  }
}

function parseDocument(octets: Uint8Array): unknown {
  try {
    return parseStrictJson(octets);
  } catch {
    throw refuse("its document is not strict JSON");
  }
}

function readActor(document: unknown): ActorDocument {
  const parsed = actorSchema.safeParse(document);
  if (parsed.success) return parsed.data;
  throw refuse(`${parsed.error.issues[0]?.path.join(".")} is missing or malformed`);
}

/** An actor's URLs are all on its own origin and port: nothing may point a node at somebody else. */
function requireOrigin(actor: ActorDocument, origin: string): void {
  const { inbox, outbox, endpoints, publicKey } = actor;
  const shared = [endpoints?.sharedInbox, endpoints?.["hf:batchInbox"]];
  const urls = [inbox, outbox, ...shared, publicKey.id, publicKey.owner];
  if (urls.some((url) => url !== undefined && originOf(url) !== origin)) throw refuse("it points to another origin");
}

function readRsaKey(actor: ActorDocument): KeyObject {
  if (actor.publicKey.owner !== actor.id) throw refuse("its key belongs to another actor");
  const key = parsePem(actor.publicKey.publicKeyPem);
  if (key?.asymmetricKeyType !== "rsa") throw refuse("publicKey is not an RSA key");
  assertStrongKey(key);
  return key;
}

function parsePem(pem: string): KeyObject | null {
  // Node would also take a certificate, or a private key, whose pinning would put it into our database.
  if (!/-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(pem) || /PRIVATE KEY/.test(pem)) return null;
  try {
    return createPublicKey({ key: pem, format: "pem", type: "spki" });
  } catch {
    return null;
  }
}

type Multikey = z.infer<typeof multikeySchema>;

/** The Ed25519 Multikeys that the actor controls (FEP-521a); other entries are other suites' business. */
function readEd25519Keys(actor: ActorDocument): readonly Multikey[] {
  const keys = (actor.assertionMethod ?? []).flatMap((entry) => multikeySchema.safeParse(entry).data ?? []);
  return keys.filter((key) => {
    const jwk = decodeMultikey(key.publicKeyMultibase);
    if (jwk === null) return false;
    if (key.controller !== actor.id) throw refuse("a Multikey is controlled by another actor");
    assertStrongKey(createPublicKey({ key: { ...jwk }, format: "jwk" }));
    return true;
  });
}

function fragmentOf(keyId: string, actor: string): string {
  if (!keyId.startsWith(`${actor}#`)) throw refuse("a key's id is not the actor's id and a fragment");
  return keyId.slice(actor.length);
}
