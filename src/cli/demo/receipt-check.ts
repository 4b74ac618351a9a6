/** Receipts, checked away from the node that holds them: with the issuer's public key and nothing else. */
import { isHeaderOf, isSignedBy, parseCompactJws } from "../../crypto/jws.ts";
import { decodeMultikey, type PublicJwk, thumbprint } from "../../crypto/keys.ts";
import type { JsonObject } from "../../protocol/objects.ts";
import { jwsTypes } from "../../protocol/suite.ts";
import { listReceipts } from "../../sdk/receipts.ts";
import type { DemoNode } from "./node-process.ts";
import type { DemoPlatform } from "./platform-vault.ts";
import { expect } from "./wait.ts";

/**
 * Every receipt for what the platform sent from `home`: made out to `home`, about the activity that it is filed under,
 * signed by the peer that it names. Gives how many there are, at least one.
 */
export async function verifyReceiptsOf(
  platform: DemoPlatform,
  home: DemoNode,
  peers: readonly DemoNode[],
): Promise<number> {
  const keys = new Map<string, PublicJwk>();
  for (const peer of peers) keys.set(peer.origin, await fetchNodeKey(peer));
  const { items } = await listReceipts(platform.client, { instance: home.origin, direction: "in" });
  expect(items.length > 0, `${platform.handle} holds no receipt at ${home.name}.`);
  for (const { peer, activity, jws: text } of items) {
    const key = keys.get(peer);
    const jws = parseCompactJws(text);
    expect(key !== undefined && jws !== null, `The receipt for ${activity} cannot be read, or nobody knows ${peer}.`);
    const { iss, to, activity: about } = jws.payload;
    const fits = isHeaderOf(jws.header, jwsTypes.receipt) && jws.header.kid === thumbprint(key);
    expect(fits && (await isSignedBy(jws, key)), `The receipt for ${activity} is not signed by ${peer}.`);
    expect(iss === peer && to === home.origin && about === activity, `The receipt for ${activity} is about another.`);
  }
  return items.length;
}

/** The Ed25519 key that a node publishes in its instance actor. */
async function fetchNodeKey({ origin, name }: DemoNode): Promise<PublicJwk> {
  const response = await fetch(`${origin}/actor`, { headers: { accept: "application/activity+json" } });
  const actor = (await response.json()) as JsonObject & {
    readonly assertionMethod?: readonly { readonly publicKeyMultibase: string }[];
  };
  const key = decodeMultikey(actor.assertionMethod?.[0]?.publicKeyMultibase ?? "");
  expect(key !== null, `${name} publishes no Ed25519 key.`);
  return key;
}
