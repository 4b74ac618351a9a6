/** The demo's scenario: who does what, in which order, and what has to be true after each step. */
import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { fingerprint } from "../../crypto/keys.ts";
import type { JsonObject } from "../../protocol/objects.ts";
import { readOwnKeys } from "../../sdk/own-keys.ts";
import { listProjects } from "../../sdk/project-views.ts";
import { declareProject, shareProject } from "../../sdk/projects.ts";
import { confirmFingerprint, findRecipient, learnKeys } from "../../sdk/trust.ts";
import { hostOf } from "../output.ts";
import { projectOf, readExampleData, registerExamples } from "./example-data.ts";
import { searchFiles } from "./file-search.ts";
import { type DemoNode, findFreePorts, prepareNode } from "./node-process.ts";
import { admitPlatform, type DemoPlatform, membershipAt, openByCode, preparePlatform } from "./platform-vault.ts";
import type { Finding, Progress } from "./progress.ts";
import { verifyReceiptsOf } from "./receipt-check.ts";
import { createWaitFor, expect, type WaitFor } from "./wait.ts";

/** The project that crosses while its sender is killed. */
const mainCode = "NCT02990195";
/** Projects of AP-HP, one on each of its instances. */
const ouestCode = "NCT02184676";
const parisCode = "NCT04280497";

export interface Cast {
  readonly ouest: DemoNode;
  readonly lyon: DemoNode;
  readonly paris: DemoNode;
  readonly rennes: DemoPlatform;
  readonly hcl: DemoPlatform;
  readonly aphp: DemoPlatform;
  readonly waitFor: WaitFor;
}

/** Chooses ports and makes directories, passwords and vaults below `directory`; nothing runs yet, and nothing does after `signal`. */
export async function prepareCast(directory: string, signal: AbortSignal): Promise<Cast> {
  const waitFor = createWaitFor(signal);
  const surroundings = { directory, signal, waitFor };
  const ports = await findFreePorts(3);
  const [ouest, lyon, paris] = await Promise.all([
    prepareNode(surroundings, "ouest", ports[0] ?? 0),
    prepareNode(surroundings, "lyon", ports[1] ?? 0),
    prepareNode(surroundings, "paris", ports[2] ?? 0),
  ]);
  const [rennes, hcl, aphp] = await Promise.all([
    preparePlatform(directory, "chu-rennes", "CHU de Rennes"),
    preparePlatform(directory, "hcl", "Hospices Civils de Lyon"),
    preparePlatform(directory, "ap-hp", "Assistance Publique – Hôpitaux de Paris"),
  ]);
  return { ouest, lyon, paris, rennes, hcl, aphp, waitFor };
}

export const nodesOf = ({ ouest, lyon, paris }: Cast): readonly DemoNode[] => [ouest, lyon, paris];

/** Plays all of it; the first step that does not hold ends it. @throws what that step threw */
export async function playScenario(cast: Cast, { step }: Progress): Promise<void> {
  const { ouest, lyon, paris, rennes, hcl, aphp, waitFor } = cast;
  const nodes = nodesOf(cast);
  const data = await readExampleData();
  // In the sealed parts, and in nothing else that this process sends.
  const marker = `sealed-${randomBytes(12).toString("hex")}`;
  const projects = {
    main: projectOf(data, mainCode, marker),
    ouest: projectOf(data, ouestCode, marker),
    paris: projectOf(data, parisCode, marker),
  };

  await step("start-nodes", async () => {
    await Promise.all(nodes.map((node) => node.start()));
    const origins = Object.fromEntries(nodes.map(({ name, origin }) => [name, origin]));
    return { said: "ouest, lyon and paris run, each in a process of its own", details: { origins } };
  });

  await step("register-references", async () => {
    await Promise.all(nodes.map(({ admin }) => registerExamples(admin, data)));
    const counts = { entities: data.entities.length, frameworks: data.frameworks.length };
    return { said: `${counts.entities} entities and ${counts.frameworks} frameworks on each node`, details: counts };
  });

  await step("approve-peers", async () => {
    const pairs = [await makePeers(cast, ouest, lyon), await makePeers(cast, ouest, paris)];
    return { said: "ouest–lyon and ouest–paris, fingerprints compared", details: { peers: pairs } };
  });

  await step("join-platforms", async () => {
    const [ofRennes, ofHcl, atOuest] = await Promise.all([
      admitPlatform(rennes, ouest),
      admitPlatform(hcl, lyon),
      admitPlatform(aphp, ouest),
    ]);
    const atParis = await admitPlatform(aphp, paris);
    expect(atOuest === atParis, "AP-HP has two identities where its one vault should have given one.");
    const fingerprints = { "chu-rennes": ofRennes, hcl: ofHcl, "ap-hp": atOuest };
    return {
      said: "chu-rennes, hcl and ap-hp published their keys; ap-hp one identity on two nodes",
      details: { fingerprints },
    };
  });

  await step("compare-fingerprints", async () => {
    const verified = await compareFingerprints(cast, rennes, ouest, hcl, lyon);
    expect(verified.status === "verified", "The fingerprint of hcl was compared, and is not recorded as verified.");
    return {
      said: `chu-rennes compared hcl's: ${verified.fingerprint}`,
      details: { fingerprint: verified.fingerprint, status: verified.status },
    };
  });

  await step("declare-project", async () => {
    const declared = await declareProject(rennes.client, await membershipAt(rennes, ouest), projects.main);
    return {
      said: `${declared.code}: title, dates, sponsor in clear; description and members sealed`,
      details: { code: declared.code, uri: declared.uri, revision: declared.revision },
    };
  });

  await step("stop-receiver", async () => {
    await lyon.stop();
    return { said: "lyon is down: nothing can be delivered to it" };
  });

  await step("share-project", async () => {
    const shared = await share(cast, rennes, ouest, mainCode, hcl, lyon);
    const queued = await queuedFor(ouest, lyon);
    expect(queued.length > 0, "The share is not queued for lyon although lyon is down.");
    return {
      said: `read-only with hcl; ${queued.length} delivery to lyon is queued`,
      details: { revision: shared.revision, mode: "readonly", queued: queued.length },
    };
  });

  await step("kill-sender", async () => {
    // Between two attempts: a worker that dies in one keeps its lane until its lease of half a minute is over.
    await waitFor("the lane to lyon backs off", async () => {
      const peer = await findPeer(ouest, lyon);
      return peer?.lane.state === "backing_off";
    });
    await ouest.kill();
    return { said: "ouest is killed (SIGKILL) before it has delivered", details: { signal: "SIGKILL" } };
  });

  await step("start-receiver", async () => {
    await lyon.start();
    const { items } = await listProjects(hcl.client);
    expect(items.length === 0, "lyon has a project that was not delivered to it.");
    return { said: "lyon is back, and has no project yet", details: { projects: items.length } };
  });

  await step("restart-sender", async () => {
    await ouest.start();
    return { said: "ouest is back with what it had committed" };
  });

  await step("open-project", async () => await openMainProject());

  await step("share-from-two-nodes", async () => {
    await declareProject(aphp.client, await membershipAt(aphp, ouest), projects.ouest);
    await declareProject(aphp.client, await membershipAt(aphp, paris), projects.paris);
    await share(cast, aphp, ouest, ouestCode, rennes, ouest);
    await share(cast, aphp, paris, parisCode, rennes, ouest);
    for (const [code, file] of [
      [ouestCode, projects.ouest],
      [parisCode, projects.paris],
    ] as const) {
      const opened = await waitFor(`chu-rennes opens ${code} at ouest`, () => openByCode(rennes, ouest, code));
      expect(isDeepStrictEqual(opened.content, file.sealed), `chu-rennes opened ${code} with other content.`);
    }
    return {
      said: `ap-hp shared ${ouestCode} on ouest and ${parisCode} from paris; chu-rennes opened both on ouest`,
      details: { codes: [ouestCode, parisCode], equal: true },
    };
  });

  await step("list-merged", async () => {
    const { items, unreachable } = await listProjects(aphp.client);
    const rows = items.map(({ instance, code }) => ({ instance, code }));
    const wanted = [
      { instance: ouest.origin, code: ouestCode },
      { instance: paris.origin, code: parisCode },
    ];
    expect(unreachable.length === 0, "An instance of AP-HP did not answer.");
    expect(isDeepStrictEqual(rows, wanted), "The merged list is not what AP-HP declared.");
    const labels = rows.map(({ instance, code }) => `${code} at ${hostOf(instance)}`);
    return { said: `one vault lists ${labels.join(", ")}`, details: { rows } };
  });

  await step("verify-receipts", async () => {
    const checked = [
      await verifyReceiptsOf(rennes, ouest, [lyon, paris]),
      await verifyReceiptsOf(aphp, paris, [ouest]),
    ];
    const receipts = checked.reduce((sum, count) => sum + count, 0);
    return {
      said: `${receipts} receipts verified with the receiving nodes' public keys alone`,
      details: { receipts, verified: true },
    };
  });

  await step("verify-journals", async () => {
    const entries: Record<string, number> = {};
    for (const { name, admin } of nodes) {
      const verdict = (await admin.request("GET", "/audit/verification")) as JsonObject;
      expect(verdict.verified === true, `The journal of ${name} does not verify: ${String(verdict.reason)}.`);
      entries[name] = Number(verdict.entries);
    }
    return { said: "the chain of each node's journal is unbroken", details: { entries, verified: true } };
  });

  await step("search-sealed-text", async () => {
    const directories = nodes.map(({ directory }) => directory);
    const sealed = Object.values(projects).flatMap(({ sealed: { description }, name }) =>
      // A description that is the title stands in the clear part as well.
      description === name ? [] : [String(description)],
    );
    const title = String(projects.main.name);
    // A search that finds nothing proves nothing before it has found what is there.
    const control = await searchFiles(directories, [title]);
    expect(control.found.length > 0, "The search does not find the title, which is in clear.");
    const { files, octets, found } = await searchFiles(directories, [marker, ...sealed]);
    expect(found.length === 0, `Sealed text is on a node in clear: ${found.join("; ")}`);
    return {
      said: `no sealed text in ${files} files of the nodes (${Math.round(octets / 2 ** 20)} MiB); the clear title is found`,
      details: { files, octets, found: found.length, control_found: control.found.length },
    };
  });

  async function openMainProject(): Promise<Finding> {
    const opened = await waitFor("hcl opens the project at lyon", () => openByCode(hcl, lyon, mainCode));
    const equal = isDeepStrictEqual(opened.content, projects.main.sealed);
    expect(equal, "What hcl opened is not what chu-rennes sealed.");
    expect(opened.project.instance === lyon.origin, "hcl did not open it on its own node.");
    const { access, name } = opened.project;
    expect(access === "readonly", `hcl has ${access} access where read-only was shared.`);
    await waitFor("ouest holds the receipt", async () => (await queuedFor(ouest, lyon)).length === 0);
    return {
      said: "hcl opened it on lyon: the content equals what was sealed",
      details: { code: mainCode, instance: lyon.origin, equal, access, name, sealed_by: opened.sealed_by.actor },
    };
  }
}

interface PeerView extends JsonObject {
  readonly id: string;
  readonly state: string;
  readonly fingerprint: string;
  readonly lane: { readonly state: string };
}

async function findPeer(node: DemoNode, other: DemoNode): Promise<PeerView | undefined> {
  const [peer] = await node.admin.list("/peers", { origin: other.origin });
  return peer as PeerView | undefined;
}

/** `asking` requests; `asked` opens, compares the fingerprint with what `asking` says of itself, and approves. */
async function makePeers({ waitFor }: Cast, asking: DemoNode, asked: DemoNode): Promise<JsonObject> {
  const requested = (await asking.admin.request("POST", "/peers", { body: { origin: asked.origin } })) as PeerView;
  const pending = await waitFor(`${asking.name}'s request arrives at ${asked.name}`, async () => {
    const peer = await findPeer(asked, asking);
    return peer?.state === "pending_in" && peer;
  });
  const opened = (await asked.admin.request("POST", `/peers/${pending.id}/open`, { body: {} })) as PeerView;
  expect(opened.signature_verified === true, `The signature of ${asking.name}'s request does not verify.`);
  const body = { fingerprint: opened.fingerprint };
  await asked.admin.request("POST", `/peers/${pending.id}/approve`, { body });
  await waitFor(`${asked.name}'s approval arrives at ${asking.name}`, async () => {
    return (await findPeer(asking, asked))?.state === "approved";
  });
  return {
    peers: [asking.name, asked.name],
    fingerprints: { [asking.name]: opened.fingerprint, [asked.name]: requested.fingerprint },
  };
}

/** One platform learns another's keys from its own node, and compares them with what the other's people read out. */
async function compareFingerprints(
  { waitFor }: Cast,
  own: DemoPlatform,
  at: DemoNode,
  other: DemoPlatform,
  home: DemoNode,
) {
  const { membership, recipient } = await waitFor(`${at.name} learns of ${other.handle}`, () =>
    findRecipient(own.client, { handle: other.handle, host: home.host }, at.origin),
  );
  await learnKeys(own.client, membership, recipient);
  const said = fingerprint(readOwnKeys(await other.client.vault.read()).identity.publicJwk);
  return await confirmFingerprint(own.client, recipient.uri, said);
}

async function share(
  { waitFor }: Cast,
  owner: DemoPlatform,
  at: DemoNode,
  code: string,
  reader: DemoPlatform,
  home: DemoNode,
) {
  const { recipient } = await waitFor(`${at.name} learns of ${reader.handle}`, () =>
    findRecipient(owner.client, { handle: reader.handle, host: home.host }, at.origin),
  );
  const { items } = await listProjects(owner.client, { instance: at.origin, code });
  const id = items[0]?.id;
  expect(id !== undefined, `${at.name} does not list ${code} for its owner.`);
  const membership = await membershipAt(owner, at);
  return await shareProject(owner.client, membership, id, { platform: recipient, mode: "readonly" });
}

async function queuedFor(node: DemoNode, peer: DemoNode): Promise<readonly JsonObject[]> {
  return await node.admin.list("/deliveries", { state: "queued", peer: peer.origin });
}
