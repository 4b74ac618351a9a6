/** Login and logout. */
import { z } from "zod";
import { Problem } from "../../errors.ts";
import { deriveSecret } from "../../identity/node-keys.ts";
import { signAccessToken } from "../../identity/tokens.ts";
import { limits } from "../../protocol/limits.ts";
import { endSession, logIn, sessionSeconds } from "../../registry/sessions.ts";
import { createTurns } from "../../turns.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { defineRoute, type Route } from "../route.ts";

/** How many logins from one address wait for each other: a hundred milliseconds each, most of it for the password. */
const mostFromAddress = 20;

export function sessionRoutes({ database, keys, origin, clock, numberJournal }: HttpDependencies): readonly Route[] {
  const inTurn = createTurns();
  const secret = deriveSecret(keys, "concordat failed logins");
  return [
    defineRoute({
      method: "post",
      path: "/auth/login",
      summary: "Log in with user name and password; a platform with its handle and an access key",
      access: "public",
      form: true,
      body: z.strictObject({ username: z.string().max(500), password: z.string().max(1000) }),
      answer: {
        status: 200,
        schema: z
          .object({
            access_token: z.string(),
            token_type: z.literal("Bearer"),
            expires_in: z.number(),
            username: z.string(),
            firstname: z.string().nullable(),
            lastname: z.string().nullable(),
            email: z.string().nullable(),
            last_login: z.string().nullable(),
            role: z.string(),
            is_admin: z.boolean(),
            platform: z.object({ id: z.uuid(), handle: z.string(), uri: z.string() }).nullable(),
          })
          .meta({ id: "Login" }),
      },
      handle: async ({ body, address, gone }) => {
        const now = clock();
        const guess = () => database.transaction((tx) => logIn(tx, body, { address, now, secret }));
        // One guess at a time for an address and for an account: guesses side by side would not count each other.
        const verdict = await whileWaitedFor(gone, (over) =>
          inTurn(`address ${address}`, () => inTurn(`account ${body.username}`, guess, { over }), {
            over,
            most: mostFromAddress,
          }),
        );
        if (!verdict.accepted) throw new Problem("invalid_credentials");
        const { sessionId, subject, profile } = verdict.login;
        const token = await signAccessToken({ sessionId, subject, origin, now, seconds: sessionSeconds }, keys);
        return {
          status: 200,
          body: { access_token: token, token_type: "Bearer", expires_in: sessionSeconds, ...profile },
        };
      },
    }),
    defineRoute({
      method: "post",
      path: "/auth/logout",
      summary: "End the token at once",
      access: { administrator: "any", platform: "any" },
      answer: { status: 204 },
      handle: async ({ caller }) => {
        await database.transaction((tx) => endSession(tx, caller.sessionId, clock()));
        // Whoever watches the journal sees that the session is gone.
        numberJournal();
        return { status: 204 };
      },
    }),
  ];
}

/** Gives up when a request has waited long enough, or its caller has gone; what has begun by then ends by itself. */
async function whileWaitedFor<T>(gone: AbortSignal, work: (over: AbortSignal) => Promise<T>): Promise<T> {
  const over = new AbortController();
  const giveUp = () => over.abort(new Problem("unavailable", undefined, { retry_after: 5 }));
  const given = new Promise<never>((_, refuse) => {
    over.signal.addEventListener("abort", () => refuse(over.signal.reason));
  });
  const timer = setTimeout(giveUp, limits.storeMilliseconds);
  gone.addEventListener("abort", giveUp);
  try {
    if (gone.aborted) giveUp();
    return await Promise.race([work(over.signal), given]);
  } finally {
    clearTimeout(timer);
    gone.removeEventListener("abort", giveUp);
  }
}
