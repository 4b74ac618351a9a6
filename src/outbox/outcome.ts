/** What an answer to a delivery means, whether the activity went alone or in a batch (docs/protocol.md, "Delivery"). */
import { verifyReceipt } from "../crypto/receipts.ts";
import { isPermanentProblem } from "../errors.ts";
import type { JsonObject } from "../protocol/objects.ts";
import type { RefreshPeerKeys } from "../registry/peer-pins.ts";
import type { PeerRow } from "../registry/peers.ts";
import { ed25519JwksOf } from "../registry/pinned-keys.ts";
import type { DeliveryForm } from "../storage/schema.ts";

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

/** What was said of one activity. */
export interface Said {
  readonly status: number;
  /** The body, or the problem: an object, or null. */
  readonly json: JsonObject | null;
  /** Milliseconds. */
  readonly retryAfter: number | null;
}

/** An activity as it was sent. */
export interface Sent {
  readonly body: JsonObject;
  readonly peer: PeerRow;
}

export interface JudgeDependencies {
  readonly origin: string;
  readonly clock: () => Date;
  readonly refreshPeerKeys: RefreshPeerKeys;
}

const ofPeer = new Set(["peer_not_approved", "wrong_host", "rate_limited", "unavailable"]);
const ofPeerStatus = new Set([401, 421, 429, 503]);
/** From peers without receipts, and so without our codes, these say that the activity is not wanted. */
const permanentStatus = new Set([400, 404, 409, 410, 413, 422, 501]);
/** Milliseconds; what a peer asks for beyond it is not heard. */
export const longestWait = 24 * 3_600_000;

/** Judges what was said; a receipt by an unknown key may be by one that the peer has rotated to. */
export async function judgeAnswer(
  { origin, clock, refreshPeerKeys }: JudgeDependencies,
  said: Said,
  sent: Sent,
): Promise<Outcome> {
  const here = { origin, now: clock() };
  const outcome = await judgeSaid(said, sent, here);
  if (outcome.kind !== "activity" || outcome.failure.code !== "receipt_key_unknown") return outcome;
  const peer = await refreshPeerKeys(sent.peer);
  return peer === sent.peer ? outcome : await judgeSaid(said, { ...sent, peer }, here);
}

/** Where and when an answer is judged. */
interface Here {
  readonly origin: string;
  readonly now: Date;
}

async function judgeSaid(said: Said, sent: Sent, here: Here): Promise<Outcome> {
  const { status } = said;
  if (status >= 200 && status < 300) return await judgeReceipt(status, said.json, sent, here);
  const failure = failureOf(said);
  if (speaksOfPeer(failure)) return { kind: "peer", failure };
  const permanent = sent.peer.receipts ? isPermanentProblem(failure.code) : permanentStatus.has(status);
  return { kind: status >= 400 && permanent ? "dead" : "activity", failure };
}

export function failureOf({ status, json, retryAfter }: Said): DeliveryFailure & { readonly status: number } {
  // A code is a word; anything else of a peer's making is not stored.
  const code = typeof json?.code === "string" && /^[a-z0-9_]{1,64}$/.test(json.code) ? json.code : `http_${status}`;
  return { status, code, ...(retryAfter === null ? {} : { retryAfter }) };
}

/** Does the peer not want to talk now, or not with us, whatever was sent? */
export function speaksOfPeer({ status, code }: DeliveryFailure & { readonly status: number }): boolean {
  return ofPeerStatus.has(status) || ofPeer.has(code);
}

/** A peer that signs receipts has accepted nothing before it signed one; a Follow is answered before anybody is a peer. */
async function judgeReceipt(
  status: number,
  json: JsonObject | null,
  { body, peer }: Sent,
  { origin, now }: Here,
): Promise<Outcome> {
  const receipt = json?.receipt;
  if (typeof receipt === "string") {
    const keys = ed25519JwksOf(peer.keys ?? []);
    const verdict = await verifyReceipt(receipt, { activity: body, self: origin, peer: peer.origin, keys, now });
    if (verdict.accepted) return { kind: "delivered", receipt, effect: verdict.receipt.effect };
    return { kind: "activity", failure: { status, code: `receipt_${verdict.reason}` } };
  }
  if (peer.receipts && body.type !== "Follow") {
    return { kind: "activity", failure: { status, code: "receipt_missing" } };
  }
  return { kind: "delivered", receipt: null, effect: null };
}
