/**
 * RFC 9421 with RFC 9530, written afresh with node:crypto alone for the tests: requests signed as the standard says or
 * wrong in one chosen way, and what the node signed verified by other code than its own.
 */
import { createHash, type KeyObject, sign, verify } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { type Answer, sendRequest } from "./wire.ts";

export interface MessageSigning {
  readonly keyId: string;
  readonly privateKey: KeyObject;
  readonly method?: string;
  readonly path?: string;
  readonly body?: Buffer;
  /** Covered components, in order. */
  readonly covered?: readonly string[];
  /** Seconds. */
  readonly created?: number | null;
  /** Parameters behind `created`: `;expires=1`. */
  readonly parameters?: string;
  readonly algorithm?: string | null;
  /** With which an RSA key signs in truth. */
  readonly hash?: "sha1" | "sha256" | "sha512";
  /** The `Date` header; null leaves it out. */
  readonly date?: Date | string | null;
  readonly mediaType?: string;
  readonly host?: string;
  /** Origin that stands in the signature base, when not that of the URL. */
  readonly signedHost?: string;
  /** Further header lines; covered ones are signed with their value here. */
  readonly headers?: readonly (readonly [string, string])[];
  /** `Content-Digest`; null leaves it out. */
  readonly digest?: string | null;
  /** What stands in the signature base for the method, when not the one that is sent. */
  readonly signedMethod?: string;
  /** What stands in the signature base for the target, when not the URL that is asked. */
  readonly signedTarget?: string;
  /** Changes both headers at the end. */
  readonly change?: (input: string, signature: string) => readonly (readonly [string, string])[];
  /** Changes the body after it was signed. */
  readonly tamper?: (body: Buffer) => Buffer;
}

/** In which ways a request of a scripted peer deviates. */
export type MessageKnobs = Partial<MessageSigning>;

/** RFC 9530 with sha-256. */
export const contentDigest = (body: Buffer) => `sha-256=:${createHash("sha256").update(body).digest("base64")}:`;

/** Signs a request per RFC 9421, section 3.1, and sends what `signing` makes of it. */
export async function sendMessage(origin: string, signing: MessageSigning): Promise<Answer> {
  const { method = "POST", path = "/inbox", body = Buffer.alloc(0), keyId, privateKey } = signing;
  const isPost = method === "POST";
  const digest = signing.digest === undefined && isPost ? contentDigest(body) : (signing.digest ?? null);
  const lines: (readonly [string, string])[] = [
    ...dateLines(signing.date),
    ...(isPost ? [["Content-Type", signing.mediaType ?? "application/activity+json"] as const] : []),
    ...(digest === null ? [] : [["Content-Digest", digest] as const]),
  ];
  const further = signing.headers ?? [];
  const covered =
    signing.covered ?? ["@method", "@target-uri", ...lines.map(([name]) => name.toLowerCase())].filter(Boolean);
  const created = signing.created === undefined ? Math.floor(Date.now() / 1000) : signing.created;
  const rsa = privateKey.asymmetricKeyType === "rsa";
  const algorithm = signing.algorithm === undefined ? (rsa ? "rsa-v1_5-sha256" : "ed25519") : signing.algorithm;
  const parameters = [
    `(${covered.map((name) => `"${name}"`).join(" ")})`,
    created === null ? "" : `;created=${created}`,
    signing.parameters ?? "",
    `;keyid="${keyId}"`,
    algorithm === null ? "" : `;alg="${algorithm}"`,
  ].join("");
  const target = `${signing.signedHost ?? origin}${signing.signedTarget ?? path}`;
  const headers = Object.fromEntries([...lines, ...further].map(([name, value]) => [name.toLowerCase(), value]));
  const base = signatureBase({ method: signing.signedMethod ?? method, target, headers, covered, parameters });
  const octets = sign(rsa ? (signing.hash ?? "sha256") : null, Buffer.from(base), privateKey).toString("base64");
  const host = signing.host === undefined ? [] : [["Host", signing.host] as const];
  const written = (signing.change ?? writeHeaders)(`sig1=${parameters}`, `sig1=:${octets}:`);
  const sent = signing.tamper === undefined ? body : signing.tamper(body);
  return await sendRequest(origin, { method, path, headers: [...host, ...lines, ...further, ...written], body: sent });
}

function dateLines(date: MessageSigning["date"] = new Date()): readonly (readonly [string, string])[] {
  return date === null ? [] : [["Date", typeof date === "string" ? date : date.toUTCString()]];
}

const writeHeaders = (input: string, signature: string) =>
  [
    ["Signature-Input", input],
    ["Signature", signature],
  ] as const;

/** The covered components of a request that the node sent, when its one signature verifies by that key; else null. */
export function verifyMessage(
  request: { readonly url: string; readonly headers: IncomingHttpHeaders; readonly body: Buffer },
  publicKey: KeyObject,
): { readonly covered: readonly string[]; readonly parameters: string } | null {
  const { headers } = request;
  const [, parameters = ""] = /^sig1=(.*)$/.exec(String(headers["signature-input"])) ?? [];
  const [, signature = ""] = /^sig1=:([A-Za-z0-9+/=]+):$/.exec(String(headers.signature)) ?? [];
  const covered = [...(/^\(([^)]*)\)/.exec(parameters)?.[1] ?? "").matchAll(/"([^"]*)"/g)].map(([, name = ""]) => name);
  if (covered.length === 0 || headers["content-digest"] !== contentDigest(request.body)) return null;
  const base = signatureBase({ method: "POST", target: request.url, headers, covered, parameters });
  const hash = publicKey.asymmetricKeyType === "rsa" ? "sha256" : null;
  return verify(hash, Buffer.from(base), publicKey, Buffer.from(signature, "base64")) ? { covered, parameters } : null;
}

/** Section 2.5. */
function signatureBase(signed: {
  readonly method: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly covered: readonly string[];
  readonly parameters: string;
}): string {
  const url = new URL(signed.target);
  const derived: Readonly<Record<string, string>> = {
    "@method": signed.method,
    "@target-uri": signed.target,
    "@authority": url.host,
    "@path": url.pathname,
    "@query": url.search === "" ? "?" : url.search,
  };
  const lines = signed.covered.map((name) => `"${name}": ${derived[name] ?? String(signed.headers[name] ?? "")}`);
  return [...lines, `"@signature-params": ${signed.parameters}`].join("\n");
}
