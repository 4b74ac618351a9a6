import type { KeyObject } from "node:crypto";
import { ed25519 } from "@noble/curves/ed25519.js";
import { Problem } from "../errors.ts";

/** Is this an RSA key that can be trusted: 2,048 bits or more, and an exponent that makes forging hard? */
export function isStrongRsa({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): boolean {
  const { modulusLength = 0, publicExponent = 0n } = asymmetricKeyDetails ?? {};
  // With the exponent 1 anybody can sign.
  return asymmetricKeyType === "rsa" && modulusLength >= 2048 && publicExponent >= 3n;
}

/**
 * Refuses what must not be pinned: anything but RSA of 2,048 bits or more and Ed25519 that is not of small order.
 * @throws {Problem} `weak_key`
 */
export function assertStrongKey(publicKey: KeyObject): void {
  if (isStrongRsa(publicKey)) return;
  if (publicKey.asymmetricKeyType === "rsa") throw new Problem("weak_key", "RSA keys have 2,048 bits or more.");
  if (publicKey.asymmetricKeyType !== "ed25519") throw new Problem("weak_key", "Keys are RSA or Ed25519.");
  const { x } = publicKey.export({ format: "jwk" });
  if (!isPointOfLargeOrder(Buffer.from(x ?? "", "base64url"))) {
    throw new Problem("weak_key", "The Ed25519 key is no point of the curve, or one of small order.");
  }
}

function isPointOfLargeOrder(octets: Uint8Array): boolean {
  try {
    return !ed25519.Point.fromBytes(new Uint8Array(octets), true).isSmallOrder();
  } catch {
    return false;
  }
}
