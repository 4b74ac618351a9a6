/** `admin peers`: which other instances this one exchanges activities with. */
import type { Command } from "commander";
import type { JsonObject } from "../protocol/objects.ts";
import type { RestClient } from "../sdk/rest.ts";
import { openAdmin, originOption, pickItem } from "./admin-session.ts";
import { parseCount, parseFingerprint, parseInstant, parseOrigin } from "./arguments.ts";
import { addCommand, addGroup, type CliContext } from "./context.ts";
import { confirm } from "./prompt.ts";

interface PeerOptions {
  readonly origin?: string;
  readonly fingerprint?: string;
}

export function addPeerCommands(admin: Command, context: CliContext): void {
  const { output } = context;
  const peers = addGroup(admin, "peers", "instances that this one exchanges activities with");

  addPeerCommand("request", "ask another instance to become a peer: this side's approval")
    .option(
      "--fingerprint <fingerprint>",
      "ask only if this is the fingerprint that its administrator told you",
      parseFingerprint,
    )
    .action(async (peer: string, { origin, fingerprint }: PeerOptions) => {
      const client = await openAdmin(context, origin);
      const body = { origin: peer, fingerprint };
      const requested = (await client.request("POST", "/peers", { body })) as JsonObject;
      output.record(requested, fieldsOf(requested));
      if (fingerprint === undefined)
        output.note("Compare the fingerprint with its administrator over another channel.");
    });

  addCommand(peers, "invite", "make an invitation: one string, good for one use, that the other side accepts")
    .option("--for <origin>", "the only instance that may use it", parseOrigin)
    .option("--until <instant>", "until when it is good; a week when absent", parseInstant)
    .option(...originOption)
    .action(async (options: PeerOptions & { for?: string; until?: string }) => {
      const client = await openAdmin(context, options.origin);
      const body = { for: options.for, expires_at: options.until };
      const invited = (await client.request("POST", "/peers/invitations", { body })) as JsonObject;
      output.record(invited, [
        ["invitation", invited.invitation],
        ["good until", invited.expires_at],
      ]);
      output.note("Whoever has it can become a peer: send it over a channel that you trust.");
    });

  addCommand(peers, "accept", "become a peer by an invitation; its key is checked, nothing is compared by hand")
    .argument("<invitation>", "the string that begins with concordat-invite.")
    .option(...originOption)
    .action(async (invitation: string, options: PeerOptions) => {
      const client = await openAdmin(context, options.origin);
      const requested = (await client.request("POST", "/peers", { body: { invitation } })) as JsonObject;
      output.record(requested, fieldsOf(requested));
    });

  addCommand(peers, "list", "peers, and the lane to each")
    .option(...originOption)
    .action(async (options: PeerOptions) => {
      const client = await openAdmin(context, options.origin);
      output.table(
        await client.list("/peers"),
        [
          { title: "origin", value: (row) => row.origin, whole: true },
          { title: "state", value: (row) => row.state },
          { title: "lane", value: (row) => laneOf(row).state },
          { title: "waiting", value: (row) => laneOf(row).depth },
          { title: "dead", value: (row) => laneOf(row).dead },
        ],
        "There are no peers yet: concordat admin peers request ORIGIN",
      );
    });

  addPeerCommand("open", "open a request: fetch its actor, judge the stored signature, show the fingerprint").action(
    async (peer: string, options: PeerOptions) => {
      const client = await openAdmin(context, options.origin);
      const opened = await act(client, peer, "open");
      output.record(opened, [...fieldsOf(opened), ["signature verified", opened.signature_verified]]);
      output.note("Compare the fingerprint with its administrator, then approve or reject.");
    },
  );

  addPeerCommand("show", "one peer").action(async (peer: string, options: PeerOptions) => {
    const client = await openAdmin(context, options.origin);
    const { id } = await findPeer(client, peer);
    const shown = (await client.request("GET", `/peers/${id}`)) as JsonObject;
    output.record(shown, fieldsOf(shown));
  });

  addPeerCommand("approve", "approve an opened request")
    .option(
      "--fingerprint <fingerprint>",
      "approve only if this is the fingerprint that its administrator told you",
      parseFingerprint,
    )
    .action(async (peer: string, options: PeerOptions) => {
      const client = await openAdmin(context, options.origin);
      const { fingerprint } = options;
      const approved = await act(client, peer, "approve", fingerprint === undefined ? {} : { fingerprint });
      output.done(approved, `${peer} is an approved peer now.`);
    });

  addVerb("reject", "reject a request", "The request is rejected");
  addVerb("suspend", "refuse a peer and hold what is for it, until resumed; it is not told", "Suspended");
  addVerb("resume", "end a suspension; what was held is sent", "Resumed");

  addPeerCommand("revoke", "end the peering, for both sides: copies of what was shared go")
    .option("--yes", "do not ask")
    .action(async (peer: string, options: PeerOptions & { yes?: boolean }) => {
      const client = await openAdmin(context, options.origin);
      await confirm(context.prompt, `End the peering with ${peer}, and all that is shared with it?`, options.yes);
      output.done(await act(client, peer, "revoke"), `Revoked: ${peer} is told.`);
    });

  addPeerCommand("policy", "show or change what a peer learns of, what it may send, and how much")
    .option("--platforms <handles>", "platforms that it learns of, separated by commas, or all", parseNames)
    .option("--activities <types>", "types of activities that it may send, separated by commas, or all", parseNames)
    .option("--per-minute <count>", "activities that it may send a minute, or none for no quota", parseQuota)
    .option("--per-day <count>", "activities that it may send a day, or none for no quota", parseQuota)
    .action(async (peer: string, options: PeerOptions & PolicyOptions) => {
      const client = await openAdmin(context, options.origin);
      const { platforms, activities, perMinute, perDay } = options;
      const policy = { platforms, activities, per_minute: quotaOf(perMinute), per_day: quotaOf(perDay) };
      const found = await findPeer(client, peer);
      const changes = Object.values(policy).some((value) => value !== undefined);
      const shown = (
        changes ? await client.request("PATCH", `/peers/${found.id}`, { body: { policy } }) : found
      ) as JsonObject;
      output.record(shown, policyFieldsOf(shown));
    });

  function addVerb(verb: string, description: string, done: string): void {
    addPeerCommand(verb, description).action(async (peer: string, options: PeerOptions) => {
      const client = await openAdmin(context, options.origin);
      output.done(await act(client, peer, verb), `${done}: ${peer}.`);
    });
  }

  function addPeerCommand(name: string, description: string): Command {
    return addCommand(peers, name, description)
      .argument("<peer>", "origin of the other instance, such as https://lyon.example", parseOrigin)
      .option(...originOption);
  }
}

interface PolicyOptions {
  readonly platforms?: string | readonly string[];
  readonly activities?: string | readonly string[];
  readonly perMinute?: number | "none";
  readonly perDay?: number | "none";
}

/** `all`, or names separated by commas. */
const parseNames = (text: string) =>
  text === "all"
    ? text
    : text
        .split(",")
        .map((name) => name.trim())
        .filter((name) => name !== "");

const parseQuota = (text: string): number | "none" => (text === "none" ? text : parseCount(text));
const quotaOf = (option: number | "none" | undefined) => (option === "none" ? null : option);

async function findPeer(client: RestClient, origin: string) {
  return pickItem(await client.list("/peers", { origin }), ["origin"], origin, "peer");
}

async function act(client: RestClient, peer: string, verb: string, body: JsonObject = {}): Promise<JsonObject> {
  const { id } = await findPeer(client, peer);
  return (await client.request("POST", `/peers/${id}/${verb}`, { body })) as JsonObject;
}

interface Lane {
  readonly state?: string;
  readonly depth?: number;
  readonly dead?: number;
  readonly next_attempt_at?: string | null;
  readonly last_error?: { readonly code: string; readonly at: string } | null;
}

const laneOf = (peer: JsonObject) => (peer.lane ?? {}) as Lane;

function fieldsOf(peer: JsonObject): readonly (readonly [string, unknown])[] {
  const lane = laneOf(peer);
  return [
    ["origin", peer.origin],
    ["state", peer.state],
    ["name", peer.name],
    ["software", peer.software],
    ["fingerprint", peer.fingerprint],
    ...(peer.held == null ? [] : [["held", `its new keys wait for an approval (${peer.held})`] as const]),
    ["lane", `${lane.state ?? "–"}, ${lane.depth ?? 0} waiting, ${lane.dead ?? 0} dead`],
    ["next attempt", lane.next_attempt_at],
    ["last error", lane.last_error == null ? null : `${lane.last_error.code} at ${lane.last_error.at}`],
  ];
}

function policyFieldsOf({ origin, policy }: JsonObject): readonly (readonly [string, unknown])[] {
  const { platforms, activities, per_minute: perMinute, per_day: perDay } = policy as Record<string, unknown>;
  return [
    ["origin", origin],
    ["learns of", platforms],
    ["may send", activities],
    ["a minute", perMinute ?? "no quota"],
    ["a day", perDay ?? "no quota"],
  ];
}
