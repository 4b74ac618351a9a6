/** Parsers of arguments and options; what they refuse is wrong usage. */
import { InvalidArgumentError } from "commander";
import { groupFingerprint } from "../crypto/keys.ts";
import { isOrigin } from "../protocol/ids.ts";
import { type PlatformRight, platformRights } from "../protocol/rights.ts";

/** An origin, with or without a final slash. */
export function parseOrigin(text: string): string {
  const origin = text.replace(/\/$/, "");
  if (!isOrigin(origin)) throw new InvalidArgumentError("It must be an origin such as https://ouest.example.");
  return origin;
}

/** `2026-12-31` or `2026-12-31T12:00:00Z` as an instant. */
export function parseInstant(text: string): string {
  const form = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}:\d{2}(?:\.\d{1,3})?Z)?$/;
  const date = new Date(text);
  if (!form.test(text) || Number.isNaN(date.getTime()) || !date.toISOString().startsWith(text.slice(0, 10))) {
    throw new InvalidArgumentError("It must be a date such as 2026-12-31 or an instant such as 2026-12-31T12:00:00Z.");
  }
  return date.toISOString();
}

/** A fingerprint as it is shown; what was typed may be grouped as it likes, in either case. */
export function parseFingerprint(text: string): string {
  const digits = text.toLowerCase().replace(/[\s:-]/g, "");
  if (!/^[0-9a-f]{24}$/.test(digits)) {
    throw new InvalidArgumentError("It must be a fingerprint: 24 hex digits, such as 49f0 0e48 ed34 5bac a53e 3221.");
  }
  return groupFingerprint(digits);
}

/** Rights separated by commas. */
export function parseRights(text: string): readonly PlatformRight[] {
  return text
    .split(",")
    .filter((part) => part !== "")
    .map((part) => {
      const right = platformRights.find((known) => known === part.trim());
      if (right === undefined) throw new InvalidArgumentError(`The rights are ${platformRights.join(", ")}.`);
      return right;
    });
}

/** A number of items from 1 up. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError("It must be a whole number from 1 up.");
  return count;
}

/** The number of an event, or 0 for the beginning. */
export function parseEventId(text: string): number {
  const id = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(id))
    throw new InvalidArgumentError("It must be the id of an event.");
  return id;
}

/** Words separated by commas. */
export function parseWords(text: string): readonly string[] {
  return text
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
}

export interface PlatformAddress {
  readonly handle: string;
  readonly host: string;
}

/** `handle@host[:port]`, as in WebFinger. */
export function parseAddress(text: string): PlatformAddress {
  const at = text.indexOf("@");
  const handle = text.slice(0, at);
  const host = text.slice(at + 1);
  if (at < 1 || !/^[a-z0-9-]+$/.test(handle) || !URL.canParse(`https://${host}`) || /[/?#@]/.test(host)) {
    throw new InvalidArgumentError("It must be an address such as chu-rennes@ouest.example.");
  }
  return { handle, host: host.toLowerCase() };
}
