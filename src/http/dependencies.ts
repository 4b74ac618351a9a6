/** What routes are built with: the node's parts, wired once in `node.ts`. */
import type { GuardedFetch } from "../identity/guarded-fetch.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import type { InboxDependencies } from "../inbox/accept.ts";
import type { PeeringDependencies } from "../peering/peering.ts";
import type { EventWatch } from "../registry/event-watch.ts";
import type { RedisState } from "../storage/redis.ts";
import type { Log } from "../telemetry/log.ts";
import type { AddressReader } from "./client-address.ts";

export interface HttpDependencies extends InboxDependencies, PeeringDependencies {
  readonly fetcher: GuardedFetch;
  readonly keys: NodeKeys;
  readonly eventWatch: EventWatch;
  readonly log: Log;
  readonly readAddress: AddressReader;
  /** Default validity of access keys, days. */
  readonly accessKeyDays: number;
  /** Browser origins allowed on `/api/v1`. */
  readonly corsOrigins: readonly string[];
  readonly nodeName: string;
  readonly version: string;
  /** Told how a request to an inbox was answered: `accepted`, or the code of the problem. */
  readonly onInboxAnswer: (code: string) => void;
  /** How it is with Redis now; absent in a node without one. */
  readonly redisState?: () => RedisState;
}
