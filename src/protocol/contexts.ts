/**
 * What JSON-LD could change about the meaning of an activity is refused, so that it means the same to those who expand it
 * and to those who, like this node, read it as plain JSON (docs/protocol.md, "Identifiers and documents"). Nothing is
 * ever fetched: context strings are names.
 */
import { Problem } from "../errors.ts";
import { isJsonObject, type JsonObject } from "./objects.ts";

const knownContexts = new Set([
  "https://www.w3.org/ns/activitystreams",
  "https://w3id.org/security/v1",
  "https://w3id.org/security/multikey/v1",
  "https://w3id.org/security/data-integrity/v1",
  "https://w3id.org/security/data-integrity/v2",
  "https://www.w3.org/ns/did/v1",
]);

/** Keywords by which members are moved, reversed or named anew. */
const refusedKeywords = new Set(["@graph", "@included", "@reverse", "@vocab", "@base", "@import", "@nest"]);

const prefixes: Readonly<Record<string, string>> = {
  as: "https://www.w3.org/ns/activitystreams#",
  hf: "urn:concordat:ns#",
  ldp: "http://www.w3.org/ns/ldp#",
  sec: "https://w3id.org/security#",
  vcard: "http://www.w3.org/2006/vcard/ns#",
  xsd: "http://www.w3.org/2001/XMLSchema#",
};

/** Terms that the known contexts define and that are read here or by other servers. */
const standardTerms = new Set(
  (
    "id type Accept Activity Add Announce Application Arrive Article Audio Block Collection CollectionPage Create Delete " +
    "Dislike Document Event Flag Follow Group Ignore Image IntransitiveActivity Invite IsContact IsFollowedBy IsFollowing " +
    "IsMember Join Leave Like Link Listen Mention Move Note Object Offer OrderedCollection OrderedCollectionPage " +
    "Organization Page Person Place Profile Question Read Reject Relationship Remove Service TentativeAccept " +
    "TentativeReject Tombstone Travel Undo Update Video View accuracy actor altitude anyOf attachment " +
    "attributedTo audience bcc bto cc closed content contentMap context current deleted describes duration endTime " +
    "endpoints first followers following formerType generator height href hreflang icon image inReplyTo inbox instrument " +
    "items last latitude liked likes location longitude mediaType name nameMap next object oneOf orderedItems origin " +
    "outbox partOf preferredUsername prev preview provideClientKey proxyUrl published publicKey publicKeyMultibase " +
    "publicKeyPem radius rel relationship replies result sharedInbox shares signClientKey source startIndex startTime " +
    "streams subject summary summaryMap tag target to totalItems units updated uploadMedia url votersCount width " +
    "assertionMethod controller owner Multikey proof proofPurpose proofValue cryptosuite verificationMethod implements"
  ).split(" "),
);

/**
 * Refuses an unknown remote context, keywords that move or rename members, and inline contexts that redefine a standard
 * term, wherever in the value they stand.
 * @throws {Problem} `malformed_activity`
 */
export function requirePlainContexts(value: unknown): void {
  if (Array.isArray(value)) {
    for (const item of value) requirePlainContexts(item);
    return;
  }
  if (!isJsonObject(value)) return;
  for (const [name, member] of Object.entries(value)) {
    if (refusedKeywords.has(name)) throw refuse(`${name} is not accepted.`);
    if (name === "@context") requireKnown(member);
    else requirePlainContexts(member);
  }
}

function requireKnown(context: unknown): void {
  for (const item of Array.isArray(context) ? context : [context]) {
    if (typeof item === "string" && knownContexts.has(item)) continue;
    if (!isJsonObject(item)) throw refuse("@context names a context that this node does not know.");
    for (const [term, definition] of Object.entries(item)) requireDefinition(term, definition);
  }
}

function requireDefinition(term: string, definition: unknown): void {
  const meaning = isJsonObject(definition) ? definition["@id"] : definition;
  if (refusedKeywords.has(term) || refusedKeywords.has(String(meaning)) || hasRefused(definition)) {
    throw refuse("@context uses a keyword that is not accepted.");
  }
  const prefix = Object.hasOwn(prefixes, term) ? prefixes[term] : undefined;
  const isRedefined =
    (prefix !== undefined && meaning !== prefix) || (standardTerms.has(term) && !isOwnMeaning(term, meaning));
  if (isRedefined) throw refuse("@context redefines a standard term.");
}

/** A term's definition may carry a context and keywords of its own. */
function hasRefused(definition: unknown): boolean {
  if (!isJsonObject(definition)) return false;
  return Object.keys(definition).some((name) => refusedKeywords.has(name) || name === "@context");
}

/** Some servers define a standard term once more, as it is. */
function isOwnMeaning(term: string, meaning: JsonObject[string]): boolean {
  if (term === "id" || term === "type") return meaning === `@${term}`;
  return meaning === `as:${term}` || meaning === `${prefixes.as}${term}`;
}

function refuse(detail: string): Problem {
  return new Problem("malformed_activity", detail);
}
