/** Sizes and times that protocol and program agree on (docs/protocol.md, "Identifiers and documents", "Answers"). */
export const limits = {
  /** Octets of one activity from anybody. */
  activityOctets: 64 * 1024,
  /** Octets of one activity where the keyid's origin is an approved peer. */
  peerActivityOctets: 1024 * 1024,
  /** Octets and activities of one batch. */
  batchOctets: 4 * 1024 * 1024,
  batchActivities: 100,
  recipients: 1000,
  /** Items of one activity's `hf:bundles` that are read, and bundles in all of them that are judged. */
  bundles: 1000,
  jsonDepth: 32,
  idCharacters: 2048,
  /** Greatest `hf:revision` and `hf:seq`. */
  revision: 2 ** 31 - 1,
  /** Seconds by which a clock of the other side may differ. */
  clockSkew: 300,
  headerMilliseconds: 10_000,
  bodyMilliseconds: 30_000,
  /** Octets of bodies, whole or not, of all requests to one process that are not answered yet; what waits there to be stored. */
  heldOctets: 64 * 1024 * 1024,
  /** What a request waits for the stores, or for others before it, until it is answered 503; peers wait 10 s. */
  storeMilliseconds: 5_500,
  /** Outbound requests: connect, whole, octets of the answer. */
  connectMilliseconds: 5_000,
  requestMilliseconds: 10_000,
  responseOctets: 1024 * 1024,
  /** Stored Follows of strangers, per origin and in all. */
  followsPerOrigin: 3,
  follows: 100,
} as const;
