/** Octets of canonical base64 (alphabet, padding, unused bits zero), or null; Buffer alone takes almost anything. */
export function decodeBase64(text: string): Uint8Array | null {
  const octets = Buffer.from(text, "base64");
  return octets.length > 0 && octets.toString("base64") === text ? octets : null;
}
