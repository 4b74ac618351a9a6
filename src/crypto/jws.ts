/**
 * JWS as all formats of Concordat use it (RFC 7515, RFC 8037): every parameter protected, exactly the members named,
 * payloads strict JSON kept as signed, base64url canonical (docs/protocol.md, "Conventions").
 */
import { CompactSign, FlattenedSign, flattenedVerify, importJWK } from "jose";
import { ConcordatError } from "../errors.ts";
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";
import { parseStrictJson } from "../protocol/strict-json.ts";
import { suite } from "../protocol/suite.ts";
import { decodeBase64url, type PrivateJwk, type PublicJwk } from "./keys.ts";

/** A compact JWS taken apart; nothing in it is verified yet. */
export interface CompactJws {
  readonly protected: string;
  readonly header: JsonObject;
  /** The payload's octets as they were signed. */
  readonly octets: Uint8Array;
  readonly payload: JsonObject;
  readonly encodedPayload: string;
  readonly signature: string;
}

/** Strict JSON object of canonical base64url, or null. */
export function decodeJsonObject(text: unknown): { readonly octets: Uint8Array; readonly value: JsonObject } | null {
  const octets = decodeBase64url(text);
  if (octets === null) return null;
  try {
    const value = parseStrictJson(octets);
    return isJsonObject(value) ? { octets, value } : null;
  } catch {
    return null;
  }
}

/** Takes a compact JWS apart, or gives null when its form is not strict. */
export function parseCompactJws(text: unknown): CompactJws | null {
  if (typeof text !== "string") return null;
  const [encodedHeader, encodedPayload, signature, ...rest] = text.split(".");
  if (encodedHeader === undefined || encodedPayload === undefined || signature === undefined || rest.length > 0) {
    return null;
  }
  const header = decodeJsonObject(encodedHeader);
  const payload = decodeJsonObject(encodedPayload);
  if (header === null || payload === null || decodeBase64url(signature) === null) return null;
  return {
    protected: encodedHeader,
    header: header.value,
    octets: payload.octets,
    payload: payload.value,
    encodedPayload,
    signature,
  };
}

/** Does the header hold exactly `alg`, `typ` and `kid` (and `further`), with our algorithm and this `typ`? */
export function isHeaderOf(header: JsonObject, typ: string, further: readonly string[] = []): boolean {
  const names = Object.keys(header).sort().join();
  return (
    names === ["alg", "kid", "typ", ...further].sort().join() &&
    header.alg === suite.signature.alg &&
    header.typ === typ &&
    typeof header.kid === "string"
  );
}

/** Is this one signature by this key over the payload as signed? */
export async function isSignedBy(
  jws: { readonly protected: string; readonly encodedPayload: string; readonly signature: string },
  publicJwk: PublicJwk,
): Promise<boolean> {
  if (decodeBase64url(jws.signature)?.length !== suite.signature.signatureOctets) return false;
  try {
    const key = await importVerificationKey(publicJwk);
    await flattenedVerify({ protected: jws.protected, payload: jws.encodedPayload, signature: jws.signature }, key, {
      algorithms: [suite.signature.alg],
    });
    return true;
  } catch {
    return false;
  }
}

/** By their `x`: the keys of a few peers verify most of what is verified. */
const verificationKeys = new Map<string, ReturnType<typeof importJWK>>();
const mostVerificationKeys = 1_000;

async function importVerificationKey({ kty, crv, x }: PublicJwk) {
  const name = `${kty} ${crv} ${x}`;
  const key = verificationKeys.get(name) ?? importJWK({ kty, crv, x }, suite.signature.alg);
  verificationKeys.delete(name);
  verificationKeys.set(name, key);
  const [oldest] = verificationKeys.keys();
  if (verificationKeys.size > mostVerificationKeys && oldest !== undefined) verificationKeys.delete(oldest);
  return await key;
}

/** What signs: the private JWK under its `kid`. */
export interface SigningKey {
  readonly kid: string;
  readonly privateJwk: PrivateJwk;
}

/** The JWK as it is: jose imports each object once, which costs more than signing with it. */
function signingJwk({ privateJwk }: SigningKey): PrivateJwk {
  if (privateJwk.crv !== suite.signature.crv) {
    throw new ConcordatError("jwk", `Only ${suite.signature.crv} keys sign; the key given is ${privateJwk.crv}.`);
  }
  return privateJwk;
}

/** A compact JWS over `payload` with exactly `alg`, `typ` and `kid` in its header. */
export async function signCompact(payload: JsonObject, typ: string, key: SigningKey): Promise<string> {
  return new CompactSign(new TextEncoder().encode(JSON.stringify(payload)))
    .setProtectedHeader({ alg: suite.signature.alg, typ, kid: key.kid })
    .sign(signingJwk(key));
}

/** One signature of a general JWS over payload octets; `jwk` goes into the protected header where it is given. */
export async function signGeneralPart(
  octets: Uint8Array,
  typ: string,
  key: SigningKey,
  jwk?: PublicJwk,
): Promise<{ readonly protected: string; readonly signature: string }> {
  const header = { alg: suite.signature.alg, typ, kid: key.kid, ...(jwk === undefined ? {} : { jwk: { ...jwk } }) };
  const signed = await new FlattenedSign(octets).setProtectedHeader(header).sign(signingJwk(key));
  if (signed.protected === undefined) throw new ConcordatError("jws", "The signature has no protected header.");
  return { protected: signed.protected, signature: signed.signature };
}
