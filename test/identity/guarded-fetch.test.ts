import { createServer, type RequestListener } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from "node:net";
import * as assert from "uvu/assert";
import { isAllowedAddress } from "../../src/identity/address-policy.ts";
import { createGuardedFetch, type GuardedFetchSettings, OutboundError } from "../../src/identity/guarded-fetch.ts";
import { suite } from "../harness/suite.ts";

const test = suite("guarded fetch");
const development = { allowPrivateAddresses: true, allowNetworks: [] };
const production = { allowPrivateAddresses: false, allowNetworks: [] };

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

/** Runs `act` with the port of a server and a guarded fetch, and closes both. */
async function withServer<T>(
  server: Server,
  settings: GuardedFetchSettings,
  act: (port: number, fetcher: ReturnType<typeof createGuardedFetch>) => Promise<T>,
): Promise<T> {
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => sockets.add(socket));
  const port = await listen(server);
  const fetcher = createGuardedFetch(settings);
  try {
    return await act(port, fetcher);
  } finally {
    for (const socket of sockets) socket.destroy();
    await fetcher.close();
    await new Promise((resolve) => server.close(resolve));
  }
}

async function failureOf(act: Promise<unknown>): Promise<string> {
  try {
    await act;
  } catch (error) {
    if (error instanceof OutboundError) return `${error.phase} ${error.code}`;
    throw error;
  }
  return "answered";
}

async function failureWith(server: Server, limits: GuardedFetchSettings["limits"] = {}): Promise<string> {
  return await withServer(server, { ...development, limits }, async (port, fetcher) => {
    return await failureOf(fetcher.request({ method: "GET", url: `http://127.0.0.1:${port}/` }));
  });
}

const http = (listener: RequestListener) => createServer(listener);

test("sends method, path, headers and body, and returns status, headers and body", async () => {
  const server = http((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      response.writeHead(202, { "content-type": "application/json" });
      response.end(`${request.method} ${request.url} ${request.headers.host} ${Buffer.concat(chunks)}`);
    });
  });
  await withServer(server, development, async (port, fetcher) => {
    const url = `http://127.0.0.1:${port}/inbox?a=%20b`;
    const answer = await fetcher.request({ method: "POST", url, body: new TextEncoder().encode("hé") });
    assert.is(answer.status, 202);
    assert.is(answer.headers["content-type"], "application/json");
    assert.is(new TextDecoder().decode(answer.body), `POST /inbox?a=%20b 127.0.0.1:${port} hé`);
  });
});

test("keeps connections: ten requests in a row open two at most", async () => {
  let connections = 0;
  const server = http((_, response) => response.end("ok"));
  server.on("connection", () => connections++);
  await withServer(server, development, async (port, fetcher) => {
    for (let count = 0; count < 10; count++) await fetcher.request({ method: "GET", url: `http://127.0.0.1:${port}/` });
    // undici frees a connection shortly after its answer has ended, so an immediate second request opens one more.
    assert.ok(connections <= 2, `${connections} connections`);
  });
});

test("returns a redirect as it is", async () => {
  const paths: (string | undefined)[] = [];
  const server = http((request, response) => {
    paths.push(request.url);
    response.writeHead(302, { location: "/elsewhere" });
    response.end();
  });
  await withServer(server, development, async (port, fetcher) => {
    const answer = await fetcher.request({ method: "GET", url: `http://127.0.0.1:${port}/` });
    assert.is(answer.status, 302);
    assert.equal(paths, ["/"]);
  });
});

test("gives up on a server that never answers", async () => {
  assert.is(
    await failureWith(
      http(() => {}),
      { wholeMs: 200 },
    ),
    "exchange request_timeout",
  );
});

test("gives up on a server that drips for ever", async () => {
  const server = http((_, response) => {
    const timer = setInterval(() => response.write("."), 20);
    response.on("close", () => clearInterval(timer));
  });
  assert.is(await failureWith(server, { wholeMs: 300 }), "exchange request_timeout");
});

test("stops at an answer that is too large", async () => {
  const server = http((_, response) => {
    const send = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    };
    response.on("drain", send);
    send();
  });
  assert.is(await failureWith(server), "exchange response_too_large");
});

test("takes an answer of exactly the limit", async () => {
  const server = http((_, response) => response.end(Buffer.alloc(1000)));
  await withServer(server, { ...development, limits: { responseOctets: 1000 } }, async (port, fetcher) => {
    const answer = await fetcher.request({ method: "GET", url: `http://127.0.0.1:${port}/` });
    assert.is(answer.body.length, 1000);
  });
});

test("tells a reset and an answer that is no HTTP from a server that cannot be reached", async () => {
  const reset = createTcpServer((socket) => socket.once("data", () => socket.resetAndDestroy()));
  assert.is(await failureWith(reset), "exchange response_broken");
  const babble = createTcpServer((socket) => socket.end("hello\r\n\r\n"));
  assert.is(await failureWith(babble), "exchange response_broken");
  const short = http((_, response) => {
    response.writeHead(200, { "content-length": "10" });
    response.write("abc", () => response.destroy());
  });
  assert.is(await failureWith(short), "exchange response_broken");
});

test("says that nothing listens, and that TLS failed, as no connection", async () => {
  const server = createTcpServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  await using fetcher = createGuardedFetch(development);
  assert.is(
    await failureOf(fetcher.request({ method: "GET", url: `http://127.0.0.1:${port}/` })),
    "connect connect_failed",
  );
  const plain = http((_, response) => response.end());
  await withServer(plain, development, async (plainPort, other) => {
    const failure = await failureOf(other.request({ method: "GET", url: `https://127.0.0.1:${plainPort}/` }));
    assert.is(failure, "connect connect_failed");
  });
});

test("opens no connection to an address that is refused, by number or by name", async () => {
  let connections = 0;
  const server = createTcpServer(() => connections++);
  const lookup = async () => [{ address: "127.0.0.1", family: 4 }];
  await withServer(server, { ...production, lookup }, async (port, fetcher) => {
    for (const host of ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "lyon.example", "localhost"]) {
      const failure = await failureOf(fetcher.request({ method: "GET", url: `https://${host}:${port}/` }));
      assert.is(failure, "connect address_refused", host);
    }
    assert.is(connections, 0);
  });
});

test("connects to the address that was judged when the next DNS answer differs", async () => {
  const server = http((request, response) => response.end(request.headers.host));
  let lookups = 0;
  const lookup = async () => {
    lookups++;
    return [{ address: lookups === 1 ? "127.0.0.1" : "169.254.169.254", family: 4 }];
  };
  await withServer(server, { ...development, lookup }, async (port, fetcher) => {
    const url = `http://lyon.example:${port}/`;
    const answer = await fetcher.request({ method: "GET", url });
    assert.is(new TextDecoder().decode(answer.body), `lyon.example:${port}`);
    assert.is(lookups, 1);
  });
  await withServer(createTcpServer(), { ...development, lookup }, async (port, fetcher) => {
    const failure = await failureOf(fetcher.request({ method: "GET", url: `http://lyon.example:${port}/` }));
    assert.is(failure, "connect address_refused");
  });
});

test("uses the allowed ones of several addresses", async () => {
  const server = http((_, response) => response.end("ok"));
  const lookup = async () => [
    { address: "169.254.169.254", family: 4 },
    { address: "127.0.0.1", family: 4 },
  ];
  await withServer(server, { ...development, lookup }, async (port, fetcher) => {
    const answer = await fetcher.request({ method: "GET", url: `http://lyon.example:${port}/` });
    assert.is(answer.status, 200);
  });
});

test("speaks plain HTTP in development only", async () => {
  await using fetcher = createGuardedFetch({ allowPrivateAddresses: false, allowNetworks: ["127.0.0.0/8"] });
  assert.is(await failureOf(fetcher.request({ method: "GET", url: "http://127.0.0.1:1/" })), "connect address_refused");
  assert.not.ok(isAllowedAddress("93.184.216.34", "http:", development));
});

test("ends when its caller gives up", async () => {
  await withServer(
    http(() => {}),
    development,
    async (port, fetcher) => {
      const abort = new AbortController();
      const pending = fetcher.request({ method: "GET", url: `http://127.0.0.1:${port}/`, signal: abort.signal });
      abort.abort(new Error("shutting down"));
      let message = "";
      await pending.catch((error) => {
        message = error.message;
      });
      assert.is(message, "shutting down");
    },
  );
});

test("goes through the proxy, which resolves the name", async () => {
  const targets: (string | undefined)[] = [];
  const target = http((_, response) => response.end("through"));
  const proxy = createServer();
  await withServer(target, development, async (targetPort) => {
    proxy.on("connect", (request, socket) => {
      targets.push(request.url);
      const onward = connect(targetPort, "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        onward.pipe(socket).pipe(onward);
      });
      for (const end of [socket, onward]) end.on("error", () => onward.destroy());
    });
    const proxyPort = await listen(proxy);
    const fetcher = createGuardedFetch({ ...development, proxy: `http://127.0.0.1:${proxyPort}` });
    const answer = await fetcher.request({ method: "GET", url: "http://lyon.example:8080/" });
    assert.is(new TextDecoder().decode(answer.body), "through");
    assert.equal(targets, ["lyon.example:8080"]);
    await fetcher.close();
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  });
});

const refused = [
  ...["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"],
  ...["240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1"],
  ...["ff02::1", "fec0::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "::127.0.0.1"],
  ...["64:ff9b:1::808:808", "2002:7f00:1::1", "2002:a00:1::", "2001:0:1::1", "::ffff:0:127.0.0.1", "example.org", ""],
];
for (const address of refused) {
  test(`refuses ${address || "nothing"}`, () => {
    assert.not.ok(isAllowedAddress(address, "https:", production));
  });
}

test("allows public addresses, also mapped ones", () => {
  for (const address of ["93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]) {
    assert.ok(isAllowedAddress(address, "https:", production), address);
  }
});

test("allows the networks that are named, and no other", () => {
  const settings = { allowPrivateAddresses: false, allowNetworks: ["10.1.0.0/16", "fd00::/8"] };
  for (const address of ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"]) {
    assert.ok(isAllowedAddress(address, "https:", settings), address);
  }
  for (const address of ["10.2.0.1", "fc00::1", "127.0.0.1"]) {
    assert.not.ok(isAllowedAddress(address, "https:", settings), address);
  }
});

test("refuses link-local addresses in development too", () => {
  assert.ok(isAllowedAddress("::1", "http:", development));
  assert.not.ok(isAllowedAddress("169.254.169.254", "http:", development));
});

test.run();
