/** One signed request: an activity to a peer's inbox, or several to its batch inbox (docs/protocol.md, "Delivery"). */
import { type GuardedFetch, OutboundError } from "../identity/guarded-fetch.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import { activityMediaType } from "../protocol/activities.ts";
import { actorIds } from "../protocol/ids.ts";
import { isJsonObject, type JsonObject } from "../protocol/objects.ts";
import type { PeerRow } from "../registry/peers.ts";
import { readAcceptSignature } from "../signatures/accept-signature.ts";
import { signRequest } from "../signatures/sign.ts";
import type { DeliveryForm } from "../storage/schema.ts";
import {
  failureOf,
  type JudgeDependencies,
  judgeAnswer,
  longestWait,
  type Outcome,
  type Said,
  type Sent,
  speaksOfPeer,
} from "./outcome.ts";

export interface DeliverDependencies extends JudgeDependencies {
  readonly fetcher: GuardedFetch;
  readonly keys: NodeKeys;
  readonly clock: () => Date;
  /** Aborted when the node stops: no delivery begins, and one that is under way is given up. */
  readonly stopping: AbortSignal;
}

/** Sends `body` to `inbox`, signed freshly by a key of its actor. Never throws for what the network does. */
export async function deliverActivity(
  dependencies: DeliverDependencies,
  sent: Sent & { readonly inbox: string },
): Promise<Outcome> {
  const { body, inbox, peer } = sent;
  try {
    const { said, form } = await post(dependencies, peer, { url: inbox, actor: String(body.actor), json: body });
    return withForm(await judgeAnswer(dependencies, said, sent), form);
  } catch (error) {
    const failure = unreached(error);
    return { kind: failure.phase === "connect" ? "peer" : "activity", failure };
  }
}

/**
 * Sends `bodies` to the peer's batch inbox, signed freshly by a key of the instance actor, and judges each as if it had
 * gone alone. One outcome, for the first, when the peer does not want to talk. Null when nothing was said of any of
 * them: what may speak of one activity must be found out by sending each alone.
 */
export async function deliverBatch(
  dependencies: DeliverDependencies,
  { bodies, url, peer }: { readonly bodies: readonly JsonObject[]; readonly url: string; readonly peer: PeerRow },
): Promise<readonly Outcome[] | null> {
  try {
    const actor = actorIds.instance(dependencies.origin);
    const { said, form } = await post(dependencies, peer, { url, actor, json: bodies });
    const results = said.status === 200 ? said.json?.results : undefined;
    if (Array.isArray(results)) {
      return await Promise.all(
        bodies.map(async (body, at) =>
          withForm(await judgeAnswer(dependencies, readResult(results[at], body), { body, peer }), form),
        ),
      );
    }
    const failure = failureOf(said);
    return speaksOfPeer(failure) ? [{ kind: "peer", failure }] : null;
  } catch (error) {
    const failure = unreached(error);
    return failure.phase === "connect" ? [{ kind: "peer", failure }] : null;
  }
}

const withForm = (outcome: Outcome, form: DeliveryForm | null): Outcome =>
  form === null ? outcome : { ...outcome, form };

/** A result of a batch as what an activity that went alone would have been told; one that is not about it says nothing. */
function readResult(result: unknown, { id }: JsonObject): Said {
  const nothing = { status: 200, json: null, retryAfter: null };
  if (!isJsonObject(result) || typeof result.status !== "number" || (result.id !== null && result.id !== id)) {
    return nothing;
  }
  const { status, receipt, problem } = result;
  const json = receipt === undefined && isJsonObject(problem) ? problem : { receipt };
  const wait = Number(json.retry_after) * 1000;
  return { status, json, retryAfter: wait > 0 ? Math.min(wait, longestWait) : null };
}

/** Why a request got no answer. @throws what is not the network's doing */
function unreached(error: unknown) {
  if (!(error instanceof OutboundError)) throw error;
  return { status: null, code: error.code, phase: error.phase };
}

interface Message {
  readonly url: string;
  /** Whose key signs. */
  readonly actor: string;
  readonly json: unknown;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Uint8Array;
}

/**
 * Posts in the form that the peer took last; after a 401 once more in the other one, which is given when it is taken.
 * @throws {OutboundError} when there is no answer
 */
async function post(
  dependencies: DeliverDependencies,
  peer: PeerRow,
  message: Message,
): Promise<{ readonly said: Said; readonly form: DeliveryForm | null }> {
  const form = peer.signatureForm ?? "draft-cavage";
  const answer = await knock(dependencies, message, form);
  const now = dependencies.clock();
  if (answer.status !== 401) return { said: readAnswer(answer, now), form: null };
  const other = otherForm(form, answer);
  const second = await knock(dependencies, message, other);
  return { said: readAnswer(second, now), form: second.status === 401 ? null : other };
}

async function knock(
  { fetcher, keys, clock, stopping }: DeliverDependencies,
  { url, actor, json }: Message,
  form: DeliveryForm,
): Promise<Answer> {
  const octets = new TextEncoder().encode(JSON.stringify(json));
  const ed25519 = form === "rfc9421";
  const headers = await signRequest({
    form: form === "draft-cavage" ? "draft-cavage" : "rfc9421",
    method: "POST",
    url,
    headers: { "content-type": activityMediaType, accept: activityMediaType },
    body: octets,
    keyId: `${actor}#${ed25519 ? "ed25519-key" : "main-key"}${keys.suffix}`,
    privateKey: ed25519 ? keys.ed25519.privateKey : keys.rsa.privateKey,
    now: clock(),
  });
  return await fetcher.request({ method: "POST", url, headers, body: octets, signal: stopping });
}

/** What to try after a 401: what the peer asks for, else the other of the two forms. */
function otherForm(form: DeliveryForm, answer: Answer): DeliveryForm {
  const asked = readAcceptSignature([answer.headers["accept-signature"] ?? []].flat());
  const wanted = asked === null ? null : asked.keyType === "ed25519" ? "rfc9421" : "rfc9421-rsa";
  if (wanted !== null && wanted !== form) return wanted;
  return form === "draft-cavage" ? "rfc9421-rsa" : "draft-cavage";
}

function readAnswer({ status, headers, body }: Answer, now: Date): Said {
  return { status, json: readJson(body), retryAfter: readRetryAfter(headers["retry-after"], now) };
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
