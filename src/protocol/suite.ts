/**
 * The one suite of algorithms (docs/protocol.md, "Agility"): a second one is another row here, chosen by
 * `hf:protocol`, and never negotiated.
 */
export const suite = {
  signature: { alg: "EdDSA", kty: "OKP", crv: "Ed25519", signatureOctets: 64 },
  encryption: {
    alg: "ECDH-ES+A256KW",
    enc: "A256GCM",
    kty: "OKP",
    crv: "X25519",
    ivOctets: 12,
    tagOctets: 16,
    wrappedKeyOctets: 40,
  },
  keyOctets: 32,
} as const;

/** `typ` of every JWS of ours; compared exactly. */
export const jwsTypes = {
  sealed: "hf-sealed+jws",
  keyBundle: "hf-key-bundle",
  membership: "hf-membership",
  receipt: "hf-receipt+jws",
} as const;
