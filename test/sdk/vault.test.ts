import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { levelStore } from "../../src/cli/vault-access.ts";
import type { ConcordatError } from "../../src/errors.ts";
import { createVault, openVault, type VaultState, vaultExists } from "../../src/sdk/vault.ts";
import { suite } from "../harness/suite.ts";

const test = suite("the client's vault");

/** Few rounds: these tests are about the vault, not about how slow a passphrase is to guess. */
const rounds = 1_000;
const passphrase = "a passphrase of the test";
const marker = "MARKER-of-an-access-key";

async function withDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "concordat-vault-"));
  try {
    await use(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

const refusal = async (run: () => Promise<unknown>): Promise<ConcordatError> => {
  try {
    await run();
  } catch (error) {
    return error as ConcordatError;
  }
  throw new Error("was not refused");
};

const withMembership = (state: VaultState): VaultState => ({
  ...state,
  memberships: [
    ...state.memberships,
    {
      origin: "https://ouest.example",
      handle: "chu-rennes",
      actor: "https://ouest.example/platforms/chu-rennes",
      platformId: "0190a0a0-0000-7000-8000-000000000001",
      name: "CHU de Rennes",
      accessKey: marker,
      joinedAt: "2026-11-23T10:00:00Z",
      membership: "x.y.z",
    },
  ],
});

test("keeps what was written for the next opening", () =>
  withDirectory(async (directory) => {
    const vault = await createVault(levelStore(directory), passphrase, rounds);
    await vault.update(withMembership);
    await vault.updateHeld("https://ouest.example/projects/1", (held) => ({ ...held, digests: { 1: "digest" } }));

    const again = await openVault(levelStore(directory), passphrase);
    const [membership] = (await again.read()).memberships;
    assert.is(membership?.accessKey, marker);
    assert.equal((await again.readHeld("https://ouest.example/projects/1")).digests, { 1: "digest" });
    assert.equal((await again.readHeld("https://ouest.example/projects/2")).digests, {});
  }));

test("refuses a wrong passphrase and says so", () =>
  withDirectory(async (directory) => {
    await createVault(levelStore(directory), passphrase, rounds);
    assert.is((await refusal(() => openVault(levelStore(directory), "another"))).code, "vault_passphrase");
  }));

test("is opened by the same passphrase in another composition of its characters", () =>
  withDirectory(async (directory) => {
    await createVault(levelStore(directory), "phrase d'acc\u00e8s", rounds);
    assert.is((await (await openVault(levelStore(directory), "phrase d'acce\u0300s")).read()).version, 1);
  }));

test("does not exist before it is created, and is created once", () =>
  withDirectory(async (directory) => {
    const store = levelStore(directory);
    assert.is(await vaultExists(store), false);
    assert.is((await refusal(() => openVault(store, passphrase))).code, "vault_missing");
    await createVault(store, passphrase, rounds);
    assert.is(await vaultExists(store), true);
    assert.is((await refusal(() => createVault(store, passphrase, rounds))).code, "vault_exists");
  }));

test("has neither secrets nor names of objects on the disk in clear", () =>
  withDirectory(async (directory) => {
    const vault = await createVault(levelStore(directory), passphrase, rounds);
    await vault.update(withMembership);
    await vault.updateHeld(`https://ouest.example/projects/${marker}`, (held) => held);

    const files = await readdir(join(directory, "vault"));
    const octets = await Promise.all(files.map((file) => readFile(join(directory, "vault", file))));
    // That the search finds what is in clear, it proves on the header.
    assert.ok(octets.some((content) => content.includes("PBKDF2-SHA-256")));
    for (const text of [marker, "chu-rennes", "ouest.example", "memberships"]) {
      assert.not.ok(
        octets.some((content) => content.includes(text)),
        text,
      );
    }
  }));

test("lets two programs take turns, and loses no change of either", () =>
  withDirectory(async (directory) => {
    const first = await createVault(levelStore(directory), passphrase, rounds);
    const second = await openVault(levelStore(directory), passphrase);
    const changes = Array.from({ length: 10 }, (_, at) => (at % 2 === 0 ? first : second).update(withMembership));
    await Promise.all(changes);
    assert.is((await first.read()).memberships.length, 10);
  }));

test("refuses a record that was moved to another name", () =>
  withDirectory(async (directory) => {
    const store = levelStore(directory);
    const vault = await createVault(store, passphrase, rounds);
    await vault.updateHeld("https://a.example/projects/1", (held) => ({ ...held, digests: { 1: "of one" } }));
    await vault.updateHeld("https://a.example/projects/2", (held) => ({ ...held, digests: { 1: "of two" } }));
    await swapRecords(directory);
    const codes = [];
    for (const at of [1, 2]) {
      codes.push((await refusal(() => vault.readHeld(`https://a.example/projects/${at}`))).code);
    }
    assert.equal(codes, ["vault_damaged", "vault_damaged"]);
  }));

/** Turns the values of all records round: each lies under the key of another one. */
async function swapRecords(directory: string): Promise<void> {
  const { Level } = await import("level");
  const database = new Level<string, string>(join(directory, "vault"));
  const entries = await database.iterator({ gt: "record:", lt: "record;" }).all();
  for (const [at, [key]] of entries.entries()) await database.put(key, entries.at(at - 1)?.[1] ?? "");
  await database.close();
}

test.run();
