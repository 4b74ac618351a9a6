/** Each peer: reached, with the keys that were pinned, at the same time, and nothing left lying on the way to it. */
import type { GuardedFetch } from "../identity/guarded-fetch.ts";
import { fetchInstanceActor } from "../identity/remote-actors.ts";
import type { Peer } from "../registry/peer-views.ts";
import { compareClocks } from "./clock.ts";
import { type Finding, findingsOf, messageOf } from "./findings.ts";

export interface PeerContext {
  readonly fetcher: GuardedFetch;
  readonly clock: () => Date;
  readonly skewSeconds: number;
}

export async function examinePeer(context: PeerContext, peer: Peer): Promise<readonly Finding[]> {
  const { warning } = findingsOf("peer", peer.origin);
  if (peer.held !== null) {
    return [
      warning(
        `It waits for you with new keys (${peer.held}): compare them by phone, then \`concordat admin peers approve\`.`,
      ),
    ];
  }
  if (peer.state === "pending_in")
    return [warning("It asks to become a peer: `concordat admin peers open` shows who it is.")];
  const lane = judgeLane(peer);
  return peer.state === "approved" ? [...(await knock(context, peer)), ...lane] : lane;
}

async function knock({ fetcher, clock, skewSeconds }: PeerContext, peer: Peer): Promise<readonly Finding[]> {
  const { ok, wrong } = findingsOf("peer", peer.origin);
  let date: string | undefined;
  const listening: GuardedFetch = {
    ...fetcher,
    async request(request) {
      const answer = await fetcher.request(request);
      date = [answer.headers.date].flat()[0];
      return answer;
    },
  };
  let finding: Finding;
  try {
    const actor = await fetchInstanceActor(listening, peer.origin);
    finding =
      actor.fingerprint === peer.fingerprint
        ? ok(`It answers, with the keys that were pinned (${actor.fingerprint}).`)
        : wrong(
            `It shows keys with the fingerprint ${actor.fingerprint}, and ${peer.fingerprint} was pinned. After a rotation the node learns them with the next exchange; if this stays, call its administrator.`,
          );
  } catch (error) {
    finding = wrong(
      `${messageOf(error)} What waits for it is kept and sent when it is back; call its administrator if it stays away.`,
    );
  }
  const there = new Date(date ?? Number.NaN);
  if (Number.isNaN(there.getTime())) return [finding];
  return [finding, compareClocks({ whose: peer.origin, there, here: clock(), skewSeconds })];
}

function judgeLane({ origin, state, lane }: Peer): readonly Finding[] {
  const { ok, warning, wrong } = findingsOf("lane", origin);
  const findings: Finding[] = [];
  if (lane.dead > 0) {
    findings.push(
      wrong(
        `${lane.dead} for it were given up: \`concordat admin deliveries list --state dead\` says why, then retry or discard them.`,
      ),
    );
  }
  const waiting = `${lane.depth} for it wait since ${lane.oldest_at}`;
  if (lane.state === "backing_off") {
    findings.push(
      warning(`${waiting}; it failed last (${lane.last_error?.code}) and is tried again at ${lane.next_attempt_at}.`),
    );
  } else if (lane.state === "held") {
    findings.push(warning(`${waiting}, held while it is ${state}: \`concordat admin peers resume\` lets them go.`));
  }
  return findings.length > 0
    ? findings
    : state === "approved"
      ? [ok(lane.depth === 0 ? "Nothing waits for it." : `${waiting}.`)]
      : [];
}
