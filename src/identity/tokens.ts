/** Access tokens of the REST API: JWTs of at most 15 minutes, signed by the node (docs/protocol.md, "Platform and administrator API"). */

import { jwtVerify, SignJWT } from "jose";
import { limits } from "../protocol/limits.ts";
import type { NodeKeys } from "./node-keys.ts";

const type = "at+jwt";
const algorithm = "EdDSA";

export interface AccessToken {
  readonly sessionId: string;
  readonly subject: string;
}

/** A token for a session; `audience` and issuer are this node. */
export async function signAccessToken(
  token: AccessToken & { readonly origin: string; readonly now: Date; readonly seconds: number },
  { ed25519 }: NodeKeys,
): Promise<string> {
  const issued = Math.floor(token.now.getTime() / 1000);
  return await new SignJWT({ sid: token.sessionId })
    .setProtectedHeader({ alg: algorithm, typ: type, kid: ed25519.kid })
    .setIssuer(token.origin)
    .setAudience(token.origin)
    .setSubject(token.subject)
    .setIssuedAt(issued)
    .setExpirationTime(issued + token.seconds)
    .sign(ed25519.privateJwk);
}

/** The session that a token names, or null when it is not one of ours or is over. */
export async function verifyAccessToken(
  text: string,
  { keys, origin, now }: { readonly keys: NodeKeys; readonly origin: string; readonly now: Date },
): Promise<AccessToken | null> {
  try {
    const { payload } = await jwtVerify(text, keys.ed25519.publicJwk, {
      algorithms: [algorithm],
      typ: type,
      issuer: origin,
      audience: origin,
      currentDate: now,
      requiredClaims: ["sid", "sub", "exp", "iat"],
    });
    // Issued while the clock was ahead, it would be good for longer than any token is.
    if (Number(payload.iat) > now.getTime() / 1000 + limits.clockSkew) return null;
    return typeof payload.sid === "string" ? { sessionId: payload.sid, subject: payload.sub ?? "" } : null;
  } catch {
    return null;
  }
}
