// time limit: 240 s
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { JsonObject } from "../../src/protocol/objects.ts";
import { run } from "../cli/terminal.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { peopleIn } from "../harness/people.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

const test = suite("the commands against two nodes");

const marker = "MARKER-of-an-illustrative-member";

let ouest: TestNode;
let lyon: TestNode;
let directory: string;
let { command, result, rows, refusal, settingsOf } = peopleIn("");

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "concordat-cli-"));
  ({ command, result, rows, refusal, settingsOf } = peopleIn(directory));
  [ouest, lyon] = await Promise.all([startNode(), startNode()]);
});
test.after(async () => {
  await Promise.all([ouest[Symbol.asyncDispose](), lyon[Symbol.asyncDispose]()]);
  await rm(directory, { recursive: true });
});

const fileOf = (name: string) => join(directory, name);
const hostOf = (node: TestNode) => new URL(node.origin).host;

test("an administrator logs in, and the token is readable by its owner alone", async () => {
  const logged = await result("admin-ouest", "admin", "login", `${ouest.origin}/`);
  assert.is(logged.origin, ouest.origin);
  await result("admin-lyon", "admin", "login", lyon.origin);
  assert.is((await stat(join(settingsOf("admin-ouest")().adminDir, "admin.json"))).mode & 0o777, 0o600);
  assert.is((await stat(settingsOf("admin-ouest")().adminDir)).mode & 0o777, 0o700);
});

test("a login holds with another vault, and who has none learns which file was looked at", async () => {
  const vaultDir = settingsOf("another vault")().vaultDir;
  const list = ["admin", "peers", "list", "--json"];
  const known = await run(list, { settings: () => ({ vaultDir, adminDir: settingsOf("admin-ouest")().adminDir }) });
  assert.is(known.code, 0, known.err);
  const unknown = await run(list, { settings: () => ({ vaultDir, adminDir: settingsOf("nobody")().adminDir }) });
  assert.is(JSON.parse(unknown.err).code, "not_logged_in");
  assert.is(JSON.parse(unknown.err).file, join(settingsOf("nobody")().adminDir, "admin.json"));
});

test("with several logins alive none is meant until --origin says which", async () => {
  const list = ["admin", "peers", "list"];
  const at = (clock: () => Date, ...argv: readonly string[]) =>
    run([...list, ...argv, "--json"], { settings: settingsOf("both"), clock });
  const now = () => new Date();
  await result("both", "admin", "login", ouest.origin);
  assert.is((await at(now)).code, 0);
  await result("both", "admin", "login", lyon.origin);
  const refused = await refusal("both", ...list);
  assert.is(refused.code, "several_logins");
  assert.match(String(refused.message), "--origin");
  assert.equal(refused.instances, [ouest.origin, lyon.origin]);
  for (const { origin } of [ouest, lyon]) assert.is((await at(now, "--origin", origin)).code, 0);
  const later = await at(() => new Date(Date.now() + 3_600_000));
  assert.is(JSON.parse(later.err).code, "not_logged_in");
});

test("a wrong password is refused with the code of the node", async () => {
  const { code, err } = await run(["admin", "login", ouest.origin, "--json"], {
    settings: settingsOf("nobody"),
    answers: ["wrong"],
  });
  assert.is(code, 1);
  assert.is(JSON.parse(err).code, "invalid_credentials");
});

test("a platform gets access; its key is in a file for its owner alone, and not on the screen", async () => {
  for (const [admin, name, handle] of [
    ["admin-ouest", "CHU de Rennes", "chu-rennes"],
    ["admin-ouest", "AP-HP", "ap-hp"],
    ["admin-lyon", "Hospices civils de Lyon", "hcl"],
    ["admin-lyon", "AP-HP", "ap-hp"],
  ] as const) {
    const file = fileOf(`${admin}-${handle}.key`);
    const { code, out } = await command(
      admin,
      "admin",
      "platforms",
      "create",
      name,
      "--handle",
      handle,
      "--access-key-file",
      file,
    );
    assert.is(code, 0);
    const key = (await readFile(file, "utf8")).trim();
    assert.ok(key.length > 30);
    assert.not.match(out, key);
    assert.is((await stat(file)).mode & 0o777, 0o600);
  }
  const handles = (await rows("admin-ouest", "admin", "platforms", "list")).map(({ handle }) => handle);
  assert.equal(handles.sort(), ["ap-hp", "chu-rennes"]);
});

test("no key is issued that its file cannot take", async () => {
  const keys = (await rows("admin-ouest", "admin", "keys", "list")).length;
  const existing = fileOf("admin-ouest-chu-rennes.key");
  const key = await readFile(existing, "utf8");
  const refused = await refusal("admin-ouest", "admin", "keys", "issue", "chu-rennes", "--access-key-file", existing);
  assert.is(refused.code, "unwritable_file");
  assert.is(await readFile(existing, "utf8"), key);
  const other = fileOf("nobody.key");
  const unknown = await refusal("admin-ouest", "admin", "keys", "issue", "nobody", "--access-key-file", other);
  assert.is(unknown.code, "not_found");
  assert.not.ok((await readdir(directory)).includes("nobody.key"));
  assert.is((await rows("admin-ouest", "admin", "keys", "list")).length, keys);
});

test("the administrators make their instances peers, comparing the fingerprint", async () => {
  const request = ["admin", "peers", "request", lyon.origin, "--fingerprint"];
  const { fingerprint } = JSON.parse(await lyon.command("node-keys", "show", "--json"));
  const other = await refusal("admin-ouest", ...request, "0000 0000 0000 0000 0000 0000");
  assert.is(other.code, "fingerprint_mismatch");
  assert.is(other.known_fingerprint, fingerprint);
  assert.is(other.offered_fingerprint, "0000 0000 0000 0000 0000 0000");
  assert.equal(await rows("admin-ouest", "admin", "peers", "list"), []);
  const requested = await result("admin-ouest", ...request, fingerprint);
  assert.is(requested.state, "pending_out");
  await until("the request arrives", async () => {
    const [peer] = await rows("admin-lyon", "admin", "peers", "list");
    return peer?.state === "pending_in";
  });
  const opened = await result("admin-lyon", "admin", "peers", "open", ouest.origin);
  assert.is(opened.signature_verified, true);
  const wrong = ["admin", "peers", "approve", ouest.origin, "--fingerprint", "0000 0000 0000 0000 0000 0000"];
  const mismatch = await refusal("admin-lyon", ...wrong);
  assert.is(mismatch.code, "fingerprint_mismatch");
  assert.is(mismatch.known_fingerprint, opened.fingerprint);
  const right = ["admin", "peers", "approve", ouest.origin, "--fingerprint", String(opened.fingerprint)];
  assert.is((await result("admin-lyon", ...right)).state, "approved");
  await until("the acceptance arrives", async () => {
    const peer = await result("admin-ouest", "admin", "peers", "show", lyon.origin);
    return peer.state === "approved";
  });
});

test("entities and frameworks are imported from files, and once", async () => {
  const entities = fileOf("entities.json");
  const frameworks = fileOf("frameworks.json");
  await writeFile(
    entities,
    JSON.stringify([{ name: "Hospices civils de Lyon", types: ["funder", "healthcare"], source: {} }]),
  );
  await writeFile(frameworks, JSON.stringify([{ kind: "mr-004", name: "MR-004", url: "https://www.cnil.fr/" }]));
  for (const expected of [
    { added: 1, present: 0 },
    { added: 0, present: 1 },
  ]) {
    assert.equal(await result("admin-ouest", "admin", "entities", "import", entities), expected);
    assert.equal(await result("admin-ouest", "admin", "frameworks", "import", frameworks), expected);
  }
  const [framework] = await rows("admin-ouest", "admin", "frameworks", "list");
  assert.is(framework?.description_url, "https://www.cnil.fr/");
});

test("platforms join; one vault joins two instances with one identity", async () => {
  const join = (person: string, node: TestNode, handle: string, file: string) =>
    result(person, "join", node.origin, "--handle", handle, "--access-key-file", fileOf(file));
  await join("rennes", ouest, "chu-rennes", "admin-ouest-chu-rennes.key");
  await join("lyon", lyon, "hcl", "admin-lyon-hcl.key");
  const first = await join("paris", ouest, "ap-hp", "admin-ouest-ap-hp.key");
  const second = await join("paris", lyon, "ap-hp", "admin-lyon-ap-hp.key");
  assert.is(first.fingerprint, second.fingerprint);
  assert.is(second.identity_created, false);
  const instances = await rows("paris", "instances");
  assert.equal(
    instances.map(({ origin, state, keys_published: published }) => [origin, state, published]),
    [
      [ouest.origin, "active", true],
      [lyon.origin, "active", true],
    ],
  );
});

test("a join that is refused says why and leaves no vault behind", async () => {
  const join = ["join", ouest.origin, "--handle", "chu-rennes", "--access-key-file"];
  const good = fileOf("admin-ouest-chu-rennes.key");
  const bad = fileOf("wrong.key");
  await writeFile(bad, "not an access key\n");

  const wrong = await refusal("stranger", ...join, bad);
  assert.is(wrong.code, "invalid_credentials");
  assert.match(String(wrong.message), "handle or access key");

  const other = await refusal("stranger", ...join, good);
  assert.is(other.code, "content_conflict");
  assert.match(String(other.message), "another identity");
  assert.is(other.known_fingerprint, (await result("rennes", "keys", "show")).fingerprint);
  assert.is((await refusal("lyon", ...join, good)).code, "content_conflict");

  const issued = fileOf("weak.key");
  await result("admin-ouest", "admin", "platforms", "create", "Weak", "--handle", "weak", "--access-key-file", issued);
  const argv = ["join", ouest.origin, "--handle", "weak", "--access-key-file", issued, "--json"];
  const weak = await run(argv, { settings: settingsOf("stranger", "short") });
  assert.is(JSON.parse(weak.err).code, "weak_passphrase");

  assert.not.ok((await readdir(directory)).includes("stranger"));
});

test("a project is declared, shared, and opened on the other node with the reader's own key", async () => {
  const file = fileOf("project.json");
  await writeFile(
    file,
    JSON.stringify({
      code: "NCT02990195",
      name: "RESCUE",
      status: "active",
      start_date: "2016-12-01",
      end_date: "2018-07-02",
      entities: ["Hospices civils de Lyon"],
      frameworks: [{ kind: "mr-004", name: "MR-004" }],
      sealed: { description: "illustrative", members: [{ name: marker }] },
    }),
  );
  const declared = await result("rennes", "projects", "create", "--file", file);
  assert.is(declared.revision, 1);
  assert.is((await refusal("rennes", "projects", "create", "--file", file)).code, "id_taken");

  const address = `hcl@${hostOf(lyon)}`;
  await until("lyon's platforms are known at ouest", async () => {
    const { code } = await command("rennes", "projects", "share", "NCT02990195", address);
    return code === 0;
  });
  await until("the project arrives", async () => (await rows("lyon", "projects", "list")).length === 1);
  const shown = await result("lyon", "projects", "show", "NCT02990195");
  assert.equal(shown.content, { description: "illustrative", members: [{ name: marker }] });
  assert.equal((shown.project as JsonObject).access, "readonly");
  assert.is((shown.sealed_by as JsonObject).status, "unverified");

  const people = await command("lyon", "projects", "show", "NCT02990195");
  assert.match(people.out, marker);
});

test("an edit reaches the reader, who cannot make one", async () => {
  const file = fileOf("change.json");
  await writeFile(file, JSON.stringify({ status: "closed", name: null, sealed: { description: "changed" } }));
  assert.is((await result("rennes", "projects", "edit", "NCT02990195", "--file", file)).revision, 3);
  const project = await until("the edit arrives", async () => {
    const shown = await result("lyon", "projects", "show", "NCT02990195");
    return (shown.project as JsonObject).revision === 3 ? shown : null;
  });
  assert.equal(project.content, { description: "changed" });
  assert.is((project.project as JsonObject).name, null);
  assert.is((await refusal("lyon", "projects", "edit", "NCT02990195", "--file", file)).code, "not_owner");
});

test("lists merge the memberships of a vault, each row with its instance", async () => {
  const file = fileOf("of-paris.json");
  await writeFile(file, JSON.stringify({ code: "PARIS-1", sealed: {} }));
  const refused = await refusal("paris", "projects", "create", "--file", file);
  assert.is(refused.code, "several_memberships");
  for (const node of [ouest, lyon]) {
    await result("paris", "projects", "create", "--file", file, "--instance", hostOf(node));
  }
  const list = await rows("paris", "projects", "list");
  assert.equal(
    list.map(({ instance, code }) => [instance, code]),
    [
      [ouest.origin, "PARIS-1"],
      [lyon.origin, "PARIS-1"],
    ],
  );
  assert.is((await refusal("paris", "projects", "show", "PARIS-1")).code, "ambiguous");
});

test("a fingerprint is compared and recorded", async () => {
  const { fingerprint } = await result("rennes", "keys", "show");
  const address = `chu-rennes@${hostOf(ouest)}`;
  const wrong = await refusal("lyon", "keys", "verify", address, "--fingerprint", "0".repeat(24));
  assert.is(wrong.code, "fingerprint_mismatch");
  assert.is(wrong.known_fingerprint, fingerprint);
  await result("lyon", "keys", "verify", address, "--fingerprint", String(fingerprint));
  const shown = await result("lyon", "projects", "show", "NCT02990195");
  assert.is((shown.sealed_by as JsonObject).status, "verified");
});

test("the sender holds receipts, the administrator sees deliveries and an unbroken audit", async () => {
  const receipts = await rows("rennes", "receipts", "list");
  assert.ok(receipts.length > 0);
  assert.ok(receipts.every(({ peer, effect }) => peer === lyon.origin && effect === "applied"));
  const { project } = (await result("rennes", "projects", "show", "NCT02990195")) as { project: JsonObject };
  const about = receipts.filter(({ object }) => object === project.uri);
  assert.ok(about.length >= 2, "the share and the edit");
  assert.ok(about.every(({ code }) => code === "NCT02990195"));
  assert.match((await command("rennes", "receipts", "list")).out, "NCT02990195");
  const ofAll = await ouest.admin.list("/receipts?direction=in");
  assert.ok(ofAll.some(({ object, code }) => object === project.uri && code === null));
  assert.ok((await lyon.admin.list("/receipts?direction=out")).some(({ object }) => object === project.uri));
  const arrived = await rows("lyon", "receipts", "list", "--direction", "out");
  assert.ok(arrived.some(({ object }) => object === project.uri));
  assert.ok(arrived.every(({ direction, peer }) => direction === "out" && peer === ouest.origin));
  const jws = new Map(arrived.map(({ activity, jws }) => [activity, jws]));
  assert.ok(
    about.some((receipt) => jws.get(receipt.activity) === receipt.jws),
    "both sides have the same one",
  );
  assert.match((await command("lyon", "receipts", "list", "--direction", "out")).out, new URL(ouest.origin).host);
  assert.equal(await rows("rennes", "receipts", "list", "--direction", "out"), [], "nothing came for this one");
  const deliveries = await rows("admin-ouest", "admin", "deliveries", "list", "--state", "delivered");
  assert.ok(deliveries.length >= receipts.length);
  const delivery = await result("admin-ouest", "admin", "deliveries", "show", String(deliveries[0]?.id));
  assert.equal(delivery, deliveries[0]);
  const verdict = await result("admin-ouest", "admin", "audit", "verify");
  assert.is(verdict.verified, true);
  assert.is(verdict.erased, 0);
  const audit = await rows("admin-ouest", "admin", "audit", "list", "--limit", "200");
  for (const action of ["peer.requested", "project.created", "project.shared"]) {
    assert.ok(
      audit.some((entry) => entry.action === action),
      action,
    );
  }
});

test("a revoked key and a suspended platform open nothing any more, and the list says what it lacks", async () => {
  const [key] = await rows("admin-lyon", "admin", "keys", "list", "ap-hp");
  await result("admin-lyon", "admin", "keys", "revoke", String(key?.prefix));
  const { code, out, err } = await command("paris", "projects", "list", "--json");
  assert.is(code, 1);
  assert.equal(
    (JSON.parse(out) as JsonObject[]).map(({ instance }) => instance),
    [ouest.origin],
  );
  assert.is(JSON.parse(err).code, "instances_missing");
  assert.match(JSON.parse(err).message, "concordat instances");
  const receipts = await command("paris", "receipts", "list");
  assert.match(receipts.err, "instances_missing");
  assert.not.match(receipts.err, "There are no");

  const issued = fileOf("second.key");
  await result("admin-lyon", "admin", "keys", "issue", "ap-hp", "--access-key-file", issued);
  await result("paris", "join", lyon.origin, "--handle", "ap-hp", "--access-key-file", issued);
  assert.is((await rows("paris", "projects", "list")).length, 2);

  await result("admin-lyon", "admin", "platforms", "suspend", "ap-hp");
  assert.is((await rows("paris", "instances"))[1]?.state, "invalid_credentials");
  await result("admin-lyon", "admin", "platforms", "resume", "ap-hp");
  assert.is((await rows("paris", "instances"))[1]?.state, "active");
});

test("a right that was taken away is refused at the node", async () => {
  await result("admin-ouest", "admin", "platforms", "rights", "ap-hp", "directory:read,projects:read");
  const file = fileOf("another.json");
  await writeFile(file, JSON.stringify({ code: "PARIS-2", sealed: {} }));
  const refused = await refusal("paris", "projects", "create", "--file", file, "--instance", ouest.origin);
  assert.is(refused.code, "right_missing");
  assert.is(refused.status, 403);
});

test("nothing of the vaults is on the disk in clear", async () => {
  for (const person of ["rennes", "lyon", "paris"]) {
    const folder = join(settingsOf(person)().vaultDir, "vault");
    const octets = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name))));
    assert.ok(octets.some((content) => content.includes("PBKDF2-SHA-256")));
    for (const text of [marker, "NCT02990195", hostOf(ouest), "access_key"]) {
      assert.not.ok(
        octets.some((content) => content.includes(text)),
        `${text} in the vault of ${person}`,
      );
    }
  }
});

/** The program itself, in a process of its own. */
function program(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const main = join(import.meta.dirname, "..", "..", "src", "main.js");
  const env = {
    PATH: "",
    CONCORDAT_VAULT: settingsOf("lyon")().vaultDir,
    CONCORDAT_VAULT_PASSPHRASE: settingsOf("lyon")().passphrase,
  };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...argv], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

test("the program reads its settings, prints no warnings, and ends with the code of what happened", async () => {
  const shown = await program("projects", "show", "NCT02990195", "--json");
  assert.is(shown.err, "");
  assert.is(shown.code, 0);
  assert.equal(JSON.parse(shown.out).content, { description: "changed" });
  const refused = await program("projects", "show", "NCT00000000", "--json");
  assert.is(refused.code, 1);
  assert.is(JSON.parse(refused.err).code, "not_found");
  assert.is((await program("projects", "shw")).code, 2);
});

test.run();
