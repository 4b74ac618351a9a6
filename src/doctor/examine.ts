/** Looks at a node from its own machine, while it runs or not, and changes nothing. */
import type { Config } from "../config.ts";
import { ConcordatError } from "../errors.ts";
import { createGuardedFetch } from "../identity/guarded-fetch.ts";
import { examineBundles } from "./bundles.ts";
import { type Facts, readFacts } from "./facts.ts";
import { examineDataDirectory, examineNodeKeys } from "./files.ts";
import { type Finding, findingsOf, messageOf } from "./findings.ts";
import { examineOrigin } from "./origin.ts";
import { examinePeer } from "./peers.ts";
import { type DatabaseExamination, examineDatabase, examineRedis } from "./stores.ts";

export interface DoctorContext {
  /** @throws {ConfigError} for settings that cannot be used */
  readonly readSettings: () => Config;
  readonly fetch: typeof fetch;
  readonly clock: () => Date;
  /** Asks the node that runs, as its administrator. @throws {ConcordatError} `not_logged_in` and others */
  readonly askNode: (origin: string) => Promise<Facts>;
}

export async function examineNode(context: DoctorContext): Promise<readonly Finding[]> {
  const { ok, wrong } = findingsOf("settings");
  let config: Config;
  try {
    config = context.readSettings();
  } catch (error) {
    return [wrong(messageOf(error))];
  }
  const files = await examineDataDirectory(config);
  const { own, findings: keys } = await examineNodeKeys(config);
  const database = await examineDatabase(config, { clock: context.clock, own });
  try {
    const redis = await examineRedis(config);
    const origin = await examineOrigin(config, { fetch: context.fetch, fingerprint: own?.fingerprint });
    return [
      ok(`They fit together, for ${config.origin}.`),
      ...judgeSettings(config),
      ...files,
      ...keys,
      ...database.findings,
      ...redis,
      origin,
      ...(await examineOthers(config, context, database)),
    ];
  } finally {
    await database.readable?.[Symbol.asyncDispose]();
  }
}

function judgeSettings({ origin, allowPrivateAddresses }: Config): readonly Finding[] {
  const { warning } = findingsOf("settings");
  if (!allowPrivateAddresses || !origin.startsWith("https:")) return [];
  return [
    warning(
      "CONCORDAT_ALLOW_PRIVATE_ADDRESSES is for development: unset it, and name networks in CONCORDAT_ALLOW_NETWORKS.",
    ),
  ];
}

/** Peers and platforms, where somebody can say which there are. */
async function examineOthers(
  config: Config,
  { clock, askNode }: DoctorContext,
  { readable, busy }: DatabaseExamination,
): Promise<readonly Finding[]> {
  const { skipped } = findingsOf("peers and key bundles");
  if (readable === undefined && !busy) return [skipped("They are in the database, which cannot be read now.")];
  let facts: Facts;
  try {
    facts = await (readable === undefined ? askNode(config.origin) : readFacts(readable.db));
  } catch (error) {
    if (!(error instanceof ConcordatError)) throw error;
    return [skipped(`Only the node that runs can say which there are: ${error.message}`)];
  }
  const { allowPrivateAddresses, allowNetworks, httpsProxy: proxy, clockSkewSeconds: skewSeconds } = config;
  await using fetcher = createGuardedFetch({
    allowPrivateAddresses,
    allowNetworks,
    ...(proxy === undefined ? {} : { proxy }),
  });
  const peers = await Promise.all(facts.peers.map((peer) => examinePeer({ fetcher, clock, skewSeconds }, peer)));
  return [...peers.flat(), ...examineBundles(facts.platforms, clock())];
}
