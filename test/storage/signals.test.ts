import { createLocalSignals } from "../../src/storage/signals.ts";
import { describeSignals } from "../conformance/signals.ts";
import { suite } from "../harness/suite.ts";

const test = suite("signals within a process");

describeSignals(test, async () => createLocalSignals());

test.run();
