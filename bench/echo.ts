/** A bare server that sends back what it is sent. It says its port once it is told to begin. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

process.once("message", () => {
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("end", () => {
      outgoing.writeHead(200, { "content-type": "application/json" });
      outgoing.end(Buffer.concat(chunks));
    });
  });
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
});
