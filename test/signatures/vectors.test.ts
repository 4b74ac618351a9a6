import { createPublicKey, type KeyObject } from "node:crypto";
import { base58 } from "@scure/base";
import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import { parseSignature, requireSignature, verifySignature } from "../../src/signatures/policy.ts";
import { type HttpRequest, readHeaderLines } from "../../src/signatures/request.ts";
import { suite } from "../harness/suite.ts";
import { loadVectors, type VectorCase } from "../vectors/load.ts";

interface Peer {
  readonly state: string;
  readonly actor: string;
  readonly keys: readonly {
    readonly id: string;
    readonly publicKeyPem?: string;
    readonly publicKeyMultibase?: string;
  }[];
}

/** What only sockets can show; the tests of the HTTP server run these. */
const leftToSockets = new Map([["refuses: two Host lines", "the HTTP parser answers"]]);

const { file, cases } = loadVectors("signatures");
const receiver = file.receiver as string;
const test = suite("signatures: vectors");

for (const item of cases) {
  const request = readRequest(item);
  if (leftToSockets.has(item.name)) continue;
  test(item.name, async () => {
    const code = await judge(request, item);
    // Every refused GET is 404 on the wire; the reason is what is judged here.
    const expected = item.expect === "accept" ? null : item.code === "not_found" ? item.reason : item.code;
    assert.is(code, expected);
  });
}

test("judges every case but those left to sockets", () => {
  assert.is(cases.length - leftToSockets.size, 116);
});

function readRequest(item: VectorCase): HttpRequest {
  const { body, ...request } = item.request as Omit<HttpRequest, "body"> & { readonly body: string };
  return { ...request, body: new TextEncoder().encode(body) };
}

/** The order of the inbox, with what the primitives need of it: the code of the refusal, or null. */
async function judge(request: HttpRequest, item: VectorCase): Promise<string | null> {
  const peers = { ...(file.peers as Record<string, Peer>), ...(item.peers as Record<string, Peer> | undefined) };
  try {
    const found = parseSignature(request);
    if (readHeaderLines(request, "host")[0] !== new URL(receiver).host) throw new Problem("wrong_host");
    const parsed = requireSignature(found);
    const [actor = "", fragment = ""] = parsed.keyId.split("#");
    const peer = peers[new URL(actor).origin];
    if (peer?.state !== "approved") throw new Problem("peer_not_approved");
    const key = peer.keys.find(({ id }) => id.endsWith(`#${fragment}`));
    if (!key) throw new Problem("signature_key");
    const verdict = await verifySignature(request, parsed, {
      key: { publicKey: readKey(key) },
      origin: receiver,
      now: new Date((item.now as number) * 1000),
      skewSeconds: 300,
    });
    if (!verdict.verified) return verdict.code;
    const text = new TextDecoder().decode(request.body);
    // A GET and a batch are the instance actor's.
    const activity = text === "" ? null : (JSON.parse(text) as { actor: string } | unknown[]);
    const claimed = activity === null || Array.isArray(activity) ? peer.actor : activity.actor;
    if (actor !== claimed && actor !== peer.actor) throw new Problem("actor_mismatch");
    if (new URL(claimed).origin !== new URL(actor).origin) throw new Problem("actor_mismatch");
    return null;
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
}

function readKey({ publicKeyPem, publicKeyMultibase = "" }: Peer["keys"][number]): KeyObject {
  if (publicKeyPem !== undefined) return createPublicKey(publicKeyPem);
  const x = Buffer.from(base58.decode(publicKeyMultibase.slice(1)).slice(2)).toString("base64url");
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
}

test.run();
