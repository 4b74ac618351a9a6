/** `admin peers`: which other instances this one exchanges activities with. */
import type { Command } from "commander";
import type { JsonObject } from "../protocol/objects.ts";
import type { RestClient } from "../sdk/rest.ts";
import { openAdmin, pickItem } from "./admin-session.ts";
import { parseOrigin } from "./arguments.ts";
import { addCommand, addGroup, type CliContext } from "./context.ts";

interface PeerOptions {
  readonly origin?: string;
  readonly fingerprint?: string;
}

export function addPeerCommands(admin: Command, context: CliContext): void {
  const { output } = context;
  const peers = addGroup(admin, "peers", "instances that this one exchanges activities with");

  addPeerCommand("request", "ask another instance to become a peer: this side's approval").action(
    async (peer: string, options: PeerOptions) => {
      const client = await openAdmin(context, options.origin);
      const requested = (await client.request("POST", "/peers", { body: { origin: peer } })) as JsonObject;
      output.record(requested, fieldsOf(requested));
      output.note("Compare the fingerprint with its administrator over another channel.");
    },
  );

  addCommand(peers, "list", "peers, and the lane to each")
    .option("--origin <origin>", "the instance; that of the newest login when absent", parseOrigin)
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
    .option("--fingerprint <fingerprint>", "approve only if this is the fingerprint that was shown")
    .action(async (peer: string, options: PeerOptions) => {
      const client = await openAdmin(context, options.origin);
      const { fingerprint } = options;
      const approved = await act(client, peer, "approve", fingerprint === undefined ? {} : { fingerprint });
      output.done(approved, `${peer} is an approved peer now.`);
    });

  addPeerCommand("reject", "reject a request").action(async (peer: string, options: PeerOptions) => {
    const client = await openAdmin(context, options.origin);
    output.done(await act(client, peer, "reject"), `The request of ${peer} is rejected.`);
  });

  function addPeerCommand(name: string, description: string): Command {
    return addCommand(peers, name, description)
      .argument("<peer>", "origin of the other instance, such as https://lyon.example", parseOrigin)
      .option(
        "--origin <origin>",
        "the instance that you administer; that of the newest login when absent",
        parseOrigin,
      );
  }
}

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
    ["lane", `${lane.state ?? "–"}, ${lane.depth ?? 0} waiting, ${lane.dead ?? 0} dead`],
    ["next attempt", lane.next_attempt_at],
    ["last error", lane.last_error == null ? null : `${lane.last_error.code} at ${lane.last_error.at}`],
  ];
}
