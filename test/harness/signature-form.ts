/** Requests of a scripted peer that deviate in the same way in either form of signature. */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import type { ScriptedPeer } from "./peer.ts";
import type { Answer } from "./wire.ts";

export const signatureForms = ["draft-cavage", "rfc9421"] as const;
export type SignatureForm = (typeof signatureForms)[number];

export interface FormKnobs {
  /** The actor whose key signs; the instance's when absent. */
  readonly signer?: string;
  readonly unsigned?: boolean;
  readonly digestUncovered?: boolean;
  /** Signed by a key that nobody has pinned. */
  readonly otherKey?: boolean;
  readonly path?: string;
  readonly method?: string;
  readonly body?: string | Buffer;
  readonly mediaType?: string;
  readonly date?: Date;
  readonly host?: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly tamper?: (body: Buffer) => Buffer;
}

let others: Readonly<Record<SignatureForm, KeyObject>> | undefined;

/** Posts an activity to an inbox of `origin`, signed in that form: by RSA as draft-cavage says, by Ed25519 as RFC 9421. */
export async function postIn(
  form: SignatureForm,
  peer: ScriptedPeer,
  origin: string,
  activity: unknown,
  { signer = peer.actor, unsigned, digestUncovered, otherKey, body, ...knobs }: FormKnobs = {},
): Promise<Answer> {
  others ??= {
    "draft-cavage": generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
    rfc9421: generateKeyPairSync("ed25519").privateKey,
  };
  const privateKey = otherKey === true ? { privateKey: others[form] } : {};
  if (form === "draft-cavage") {
    return await peer.post(origin, activity, {
      ...knobs,
      ...privateKey,
      keyId: `${signer}#main-key`,
      ...(body === undefined ? {} : { body }),
      ...(unsigned === true ? { signature: () => null } : {}),
      ...(digestUncovered === true ? { covered: ["(request-target)", "host", "date"] } : {}),
    });
  }
  return await peer.postMessage(origin, activity, {
    ...knobs,
    ...privateKey,
    keyId: `${signer}#ed25519-key`,
    ...(body === undefined ? {} : { body: Buffer.from(body) }),
    ...(unsigned === true ? { change: () => [] } : {}),
    ...(digestUncovered === true ? { covered: ["@method", "@target-uri"] } : {}),
    // The same moment, where a request is to be sent twice.
    ...(knobs.date === undefined ? {} : { created: Math.floor(knobs.date.getTime() / 1000) }),
  });
}
