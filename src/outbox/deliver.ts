/** One signed request: an activity to a peer's inbox, and what its answer means (docs/protocol.md, "Delivery"). */
import { verifyReceipt } from "../crypto/receipts.ts";
import { isPermanentProblem } from "../errors.ts";
import { type GuardedFetch, OutboundError } from "../identity/guarded-fetch.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import { activityMediaType } from "../protocol/activities.ts";
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";
import type { PeerRow } from "../registry/peers.ts";
import { ed25519JwksOf } from "../registry/pinned-keys.ts";
import { readAcceptSignature } from "../signatures/accept-signature.ts";
import { signRequest } from "../signatures/sign.ts";
import type { DeliveryForm } from "../storage/schema.ts";
import type { RefreshPeerKeys } from "./peer-keys.ts";

export interface DeliveryFailure {
  readonly status: number | null;
  readonly code: string;
  /** Milliseconds that the peer asked us to wait. */
  readonly retryAfter?: number;
}

/** What became of one attempt; failures are told apart by what they speak of. */
export type Outcome = (
  | { readonly kind: "delivered"; readonly receipt: string | null; readonly effect: string | null }
  /** The activity will never be accepted. */
  | { readonly kind: "dead"; readonly failure: DeliveryFailure }
  /** The peer cannot be reached or does not want to talk now: the whole lane waits. */
  | { readonly kind: "peer"; readonly failure: DeliveryFailure }
  /** Something went wrong that may be this activity's doing: it alone waits. */
  | { readonly kind: "activity"; readonly failure: DeliveryFailure }
) & {
  /** The form that was taken where the remembered one was not. */
  readonly form?: DeliveryForm;
};

export interface DeliverDependencies {
  readonly fetcher: GuardedFetch;
  readonly keys: NodeKeys;
  readonly origin: string;
  readonly clock: () => Date;
  /** Aborted when the node stops: no delivery begins, and one that is under way is given up. */
  readonly stopping: AbortSignal;
  readonly refreshPeerKeys: RefreshPeerKeys;
}

const ofPeer = new Set(["peer_not_approved", "wrong_host", "rate_limited", "unavailable"]);
const ofPeerStatus = new Set([401, 421, 429, 503]);
/** From peers without receipts, and so without our codes, these say that the activity is not wanted. */
const permanentStatus = new Set([400, 404, 409, 410, 413, 422, 501]);
/** Milliseconds; what a peer asks for beyond it is not heard. */
export const longestWait = 24 * 3_600_000;

/**
 * Sends `body` to `inbox`, signed freshly by a key of its actor; after a 401 once more in the other form, which is
 * remembered when it is taken. Never throws for what the network does.
 */
export async function deliverActivity(
  dependencies: DeliverDependencies,
  sent: { readonly body: JsonObject; readonly inbox: string; readonly peer: PeerRow },
): Promise<Outcome> {
  const form = sent.peer.signatureForm ?? "draft-cavage";
  try {
    const answer = await knock(dependencies, sent, form);
    const other = answer.status === 401 ? otherForm(form, answer) : null;
    if (other === null) return await judge(dependencies, answer, sent);
    const second = await knock(dependencies, sent, other);
    const outcome = await judge(dependencies, second, sent);
    return second.status === 401 ? outcome : { ...outcome, form: other };
  } catch (error) {
    if (!(error instanceof OutboundError)) throw error;
    const failure = { status: null, code: error.code };
    return { kind: error.phase === "connect" ? "peer" : "activity", failure };
  }
}

/** Judges an answer; a receipt by an unknown key may be by one that the peer has rotated to. */
async function judge(
  { origin, clock, refreshPeerKeys }: DeliverDependencies,
  answer: Answer,
  sent: { readonly body: JsonObject; readonly peer: PeerRow },
): Promise<Outcome> {
  const outcome = await judgeAnswer(answer, { ...sent, origin, now: clock() });
  if (outcome.kind !== "activity" || outcome.failure.code !== "receipt_key_unknown") return outcome;
  const peer = await refreshPeerKeys(sent.peer);
  return peer === sent.peer ? outcome : await judgeAnswer(answer, { ...sent, peer, origin, now: clock() });
}

async function knock(
  { fetcher, keys, clock, stopping }: DeliverDependencies,
  { body, inbox }: { readonly body: JsonObject; readonly inbox: string },
  form: DeliveryForm,
): Promise<Answer> {
  const octets = new TextEncoder().encode(JSON.stringify(body));
  const ed25519 = form === "rfc9421";
  const headers = await signRequest({
    form: form === "draft-cavage" ? "draft-cavage" : "rfc9421",
    method: "POST",
    url: inbox,
    headers: { "content-type": activityMediaType, accept: activityMediaType },
    body: octets,
    keyId: `${body.actor}#${ed25519 ? "ed25519-key" : "main-key"}${keys.suffix}`,
    privateKey: ed25519 ? keys.ed25519.privateKey : keys.rsa.privateKey,
    now: clock(),
  });
  return await fetcher.request({ method: "POST", url: inbox, headers, body: octets, signal: stopping });
}

/** What to try after a 401: what the peer asks for, else the other of the two forms. */
function otherForm(form: DeliveryForm, answer: Answer): DeliveryForm | null {
  const asked = readAcceptSignature([answer.headers["accept-signature"] ?? []].flat());
  const wanted = asked === null ? null : asked.keyType === "ed25519" ? "rfc9421" : "rfc9421-rsa";
  if (wanted !== null && wanted !== form) return wanted;
  return form === "draft-cavage" ? "rfc9421-rsa" : "draft-cavage";
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Uint8Array;
}

async function judgeAnswer(
  answer: Answer,
  sent: { readonly body: JsonObject; readonly peer: PeerRow; readonly origin: string; readonly now: Date },
): Promise<Outcome> {
  const { status } = answer;
  const json = readJson(answer.body);
  if (status >= 200 && status < 300) return await judgeReceipt(status, json, sent);
  // A code is a word; anything else of a peer's making is not stored.
  const code = typeof json?.code === "string" && /^[a-z0-9_]{1,64}$/.test(json.code) ? json.code : null;
  const retryAfter = readRetryAfter(answer.headers["retry-after"], sent.now);
  const failure = { status, code: code ?? `http_${status}`, ...(retryAfter === null ? {} : { retryAfter }) };
  if (ofPeerStatus.has(status) || (code !== null && ofPeer.has(code))) return { kind: "peer", failure };
  const permanent = sent.peer.receipts ? isPermanentProblem(code ?? "") : permanentStatus.has(status);
  if (status >= 400 && permanent) return { kind: "dead", failure };
  return { kind: "activity", failure };
}

/** A peer that signs receipts has accepted nothing before it signed one; a Follow is answered before anybody is a peer. */
async function judgeReceipt(
  status: number,
  json: JsonObject | null,
  { body, peer, origin }: { readonly body: JsonObject; readonly peer: PeerRow; readonly origin: string },
): Promise<Outcome> {
  const receipt = json?.receipt;
  if (typeof receipt === "string") {
    const keys = ed25519JwksOf(peer.keys ?? []);
    const verdict = await verifyReceipt(receipt, { activity: body, self: origin, peer: peer.origin, keys });
    if (verdict.accepted) return { kind: "delivered", receipt, effect: verdict.receipt.effect };
    return { kind: "activity", failure: { status, code: `receipt_${verdict.reason}` } };
  }
  if (peer.receipts && body.type !== "Follow") {
    return { kind: "activity", failure: { status, code: "receipt_missing" } };
  }
  return { kind: "delivered", receipt: null, effect: null };
}

function readJson(octets: Uint8Array): JsonObject | null {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(octets));
    return isJsonObject(value) ? value : null;
  } catch {
    return null;
  }
}

/** Retry-After in milliseconds: seconds or an HTTP date, at most a day. */
function readRetryAfter(value: string | string[] | undefined, now: Date): number | null {
  if (typeof value !== "string") return null;
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now.getTime();
  return Number.isFinite(wait) && wait > 0 ? Math.min(wait, longestWait) : null;
}
