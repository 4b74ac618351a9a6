const form =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/**
 * Milliseconds of an IMF-fixdate (RFC 9110, 5.6.7), or null. Date.parse takes nearly anything and lets the 31st of
 * November roll over, so the date must also be written as it was read.
 */
export function parseHttpDate(text: string): number | null {
  if (!form.test(text)) return null;
  const instant = new Date(text);
  return !Number.isNaN(instant.getTime()) && instant.toUTCString() === text ? instant.getTime() : null;
}
