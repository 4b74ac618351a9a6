/** Lists merged over memberships: each row says its instance, and an instance that is away hides none of the others. */
import { ConcordatError } from "../errors.ts";
import type { Client } from "./client.ts";
import { selectMemberships } from "./memberships.ts";
import type { RestRequest } from "./rest.ts";
import type { Membership } from "./vault.ts";

/** Why rows of an instance are missing. */
export interface MissingInstance {
  readonly instance: string;
  readonly code: string;
  readonly message: string;
}

export interface MergedList<T> {
  readonly items: readonly (T & { readonly instance: string })[];
  readonly unreachable: readonly MissingInstance[];
}

/** `path` of every membership (or that of `instance`), in the order of the memberships. */
export async function listEverywhere<T extends object>(
  client: Client,
  path: string,
  query: RestRequest["query"],
  instance: string | undefined,
): Promise<MergedList<T> & { readonly found: readonly { readonly membership: Membership; readonly item: T }[] }> {
  const memberships = selectMemberships(await client.vault.read(), instance);
  const answers = await Promise.all(
    memberships.map(async (membership) => {
      try {
        return {
          membership,
          rows: (await client.rest(membership).list(path, query)) as readonly unknown[] as readonly T[],
        };
      } catch (error) {
        if (!(error instanceof ConcordatError)) throw error;
        return { membership, error };
      }
    }),
  );
  const found = answers.flatMap(({ membership, rows = [] }) => rows.map((item) => ({ membership, item })));
  return {
    found,
    items: found.map(({ membership, item }) => ({ instance: membership.origin, ...item })),
    unreachable: answers.flatMap(({ membership, error }) =>
      error === undefined ? [] : [{ instance: membership.origin, code: error.code, message: error.message }],
    ),
  };
}
