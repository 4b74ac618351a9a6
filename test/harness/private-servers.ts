import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chown, mkdtemp, readdir, readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { freePort } from "./free-port.ts";

/** A server that only this run uses; it ends with the process that started it, however that ends. */
export interface PrivateServer extends AsyncDisposable {
  readonly url: string;
  /** Ends it in order, as a restart does. */
  stop(): Promise<void>;
  /** Ends it at once, as a crash does. */
  crash(): Promise<void>;
  /** Starts it again with what it kept, and waits until it answers; nothing while it runs. */
  start(): Promise<void>;
}

type Ready = (url: string) => Promise<void>;

/** What a server may take to start or to end, milliseconds. */
const patience = 30_000;

/**
 * Starts a PostgreSQL of its own in a temporary directory, durable for nothing (fsync off), or returns undefined where
 * its programs are not installed. `ready` is asked until it stops throwing.
 */
export async function startPrivatePostgres(ready: Ready): Promise<PrivateServer | undefined> {
  const versions = (await readdir("/usr/lib/postgresql").catch(() => [])).sort((a, b) => Number(b) - Number(a));
  const folders = versions.map((version) => `/usr/lib/postgresql/${version}/bin`);
  const initdb = await findProgram("initdb", folders);
  const postgres = await findProgram("postgres", folders);
  if (initdb === undefined || postgres === undefined) return undefined;

  const owner = await unprivilegedOwner();
  const directory = await mkdtemp(join(tmpdir(), "concordat-test-postgres-"));
  if (owner.uid !== undefined && owner.gid !== undefined) await chown(directory, owner.uid, owner.gid);
  const data = join(directory, "data");
  const initdbArguments = ["-D", data, "-U", "concordat", "--auth=trust", "--encoding=UTF8", "--no-sync"];
  await promisify(execFile)(initdb, initdbArguments, { ...owner, cwd: directory });
  const port = await freePort();
  const settings = ["-c", "fsync=off", "-c", "max_connections=200", "-c", "listen_addresses=127.0.0.1"];
  const program = [postgres, "-D", data, "-p", String(port), "-k", directory, ...settings];
  const child = startTied(program, "INT", directory, owner);
  const url = `postgres://concordat@127.0.0.1:${port}/postgres`;
  // The server's own "immediate shutdown": killing its first process alone would leave the others.
  return await superviseServer(child, { url, stop: "INT", crash: "QUIT", ready });
}

/** Starts a Redis of its own that keeps nothing on disk, or returns undefined where it is not installed. */
export async function startPrivateRedis(ready: Ready): Promise<PrivateServer | undefined> {
  const redis = await findProgram("redis-server", []);
  if (redis === undefined) return undefined;
  const directory = await mkdtemp(join(tmpdir(), "concordat-test-redis-"));
  const port = await freePort();
  const settings = [
    "--port",
    String(port),
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
    "--dir",
    directory,
  ];
  const child = startTied([redis, ...settings], "TERM", directory, {});
  return await superviseServer(child, { url: `redis://127.0.0.1:${port}`, stop: "TERM", crash: "KILL", ready });
}

interface Owner {
  readonly uid?: number;
  readonly gid?: number;
}

/** PostgreSQL refuses to run as root; then it runs as its own system account, or as nobody. */
async function unprivilegedOwner(): Promise<Owner> {
  if (process.getuid?.() !== 0) return {};
  const accounts = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"));
  const account = ["postgres", "nobody"].map((name) => accounts.find((fields) => fields[0] === name)).find(Boolean);
  return account === undefined ? {} : { uid: Number(account[2]), gid: Number(account[3]) };
}

/**
 * A shell holds the server and reads from us: the name of a signal ends the server, `start` starts it again, and the end
 * of the pipe, which comes when we end, even by SIGKILL, stops it and tidies up. It answers each word with a line.
 */
function startTied(program: readonly string[], signal: string, directory: string, owner: Owner): ChildProcess {
  const script = `directory=$1; shift
    run() { "$@" >/dev/null & server=$!; }
    run "$@"
    while read -r word; do
      if [ "$word" = start ]; then run "$@"; else kill -s "$word" $server; wait $server; fi
      echo done
    done
    kill -s ${signal} $server; wait $server; rm -rf "$directory"`;
  const child = spawn("sh", ["-c", script, "sh", directory, ...program], {
    ...owner,
    cwd: directory,
    detached: true,
    stdio: ["pipe", "pipe", "ignore"],
  });
  child.unref();
  for (const pipe of [child.stdin, child.stdout]) (pipe as Socket).unref();
  return child;
}

interface Supervision {
  readonly url: string;
  /** Signals, by their names. */
  readonly stop: string;
  readonly crash: string;
  readonly ready: Ready;
}

async function superviseServer(child: ChildProcess, { url, stop, crash, ready }: Supervision): Promise<PrivateServer> {
  let runs = true;
  const tell = async (word: string) => {
    const pipe = child.stdout as Socket;
    pipe.ref();
    child.stdin?.write(`${word}\n`);
    try {
      await once(pipe, "data", { signal: AbortSignal.timeout(patience) });
    } catch (error) {
      throw new Error(`the private test server at ${url} was told ${word}, and had not done it after 30 s`, {
        cause: error,
      });
    } finally {
      pipe.unref();
    }
    runs = word === "start";
  };
  const end = (signal: string) => async () => {
    if (runs) await tell(signal);
  };
  const dispose = async () => {
    const ended = once(child, "exit");
    child.ref();
    child.stdin?.end();
    await ended;
  };
  try {
    await untilAnswers(url, ready);
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    url,
    stop: end(stop),
    crash: end(crash),
    async start() {
      if (runs) return;
      await tell("start");
      await untilAnswers(url, ready);
    },
    [Symbol.asyncDispose]: dispose,
  };
}

async function untilAnswers(url: string, ready: Ready): Promise<void> {
  const pause = 200;
  for (let waited = 0; ; waited += pause) {
    try {
      await ready(url);
      return;
    } catch (error) {
      if (waited >= patience)
        throw new Error(`the private test server at ${url} did not answer in 30 s`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

async function findProgram(name: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of [...folders, ...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"]) {
    const names: string[] = await readdir(folder).catch(() => []);
    if (names.includes(name)) return join(folder, name);
  }
  return undefined;
}
