/** Batches: several activities in one request, as a JSON array (docs/protocol.md, "Delivery"). */
import { Problem } from "../errors.ts";
import { isCanonicalId } from "./ids.ts";
import { limits } from "./limits.ts";
import { isJsonObject } from "./objects.ts";
import { decodeUtf8 } from "./strict-json.ts";

/** One item of a batch as it came: strictness is judged for each by itself, as for an activity that comes alone. */
export interface BatchItem {
  /** The `id` that it claims; null where it has none. */
  readonly id: string | null;
  /** Its JSON. */
  readonly text: string;
}

/**
 * Takes a batch apart.
 * @throws {Problem} `malformed_json` for what is no JSON or no array, `too_large` for more than 100 items
 */
export function splitBatch(octets: Uint8Array): readonly BatchItem[] {
  const text = decodeUtf8(octets);
  const values = parseArray(text);
  if (values.length > limits.batchActivities) {
    throw new Problem("too_large", `A batch has at most ${limits.batchActivities} activities.`);
  }
  const texts = splitArray(text);
  return values.map((value, at) => ({ id: claimedId(value), text: texts[at] ?? "" }));
}

/** Nothing but an id: it goes into answers and journal before the item is judged. */
function claimedId(value: unknown): string | null {
  const id = isJsonObject(value) ? value.id : null;
  return typeof id === "string" && isCanonicalId(id) ? id : null;
}

function parseArray(text: string): readonly unknown[] {
  const value = parseJson(text);
  if (!Array.isArray(value)) throw new Problem("malformed_json", "A batch is a JSON array.");
  return value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem("malformed_json", "The batch is not JSON.");
  }
}

/** The texts between the commas of a JSON array, which is known to be one. */
function splitArray(text: string): readonly string[] {
  const texts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < text.length; at += 1) {
    switch (text[at]) {
      case '"':
        at = endOfString(text, at);
        break;
      case "[":
      case "{":
        depth += 1;
        if (depth === 1) start = at + 1;
        break;
      case "]":
      case "}":
        depth -= 1;
        if (depth === 0) texts.push(text.slice(start, at));
        break;
      case ",":
        if (depth > 1) break;
        texts.push(text.slice(start, at));
        start = at + 1;
    }
  }
  return texts;
}

/** Where the string that begins at `start` ends. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}
