/** zod schemas of the values that occur in activities, objects and the REST API alike. */
import { z } from "zod";
import { isCanonicalId } from "./ids.ts";
import { limits } from "./limits.ts";
import { hasForbiddenNameCharacters } from "./strict-json.ts";

/** A canonical id; refused ones are told apart from other faults by `params.problem`. */
export const idSchema = z
  .string()
  .refine(isCanonicalId, { message: "must be a canonical http(s) URL", params: { problem: "malformed_id" } });

/** A text shown to people, as peers may send it: no control and no direction characters. */
export const nameSchema = (greatest = 500) =>
  z
    .string()
    .min(1)
    .max(greatest)
    .refine((text) => !hasForbiddenNameCharacters(text), {
      message: "must not contain control or direction characters",
    });

/** U+2800 is the blank of Braille. */
const visible = /[^\p{White_Space}\p{Cc}\p{Cf}\p{M}\p{Default_Ignorable_Code_Point}\u2800]/u;

/** Does a text show nothing: blanks, zero-width characters, fillers, marks without a letter? */
export const isBlank = (text: string) => !visible.test(text);

export const blankName = "must show something, not blanks alone";

/** A name that is given here, to whatever it is: one that people can see. It is kept as it was given. */
export const givenNameSchema = (greatest = 500) =>
  nameSchema(greatest).refine((text) => text === "" || !isBlank(text), { message: blankName });

/** `YYYY-MM-DD`, a day that exists. */
export const dateSchema = z.iso.date();

/** RFC 3339 in `Z` with at most three fraction digits. */
export const instantSchema = z.iso
  .datetime({ offset: false, local: false })
  .refine((text) => !/\.\d{4,}Z$/.test(text), { message: "must have at most three fraction digits" });

export const revisionSchema = z.int().min(1).max(limits.revision);
