/** From which address a request came: the socket's, or what a trusted reverse proxy says. */
import type { IncomingMessage } from "node:http";
import ipaddr from "ipaddr.js";

export type AddressReader = (request: IncomingMessage) => string;

/** @param trusted CIDRs of reverse proxies whose `X-Forwarded-For` counts */
export function createAddressReader(trusted: readonly string[]): AddressReader {
  const networks = trusted.map((network) => ipaddr.parseCIDR(network));
  const isTrusted = (address: string): boolean => {
    if (!ipaddr.isValid(address)) return false;
    const parsed = ipaddr.process(address);
    return networks.some(([network, bits]) => network.kind() === parsed.kind() && parsed.match(network, bits));
  };
  return (request) => {
    let address = plain(request.socket.remoteAddress ?? "");
    const header = request.headers["x-forwarded-for"];
    const hops = (Array.isArray(header) ? header.join(",") : (header ?? "")).split(",").map((hop) => hop.trim());
    // From the nearest hop outwards, as long as the one who says so is trusted.
    while (isTrusted(address) && hops.length > 0) {
      const next = hops.pop() ?? "";
      if (!ipaddr.isValid(next)) break;
      address = plain(next);
    }
    return address;
  };
}

/** `::ffff:127.0.0.1` is 127.0.0.1. */
function plain(address: string): string {
  return ipaddr.isValid(address) ? ipaddr.process(address).toString() : address;
}
