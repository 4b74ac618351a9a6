/** What stands on the screen after the last step: where to look. */
import { join, relative } from "node:path";
import { type Cast, nodesOf } from "./scenario.ts";

export function describeRunning(cast: Cast): string {
  const { ouest, rennes, hcl, aphp } = cast;
  const program = relative(process.cwd(), join(import.meta.dirname, "..", "..", "main.js"));
  const nodes = nodesOf(cast).map(
    ({ name, origin, passwordFile }) =>
      `  ${name.padEnd(6)} ${origin}   user admin, password in\n         ${passwordFile}`,
  );
  const platforms = [
    [rennes, "on ouest"],
    [hcl, "on lyon"],
    [aphp, "on ouest and paris"],
  ] as const;
  const vault = (platform: typeof rennes) =>
    `CONCORDAT_VAULT=${platform.vaultDirectory} \\\n    CONCORDAT_VAULT_PASSPHRASE_FILE=${platform.passphraseFile} \\\n   `;
  return `
The nodes are running:
${nodes.join("\n")}
  API description at /openapi.json of each

Platforms:
${platforms.map(([{ handle, name }, where]) => `  ${handle.padEnd(11)} ${name}, ${where}`).join("\n")}

Look around from another terminal:
  ${vault(hcl)} node ${program} projects show NCT02990195
  ${vault(aphp)} node ${program} projects list
  ${vault(rennes)} node ${program} receipts list
  node ${program} admin login ${ouest.origin} \\
    --password-file ${ouest.passwordFile}
  node ${program} admin deliveries list
  node ${program} admin audit verify

Ctrl-C ends the nodes and removes what the demo made.
`;
}
