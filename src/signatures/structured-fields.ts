/**
 * Structured fields (RFC 9651), read so that nothing in them can be understood in two ways. The parser lets a later
 * member or parameter replace an earlier one of its name, takes base64 with any unused bits, and does not tell 1 from
 * 1.0; so a field is accepted only when it says the same after parsing and serialising, spaces aside.
 */
import { type Dictionary, type Parameters, parseDictionary, serializeDictionary } from "structured-headers";

/** A field that could be read, or why not. */
export type DictionaryField =
  | { readonly read: true; readonly members: Dictionary }
  | { readonly read: false; readonly reason: "malformed" | "member_twice" };

/** The dictionary that these lines of one field make together. */
export function readDictionary(lines: readonly string[]): DictionaryField {
  const text = lines.join(", ");
  try {
    const members = parseDictionary(text);
    if (withoutSpaces(serializeDictionary(members)) === withoutSpaces(text)) return { read: true, members };
    return { read: false, reason: countMembers(text) > members.size ? "member_twice" : "malformed" };
  } catch {
    return { read: false, reason: "malformed" };
  }
}

/** The octets of a byte sequence with no parameters, not empty; or null. */
export function readByteSequence(member: readonly [unknown, Parameters] | undefined): Uint8Array | null {
  if (member === undefined || member[1].size > 0) return null;
  return member[0] instanceof ArrayBuffer && member[0].byteLength > 0 ? new Uint8Array(member[0]) : null;
}

function withoutSpaces(text: string): string {
  return text.replaceAll(/[ \t]/g, "");
}

/** Members by their commas; there are none in anything but strings. Only for a text that parses. */
function countMembers(text: string): number {
  return text.replaceAll(/"(?:[^"\\]|\\.)*"/g, "").split(",").length;
}
