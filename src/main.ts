#!/usr/bin/env node
/** The program `concordat`. */
import type { emitWarning } from "node:process";

// Node 20 and 22 call WebCrypto's Ed25519 and X25519 experimental whenever a key is touched; nothing else is silenced.
const expected = /^(?:The )?(?:Ed25519|X25519) Web Crypto API algorithm is an experimental feature/;
const emit = process.emitWarning as (...parameters: unknown[]) => void;
process.emitWarning = ((...parameters: unknown[]) => {
  const [warning, kind] = parameters;
  if (kind === "ExperimentalWarning" && typeof warning === "string" && expected.test(warning)) return;
  emit.apply(process, parameters);
}) as typeof emitWarning;

// Whoever reads our output may stop reading: `concordat projects list | head`.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});

const { runCli } = await import("./cli/main.ts");
process.exitCode = await runCli(process.argv.slice(2));
