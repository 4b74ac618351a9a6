/** The two signature algorithms, by the type of the key: RSA PKCS #1 v1.5 with SHA-256, and Ed25519. */
import { constants, type KeyObject, sign, verify } from "node:crypto";

/** Does `signature` verify over the octets of `signed`? Off the event loop. */
export async function verifyText(signed: string, signature: Uint8Array, publicKey: KeyObject): Promise<boolean> {
  return await new Promise((resolve, reject) => {
    const { hash, key } = withAlgorithm(publicKey);
    verify(hash, octetsOf(signed), key, signature, (error, valid) => {
      if (error) reject(error);
      else resolve(valid);
    });
  });
}

/** The signature over the octets of `text`. Off the event loop. */
export async function signText(text: string, privateKey: KeyObject): Promise<Uint8Array> {
  return await new Promise((resolve, reject) => {
    const { hash, key } = withAlgorithm(privateKey);
    sign(hash, octetsOf(text), key, (error, signature) => {
      if (error) reject(error);
      else resolve(signature);
    });
  });
}

/** Header values are octets, which Node gives as Latin-1. */
function octetsOf(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

function withAlgorithm(key: KeyObject) {
  return key.asymmetricKeyType === "rsa"
    ? { hash: "sha256", key: { key, padding: constants.RSA_PKCS1_PADDING } }
    : { hash: null, key };
}
