/**
 * The one error base, and the table of problem codes that cross a wire (docs/protocol.md, "Answers").
 *
 * A code is stable: scripts, peers and tests rely on it. The text beside it may change at any time.
 */

/** Every error of Concordat carries a stable `code`; whatever does not is a defect of the program. */
export class ConcordatError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

interface ProblemKind {
  readonly status: number;
  readonly title: string;
  /** A delivery that is answered with this code will never succeed: it becomes a dead letter. */
  readonly permanent?: true;
}

/** Codes of RFC 9457 problem documents, their HTTP status and whether a delivery gives up on them. */
export const problemKinds = {
  malformed_json: { status: 400, permanent: true, title: "The body is not the strict JSON that this node accepts" },
  malformed_activity: { status: 400, permanent: true, title: "The activity does not have the shape of its type" },
  malformed_id: { status: 400, permanent: true, title: "An id is not a canonical http(s) URL" },
  malformed_http: { status: 400, title: "The request is not well-formed HTTP" },
  malformed_signature: { status: 400, title: "The signature headers cannot be parsed" },
  invalid: { status: 400, title: "The request does not have the shape that this route takes" },
  unknown_member: { status: 400, title: "The request has a member that this route does not know" },

  signature_missing: { status: 401, title: "The request carries no HTTP signature" },
  signature_multiple: { status: 401, title: "The request carries more than one HTTP signature" },
  signature_coverage: { status: 401, title: "The signature does not cover what it must" },
  signature_digest: { status: 401, title: "A digest does not match the body" },
  signature_clock: { status: 401, title: "The signature's time is outside the window" },
  signature_algorithm: { status: 401, title: "The signature's algorithm is not accepted for this key" },
  signature_key: { status: 401, title: "The signature's key is not known" },
  signature_invalid: { status: 401, title: "The signature does not verify" },
  unauthenticated: { status: 401, title: "A valid access token is needed" },
  invalid_credentials: { status: 401, title: "The user name or the password is wrong" },

  peer_not_approved: { status: 403, title: "This origin is not an approved peer" },
  actor_mismatch: { status: 403, permanent: true, title: "The signer is not the actor" },
  foreign_id: { status: 403, permanent: true, title: "An id is on another origin than it must be" },
  not_owner: { status: 403, permanent: true, title: "The actor does not own the object" },
  not_for_us: { status: 403, permanent: true, title: "No recipient of the activity is on this node" },
  peer_policy: { status: 403, permanent: true, title: "The policy for this peer does not admit the activity" },
  right_missing: { status: 403, title: "The caller does not have the right that this route needs" },

  not_found: { status: 404, permanent: true, title: "There is nothing here for this caller" },
  gone: { status: 410, title: "That was here and has been removed for good" },
  method_not_allowed: { status: 405, title: "This path does not take that method" },
  timeout: { status: 408, title: "The request did not arrive in time" },

  content_conflict: { status: 409, permanent: true, title: "The same id or revision already has other content" },
  revision_stale: { status: 409, permanent: true, title: "The object has moved on to a newer revision" },
  id_taken: { status: 409, permanent: true, title: "The name, code, handle or id is taken" },
  state_conflict: { status: 409, permanent: true, title: "The present state does not allow this" },
  idempotency_conflict: { status: 409, title: "The idempotency key was used with another body" },
  fingerprint_mismatch: { status: 409, title: "The fingerprint is not the one that was shown" },
  event_unknown: { status: 409, title: "The newest event here is older than the one that is named" },
  precondition_failed: { status: 412, title: "The resource has changed since it was read" },

  too_large: { status: 413, permanent: true, title: "The request is larger than this node accepts" },
  unsupported_media: { status: 415, permanent: true, title: "The media type or the encoding is not accepted" },
  wrong_host: { status: 421, title: "This node does not answer for that host" },

  envelope_missing: { status: 422, permanent: true, title: "The object carries no sealed envelope" },
  envelope_shape: { status: 422, permanent: true, title: "The sealed envelope does not have the required shape" },
  envelope_binding: { status: 422, permanent: true, title: "The sealed envelope belongs to another object" },
  recipients_stale: { status: 422, permanent: true, title: "The envelope is sealed for keys that are not the newest" },
  recipients_missing: {
    status: 422,
    permanent: true,
    title: "The envelope is not sealed for every addressed platform",
  },
  clear_field_refused: { status: 422, permanent: true, title: "The object has a member that must not be in clear" },
  grants_refused: { status: 422, permanent: true, title: "The grants may not be changed this way" },
  transition_refused: { status: 422, permanent: true, title: "The state machine does not allow this move" },
  weak_key: { status: 422, title: "A key is too weak to be trusted" },
  actor_refused: { status: 422, title: "The remote actor cannot be accepted" },
  bundle_refused: { status: 422, title: "The key bundle or its membership does not verify" },
  unknown_reference: { status: 422, title: "An id names nothing that exists here" },

  rate_limited: { status: 429, title: "Too many requests; try again later" },
  internal: { status: 500, title: "The node failed; the failure is in its log" },
  actor_unreachable: { status: 502, title: "The remote instance could not be reached" },
  unavailable: { status: 503, title: "The node cannot store anything now; try again later" },
} as const satisfies Record<string, ProblemKind>;

export type ProblemCode = keyof typeof problemKinds;

/** Is `code` one on which a sender gives up for that activity? (docs/protocol.md, "Delivery") */
export function isPermanentProblem(code: string): boolean {
  return Object.hasOwn(problemKinds, code) && "permanent" in problemKinds[code as ProblemCode];
}

/**
 * A refusal that the caller may see: `code`, HTTP `status`, one sentence, and members of the problem document
 * (RFC 9457) such as `errors` or `current_revision`. Never put input or internals into it.
 */
export class Problem extends ConcordatError {
  declare readonly code: ProblemCode;
  readonly status: number;
  readonly members: Readonly<Record<string, unknown>>;

  /** @param status where a code is answered with another one than usual: `recipients_stale` to an editing grantee */
  constructor(
    code: ProblemCode,
    detail?: string,
    members: Readonly<Record<string, unknown>> = {},
    status: number = problemKinds[code].status,
  ) {
    super(code, detail ?? problemKinds[code].title);
    this.status = status;
    this.members = members;
  }

  /** The body of `application/problem+json`. */
  toJSON(): Record<string, unknown> {
    const { title } = problemKinds[this.code];
    return { type: "about:blank", title, status: this.status, code: this.code, detail: this.message, ...this.members };
  }
}

/** Is it the request that is refused? That there is too much to do is no refusal, and journaling it one more thing to do. */
export function isRefusal(error: unknown): error is Problem {
  return error instanceof Problem && error.code !== "unavailable";
}
