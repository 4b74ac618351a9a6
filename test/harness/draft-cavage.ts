/**
 * draft-cavage-http-signatures-12, written afresh for the tests with node:crypto alone: requests signed as the draft says
 * or wrong in one chosen way.
 */
import { createHash, type KeyObject, sign } from "node:crypto";
import { type Answer, sendRequest } from "./wire.ts";

/** In which ways a request deviates from what the standard says. */
export interface Knobs {
  readonly path?: string;
  readonly method?: string;
  /** The body as octets; the activity's JSON when absent. */
  readonly body?: string | Buffer;
  readonly mediaType?: string;
  readonly keyId?: string;
  readonly privateKey?: KeyObject;
  /** With which an RSA key signs in truth. */
  readonly hash?: "sha1" | "sha256" | "sha512";
  /** `algorithm` parameter; null leaves it out. */
  readonly algorithm?: string | null;
  /** Covered components, in order. */
  readonly covered?: readonly string[];
  readonly date?: Date | string;
  /** `Digest` header; null leaves it out. */
  readonly digest?: string | null;
  /** What stands in the signing string for the method, when not the one that is sent. */
  readonly signedMethod?: string;
  /** What stands in the signing string for the target, when not the path that is posted to. */
  readonly signedTarget?: string;
  readonly host?: string;
  /** What stands in the signing string for the host, when not the `Host` header. */
  readonly signedHost?: string;
  /** Further parameters in the Signature header: `created=1,expires=2`. */
  readonly parameters?: string;
  /** Changes the Signature header at the end; null leaves it out. */
  readonly signature?: (header: string) => string | null;
  /** Further header lines, also repeated ones; covered ones are signed with their value here. */
  readonly headers?: readonly (readonly [string, string])[];
  /** Keeps the last octet of the body back until then. */
  readonly lastOctet?: Promise<unknown>;
  /** Changes the body after it was signed. */
  readonly tamper?: (body: Buffer) => Buffer;
}

const defaultCovered = ["(request-target)", "host", "date", "digest", "content-type"];

export interface Signing extends Knobs {
  readonly keyId: string;
  readonly privateKey: KeyObject;
}

/** Signs per draft-cavage-http-signatures-12, section 2, and sends what the knobs make of it. */
export async function sendDraftCavage(origin: string, body: Buffer, signing: Signing): Promise<Answer> {
  const {
    path = "/inbox",
    method = "POST",
    mediaType = "application/activity+json",
    covered = defaultCovered,
  } = signing;
  const date =
    signing.date instanceof Date || signing.date === undefined
      ? (signing.date ?? new Date()).toUTCString()
      : signing.date;
  const digest =
    signing.digest === undefined ? `SHA-256=${createHash("sha256").update(body).digest("base64")}` : signing.digest;
  const lines: (readonly [string, string])[] = [
    ["Host", signing.host ?? new URL(origin).host],
    ["Date", date],
    ["Content-Type", mediaType],
    ...(digest === null ? [] : [["Digest", digest] as const]),
    ...(signing.headers ?? []),
  ];
  const parameters = new Map((signing.parameters ?? "").split(",").map((item) => item.split("=") as [string, string]));
  const componentOf = (name: string): string => {
    if (name === "(request-target)") {
      return `${(signing.signedMethod ?? method).toLowerCase()} ${signing.signedTarget ?? path}`;
    }
    if (name === "host" && signing.signedHost !== undefined) return signing.signedHost;
    if (name.startsWith("(")) return parameters.get(name.slice(1, -1)) ?? "";
    return lines
      .filter(([line]) => line.toLowerCase() === name)
      .map(([, value]) => value.trim())
      .join(", ");
  };
  const text = covered.map((name) => `${name}: ${componentOf(name)}`).join("\n");
  const rsa = signing.privateKey.asymmetricKeyType === "rsa";
  const octets = sign(rsa ? (signing.hash ?? "sha256") : null, Buffer.from(text), signing.privateKey);
  const algorithm = signing.algorithm === undefined ? (rsa ? "rsa-sha256" : "hs2019") : signing.algorithm;
  const header = [
    `keyId="${signing.keyId}"`,
    ...(algorithm === null ? [] : [`algorithm="${algorithm}"`]),
    ...(signing.parameters === undefined ? [] : [signing.parameters]),
    `headers="${covered.join(" ")}"`,
    `signature="${octets.toString("base64")}"`,
  ].join(",");
  const signature = signing.signature === undefined ? header : signing.signature(header);
  const sent = signing.tamper === undefined ? body : signing.tamper(body);
  return await sendRequest(origin, {
    method,
    path,
    headers: [...lines, ...(signature === null ? [] : [["Signature", signature] as const])],
    body: sent,
    ...(signing.lastOctet === undefined ? {} : { lastOctet: signing.lastOctet }),
  });
}
