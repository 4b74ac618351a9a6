/**
 * The ceiling of the inbox: a bare koa server that reads the body, checks digest and signature, and stores nothing. It
 * is written for exactly these requests, with node:crypto alone. It is told the public keys, and says its port.
 */
import { constants, createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import type { AddressInfo } from "node:net";
import Koa, { type Context } from "koa";
import getRawBody from "raw-body";

export interface CeilingKeys {
  readonly rsa: string;
  readonly ed25519: string;
}

process.once("message", (keys: CeilingKeys) => {
  const rsa = createPublicKey(keys.rsa);
  const ed25519 = createPublicKey(keys.ed25519);
  const app = new Koa();
  app.use(async (ctx) => {
    const body = await getRawBody(ctx.req);
    const isMessage = ctx.get("signature-input") !== "";
    const digest = createHash("sha256").update(body).digest("base64");
    const listed = isMessage
      ? ctx.get("content-digest") === `sha-256=:${digest}:`
      : ctx.get("digest") === `SHA-256=${digest}`;
    const valid = listed && (isMessage ? await verifyMessage(ctx, ed25519) : await verifyDraftCavage(ctx, rsa));
    ctx.status = valid ? 202 : 401;
    ctx.type = "application/json";
    ctx.body = "{}";
  });
  const server = app.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
});

function verifyDraftCavage(ctx: Context, key: KeyObject): Promise<boolean> {
  const header = ctx.get("signature");
  const names = (/headers="([^"]*)"/.exec(header)?.[1] ?? "").split(" ");
  const lines = names.map((name) =>
    name === "(request-target)" ? `${name}: post ${ctx.url}` : `${name}: ${ctx.get(name)}`,
  );
  const signature = Buffer.from(/signature="([^"]*)"/.exec(header)?.[1] ?? "", "base64");
  return verifyOctets("sha256", lines.join("\n"), { key, padding: constants.RSA_PKCS1_PADDING }, signature);
}

function verifyMessage(ctx: Context, key: KeyObject): Promise<boolean> {
  const parameters = ctx.get("signature-input").slice("sig1=".length);
  const names = [...(/^\(([^)]*)\)/.exec(parameters)?.[1] ?? "").matchAll(/"([^"]*)"/g)].map(([, name = ""]) => name);
  const componentOf = (name: string) => {
    if (name === "@method") return ctx.method;
    return name === "@target-uri" ? `http://${ctx.get("host")}${ctx.url}` : ctx.get(name);
  };
  const lines = [...names.map((name) => `"${name}": ${componentOf(name)}`), `"@signature-params": ${parameters}`];
  const signature = Buffer.from(ctx.get("signature").slice("sig1=:".length, -1), "base64");
  return verifyOctets(null, lines.join("\n"), key, signature);
}

function verifyOctets(
  hash: string | null,
  text: string,
  key: Parameters<typeof verify>[2],
  signature: Buffer,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    verify(hash, Buffer.from(text, "latin1"), key, signature, (error, valid) => {
      if (error) reject(error);
      else resolve(valid);
    });
  });
}
