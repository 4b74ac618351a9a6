/**
 * Runs benchmarks: `npm run bench -- [NAME…] [--profile embedded|server] [--json]`. A name is a figure's or the beginning
 * of several. With `--json` one object per line. bench/README.md says what each figure is.
 */
import { parseArgs } from "node:util";
import { benchmarks } from "./benchmarks.ts";
import { type Figure, type Profile, profiles } from "./figure.ts";

const { values, positionals } = parseArgs({
  options: { profile: { type: "string" }, json: { type: "boolean", default: false } },
  allowPositionals: true,
});

const wantedProfiles = profiles.filter((profile) => values.profile === undefined || profile === values.profile);
const wanted = benchmarks.filter(
  ({ names }) => positionals.length === 0 || names.some((name) => positionals.some((part) => name.startsWith(part))),
);
if (wantedProfiles.length === 0 || wanted.length === 0) {
  console.error(`There is no such benchmark. Profiles: ${profiles.join(", ")}.`);
  console.error(`Figures: ${benchmarks.flatMap(({ names }) => names).join(", ")}.`);
  process.exitCode = 2;
}
for (const profile of wantedProfiles) {
  for (const benchmark of wanted) {
    if (benchmark.profiles && !benchmark.profiles.includes(profile)) continue;
    for await (const figure of benchmark.run(profile)) print(figure, profile);
  }
}

function print(figure: Figure, profile: Profile): void {
  if (values.json) {
    console.log(JSON.stringify(figure));
    return;
  }
  const { name, value, unit, beside, ratio, n } = figure;
  const compared = beside ? `  ${ratio} of ${beside.value} (${beside.what})` : "";
  console.log(`${name.padEnd(30)} ${profile.padEnd(9)} ${String(value).padStart(8)} ${unit}${compared}  n=${n}`);
}
