/** Identifiers: canonical http(s) URLs on their home origin (docs/protocol.md, "Identifiers and documents"). */
import { v7 as uuidv7, validate, version } from "uuid";
import { Problem } from "../errors.ts";
import { limits } from "./limits.ts";

/** An `http(s)` URL without userinfo whose WHATWG serialisation is its own text, of at most 2,048 characters. */
export function isCanonicalId(text: string): boolean {
  if (text.length > limits.idCharacters || !URL.canParse(text)) return false;
  const url = new URL(text);
  return /^https?:$/.test(url.protocol) && url.username === "" && url.password === "" && url.href === text;
}

/**
 * The origin of an id, as the WHATWG serialises it: `https://ouest.example`.
 * @throws {Problem} `malformed_id`
 */
export function originOf(id: string): string {
  if (!isCanonicalId(id)) throw new Problem("malformed_id");
  return new URL(id).origin;
}

/** Is `text` a bare origin: scheme, host and port, without path and final slash? */
export function isOrigin(text: string): boolean {
  return URL.canParse(text) && /^https?:/.test(text) && new URL(text).origin === text;
}

export type ObjectPath = "projects" | "export-requests" | "transitions" | "datasets" | "activities";

/** A fresh id on `origin`: `https://ouest.example/projects/<UUID version 7>`. */
export function mintId(origin: string, path: ObjectPath, milliseconds?: number): string {
  return `${origin}/${path}/${mintUuid(milliseconds)}`;
}

/** UUID version 7 (RFC 9562 section 5.7). */
export function mintUuid(milliseconds?: number): string {
  return milliseconds === undefined ? uuidv7() : uuidv7({ msecs: milliseconds });
}

/** Is `text` a UUID of any version, as we write them? */
export function isUuid(text: string): boolean {
  return validate(text) && text === text.toLowerCase();
}

/** The UUID at the end of `<origin>/<path>/<UUID version 7>`, or null when `id` has another form. */
export function uuidOf(id: string, origin: string, path: ObjectPath): string | null {
  const prefix = `${origin}/${path}/`;
  const uuid = id.slice(prefix.length);
  return id.startsWith(prefix) && isUuid(uuid) && version(uuid) === 7 ? uuid : null;
}

/** When an activity's id was minted, by its UUID version 7; null for an id of another form. */
export function mintedAt(id: string): Date | null {
  const uuid = uuidOf(id, originOf(id), "activities");
  return uuid === null ? null : new Date(Number.parseInt(uuid.slice(0, 13).replace("-", ""), 16));
}

/** Where the actors of a node live. */
export const actorIds = {
  instance: (origin: string) => `${origin}/actor`,
  platform: (origin: string, handle: string) => `${origin}/platforms/${handle}`,
};

/** The part of a keyid behind the actor: `https://ouest.example/actor#main-key` → actor and `#main-key`. */
export function splitKeyId(keyId: string): { readonly actor: string; readonly fragment: string } | null {
  const at = keyId.indexOf("#");
  if (at < 0 || !isCanonicalId(keyId)) return null;
  return { actor: keyId.slice(0, at), fragment: keyId.slice(at) };
}
