/** Actor documents: the instance and its platforms, all with the node's keys (docs/protocol.md, "Identifiers and documents"). */
import { context, features } from "../protocol/activities.ts";
import { actorIds } from "../protocol/ids.ts";
import type { JsonObject } from "../protocol/objects.ts";
import type { NodeKeys } from "./node-keys.ts";

interface Actor {
  readonly origin: string;
  readonly keys: NodeKeys;
  readonly name: string;
}

/** The instance actor at `/actor`. */
export function instanceActor({ origin, keys, name }: Actor): JsonObject {
  const id = actorIds.instance(origin);
  const document = documentOf({ origin, keys, name, id, type: "Application", username: new URL(origin).hostname });
  return keys.chain.length === 0 ? document : { ...document, "hf:keyChain": keys.chain };
}

/** A platform at `/platforms/{handle}`. It holds no transport key: the node's stand under its id. */
export function platformActor({ origin, keys, name, handle }: Actor & { readonly handle: string }): JsonObject {
  const id = actorIds.platform(origin, handle);
  return documentOf({ origin, keys, name, id, type: "Organization", username: handle });
}

function documentOf({
  origin,
  keys,
  name,
  id,
  type,
  username,
}: Actor & { readonly id: string; readonly type: string; readonly username: string }): JsonObject {
  return {
    "@context": context,
    id,
    type,
    preferredUsername: username,
    name,
    inbox: `${id}/inbox`,
    outbox: `${id}/outbox`,
    endpoints: { sharedInbox: `${origin}/inbox`, "hf:batchInbox": `${origin}/batch-inbox` },
    publicKey: { id: `${id}#main-key${keys.suffix}`, owner: id, publicKeyPem: keys.rsa.publicKeyPem },
    assertionMethod: [
      {
        id: `${id}#ed25519-key${keys.suffix}`,
        type: "Multikey",
        controller: id,
        publicKeyMultibase: keys.ed25519.multibase,
      },
    ],
    generator: {
      type: "Application",
      implements: [
        { href: features.messageSignatures, name: "RFC-9421: HTTP Message Signatures" },
        { href: features.receipts, name: "Concordat receipts" },
      ],
    },
  };
}
