import * as assert from "uvu/assert";
import { nodeInfo, nodeInfoLinks } from "../../src/identity/node-info.ts";
import { suite } from "../harness/suite.ts";

const test = suite("NodeInfo");

test("links to the document of schema 2.1 on the node's own origin", () => {
  assert.equal(nodeInfoLinks("https://lyon.example"), {
    links: [{ rel: "http://nodeinfo.diaspora.software/ns/schema/2.1", href: "https://lyon.example/nodeinfo/2.1" }],
  });
});

test("tells the software and what it speaks, and no numbers of users or content", () => {
  assert.equal(nodeInfo({ version: "1.2.3" }), {
    version: "2.1",
    software: { name: "concordat", version: "1.2.3" },
    protocols: ["activitypub"],
    services: { inbound: [], outbound: [] },
    openRegistrations: false,
    usage: { users: {} },
    metadata: {},
  });
});

test.run();
