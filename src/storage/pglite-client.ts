/** PGlite as a node needs it: commits reach the disk, a full disk is noticed in time, queries let timers and sockets in. */
import { fsyncSync, statfsSync } from "node:fs";
import { PGlite, type Transaction } from "@electric-sql/pglite";
import { NodeFS } from "@electric-sql/pglite/nodefs";
import { ConcordatError } from "../errors.ts";

/** Starts PostgreSQL over the files in `cluster`; `reserve` octets of their disk stay free of writes. */
export async function startPglite(cluster: string, reserve: number): Promise<PGlite> {
  const pglite = new NodePglite(cluster, reserve);
  await pglite.waitReady;
  return pglite;
}

/** How long queries may follow each other without letting timers and sockets in, milliseconds. */
const breathAfter = 10;

class NodePglite extends PGlite {
  readonly #cluster: string;
  readonly #reserve: number;
  #lastBreath = performance.now();

  constructor(cluster: string, reserve: number) {
    super({
      fs: new FlushingNodeFs(cluster),
      startParams: [
        // They replace the defaults; of these, -F is what turns fsync off.
        ...PGlite.defaultStartParams.filter((parameter) => parameter !== "-F"),
        ...["fsync=on", "wal_sync_method=fsync", "timezone=UTC"].flatMap((setting) => ["-c", setting]),
      ],
    });
    this.#cluster = cluster;
    this.#reserve = reserve;
  }

  override async query<T>(...query: Parameters<PGlite["query"]>) {
    await this.#breathe();
    if (!/^\s*select\b/i.test(query[0])) this.#refuseWhenFull();
    return await super.query<T>(...query);
  }

  override async transaction<T>(run: (tx: Transaction) => Promise<T>): Promise<T> {
    this.#refuseWhenFull();
    return await super.transaction((tx) => {
      const query: Transaction["query"] = async (...rest) => {
        await this.#breathe();
        return await tx.query(...rest);
      };
      return run({ ...tx, query });
    });
  }

  /** PGlite answers within the microtask queue, so that a loop of queries would starve timers and sockets. */
  async #breathe(): Promise<void> {
    if (performance.now() - this.#lastBreath < breathAfter) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#lastBreath = performance.now();
  }

  /** Where PGlite finds no room for its write-ahead log, the next query never returns and the process hangs. */
  #refuseWhenFull(): void {
    const { bavail, bsize } = statfsSync(this.#cluster);
    if (bavail * bsize >= this.#reserve) return;
    throw new ConcordatError(
      "disk_full",
      `The disk of ${this.#cluster} has less than ${Math.ceil(this.#reserve / 2 ** 20)} MiB left: make room, nothing is stored until then.`,
    );
  }
}

/** What is used of emscripten's file system over Node's. */
interface NodeFsModule {
  readonly NODEFS: {
    tryFSOperation(run: () => void): void;
    readonly stream_ops: { fsync?: (stream: { readonly nfd: number }) => number };
  };
}

/** PGlite's NodeFS has no fsync, and PostgreSQL takes that for success: here it reaches the disk. */
class FlushingNodeFs extends NodeFS {
  override async init(...[pglite, options]: Parameters<NodeFS["init"]>): ReturnType<NodeFS["init"]> {
    const { emscriptenOpts } = await super.init(pglite, options);
    const giveFsync = (module: unknown) => {
      const { NODEFS } = module as NodeFsModule;
      NODEFS.stream_ops.fsync = ({ nfd }) => {
        NODEFS.tryFSOperation(() => fsyncSync(nfd));
        return 0;
      };
    };
    const before = [emscriptenOpts.preRun ?? []].flat();
    return { emscriptenOpts: { ...emscriptenOpts, preRun: [...before, giveFsync] } };
  }
}
