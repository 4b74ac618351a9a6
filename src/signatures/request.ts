/** The request as it is judged, and how its header lines are read. */

/** A request as it came over the wire: nothing joined, sorted or lower-cased, so that duplicates can be seen. */
export interface HttpRequest {
  readonly method: string;
  /** Path and query as received (the request-target in origin form). */
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body?: Uint8Array;
}

/** The values of every line of that header, in the order received; `name` in lower case. */
export function readHeaderLines(request: Pick<HttpRequest, "headers">, name: string): readonly string[] {
  return request.headers.filter(([line]) => line.toLowerCase() === name).map(([, value]) => value.trim());
}

/** Does the request need a digest? All but a GET or HEAD without a body do. */
export function needsDigest({ method, body }: HttpRequest): boolean {
  return !["GET", "HEAD"].includes(method) || (body !== undefined && body.length > 0);
}
