/** Strict JSON from outside (docs/protocol.md, "Identifiers and documents"). */
import { Problem } from "../errors.ts";
import { limits } from "./limits.ts";

const quote = 0x22;
const backslash = 0x5c;
/** What stands in a string as it is: neither a quote nor a backslash nor a control character (C0). */
const plainForm = /[ !#-[\]-\uffff]*/y;
const numberForm = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const loneSurrogate = /\p{Surrogate}/u;
const forbiddenInNames = /[\p{Cc}\p{Bidi_Control}]/u;

/** Does a name hold control characters (C0, DEL, C1) or Bidi_Control characters? */
export function hasForbiddenNameCharacters(text: string): boolean {
  return forbiddenInNames.test(text);
}

/**
 * Parses JSON that came from outside: UTF-8 without BOM; no duplicate member, `__proto__` or `constructor`; depth ≤ 32,
 * scalars included; no NUL or lone surrogate; integers within ±(2^53−1) however written; `name` members without
 * control and direction characters.
 * @throws {Problem} `malformed_json`
 */
export function parseStrictJson(octets: Uint8Array): unknown {
  return parseStrictJsonText(decodeUtf8(octets));
}

/** The text of octets; a BOM is kept, and so refused by whoever parses. @throws {Problem} `malformed_json` */
export function decodeUtf8(octets: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    throw refuse("it is not UTF-8", 0);
  }
}

/** The same for text that is decoded already. */
export function parseStrictJsonText(text: string): unknown {
  let at = 0;

  function skipSpace(): void {
    for (;;) {
      const code = text.charCodeAt(at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      at += 1;
    }
  }

  function readString(): string {
    const start = at;
    let escaped = false;
    at += 1;
    for (;;) {
      plainForm.lastIndex = at;
      plainForm.test(text);
      at = plainForm.lastIndex;
      const code = text.charCodeAt(at);
      if (code === quote) break;
      // Behind the end of the text the code is NaN.
      if (code !== backslash) throw refuse("a string holds a control character or has no end", at);
      escaped = true;
      at += 2;
    }
    at += 1;
    let value = text.slice(start + 1, at - 1);
    if (escaped) {
      try {
        value = JSON.parse(text.slice(start, at)) as string;
      } catch {
        throw refuse("a string holds an unknown escape", start);
      }
      if (value.includes("\u0000")) throw refuse("a string holds NUL", start);
    }
    if (loneSurrogate.test(value)) throw refuse("a string holds a lone surrogate", start);
    return value;
  }

  function readNumber(): number {
    const start = at;
    numberForm.lastIndex = at;
    const match = numberForm.exec(text);
    if (match === null) throw refuse("a value is expected", start);
    at = numberForm.lastIndex;
    const value = Number(match[0]);
    if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
      throw refuse("a number is outside ±(2^53−1)", start);
    }
    return value;
  }

  function readWord<T>(word: string, value: T): T {
    if (!text.startsWith(word, at)) throw refuse("a value is expected", at);
    at += word.length;
    return value;
  }

  function readArray(depth: number): unknown[] {
    const items: unknown[] = [];
    at += 1;
    skipSpace();
    if (text[at] === "]") {
      at += 1;
      return items;
    }
    for (;;) {
      items.push(readValue(depth + 1));
      skipSpace();
      const next = text[at];
      at += 1;
      if (next === "]") return items;
      if (next !== ",") throw refuse("a comma or the end of the array is expected", at - 1);
    }
  }

  function readObject(depth: number): Record<string, unknown> {
    const members: Record<string, unknown> = {};
    at += 1;
    skipSpace();
    if (text[at] === "}") {
      at += 1;
      return members;
    }
    for (;;) {
      skipSpace();
      const start = at;
      if (text[at] !== '"') throw refuse("a member name is expected", at);
      const name = readString();
      if (name === "__proto__" || name === "constructor") throw refuse("a member name is not allowed", start);
      if (Object.hasOwn(members, name)) throw refuse("a member comes twice", start);
      skipSpace();
      if (text[at] !== ":") throw refuse("a colon is expected", at);
      at += 1;
      const value = readValue(depth + 1);
      if (name === "name" && typeof value === "string" && hasForbiddenNameCharacters(value)) {
        throw refuse("a name holds control or direction characters", start);
      }
      members[name] = value;
      skipSpace();
      const next = text[at];
      at += 1;
      if (next === "}") return members;
      if (next !== ",") throw refuse("a comma or the end of the object is expected", at - 1);
    }
  }

  function readValue(depth: number): unknown {
    if (depth > limits.jsonDepth) throw refuse(`it is nested deeper than ${limits.jsonDepth}`, at);
    skipSpace();
    switch (text[at]) {
      case "{":
        return readObject(depth);
      case "[":
        return readArray(depth);
      case '"':
        return readString();
      case "t":
        return readWord("true", true);
      case "f":
        return readWord("false", false);
      case "n":
        return readWord("null", null);
      default:
        return readNumber();
    }
  }

  const value = readValue(1);
  skipSpace();
  if (at < text.length) throw refuse("text follows the value", at);
  return value;
}

function refuse(why: string, at: number): Problem {
  return new Problem("malformed_json", `The JSON is refused at character ${at}: ${why}.`);
}
