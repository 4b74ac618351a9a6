/** Whether others reach this node at its origin, and what stands in the way where they do not. */
import type { Config } from "../config.ts";
import { type RemoteActor, readInstanceActor } from "../identity/remote-actors.ts";
import { activityMediaType } from "../protocol/activities.ts";
import { actorIds } from "../protocol/ids.ts";
import { type Finding, findingsOf, messageOf } from "./findings.ts";

export interface OriginContext {
  readonly fetch: typeof fetch;
  /** Of this machine's keys, where it has them. */
  readonly fingerprint: string | undefined;
}

const patience = 10_000;

export async function examineOrigin(
  { origin, listen }: Config,
  { fetch, fingerprint }: OriginContext,
): Promise<Finding> {
  const { ok, wrong } = findingsOf("origin", origin);
  const local = `http://${listen.host.includes(":") ? `[${listen.host}]` : listen.host}:${listen.port}`;
  const ask = (url: string) =>
    fetch(url, {
      headers: { accept: activityMediaType },
      redirect: "manual",
      signal: AbortSignal.timeout(patience),
    });
  const isUp = async () =>
    await ask(`${local}/health`).then(
      (answer) => answer.ok,
      () => false,
    );
  let answer: Response;
  try {
    answer = await ask(actorIds.instance(origin));
  } catch (error) {
    const reason = reasonOf(error);
    const message = (await isUp())
      ? `A node answers at ${local}, but nothing at ${origin} (${reason}): look at the name's address, the proxy before the node, and its certificate.`
      : `No node answers at ${origin} (${reason}), nor at ${local}: \`concordat serve\` starts it, and its log says why it ended.`;
    return wrong(message);
  }
  const refusal = await judgeAnswer(answer, origin, fingerprint);
  return refusal === null ? ok("The node answers there, with its own keys.") : wrong(refusal);
}

async function judgeAnswer(answer: Response, origin: string, own: string | undefined): Promise<string | null> {
  const proxy =
    "the proxy before the node must pass every path on unchanged, with the headers Host, Accept and Signature";
  if (answer.status >= 300 && answer.status < 400) {
    const to = answer.headers.get("location") ?? "elsewhere";
    return `It redirects to ${to}, and peers follow no redirect: ${proxy}, or CONCORDAT_ORIGIN is not the canonical one.`;
  }
  if (answer.status !== 200) return `It answers ${answer.status} for the node's actor: ${proxy}.`;
  let actor: RemoteActor;
  try {
    actor = readInstanceActor(await answer.json(), origin);
  } catch (error) {
    return `What answers there is not this node (${messageOf(error)}): ${proxy}.`;
  }
  if (own !== undefined && actor.fingerprint !== own) {
    return `The node there has the fingerprint ${actor.fingerprint}, and the keys here ${own}: another node answers, or it runs with keys from before a rotation; restart it.`;
  }
  return null;
}

/** What `fetch` hides in its cause: a name that does not resolve, a refused connection, a certificate. */
function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  const { code } = (cause ?? {}) as { code?: unknown };
  return typeof code === "string" ? code : messageOf(error);
}
