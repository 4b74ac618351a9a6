/** What the functions of the SDK stand in: the vault, the clock, and the instances that it has memberships of. */
import { ConcordatError } from "../errors.ts";
import { createRestClient, type RestClient, type RestDependencies } from "./rest.ts";
import type { Membership, Vault } from "./vault.ts";

export interface Client extends Pick<RestDependencies, "fetch" | "clock" | "timeout"> {
  readonly vault: Vault;
  /** The REST API as that membership; logged in at its first request. */
  rest(membership: Membership): RestClient;
}

export type ClientDependencies = Omit<Client, "rest">;

export function createClient(dependencies: ClientDependencies): Client {
  const clients = new Map<string, RestClient>();
  return {
    ...dependencies,
    rest(membership) {
      const known = clients.get(membership.actor);
      if (known !== undefined) return known;
      const { origin, handle, accessKey } = membership;
      const credentials = { username: handle, password: accessKey };
      const client = createRestClient({ ...dependencies, origin }, { credentials });
      clients.set(membership.actor, client);
      return client;
    },
  };
}

/** What the SDK refuses before anything is sent. */
export class ClientError extends ConcordatError {
  /** Members of the error's JSON form. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, details: Readonly<Record<string, unknown>> = {}) {
    super(code, message);
    this.details = details;
  }
}
