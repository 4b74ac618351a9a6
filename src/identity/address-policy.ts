/** Which addresses this node may connect to (docs/protocol.md, "Outbound requests"). */
import ipaddr from "ipaddr.js";

export interface AddressSettings {
  /** The development setting: loopback and private addresses, and plain HTTP to them. */
  readonly allowPrivateAddresses: boolean;
  /** CIDR networks that are allowed whatever they are. */
  readonly allowNetworks: readonly string[];
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;
const privateRanges = new Set(["loopback", "private", "uniqueLocal"]);
const nat64 = ipaddr.parseCIDR("64:ff9b::/96");
const globalUnicast = ipaddr.parseCIDR("2000::/3");

/** May this node connect to `address` (an IP address in text) over that protocol? */
export function isAllowedAddress(
  address: string,
  protocol: string,
  { allowPrivateAddresses, allowNetworks }: AddressSettings,
): boolean {
  if (!ipaddr.isValid(address)) return false;
  const outer = ipaddr.parse(address);
  const judged = readEmbedded(outer) ?? outer;
  const isPrivate = privateRanges.has(judged.range());
  if (protocol !== "https:") return allowPrivateAddresses && isPrivate;
  if (allowPrivateAddresses && isPrivate) return true;
  if (allowNetworks.some((network) => isIn(network, outer) || isIn(network, judged))) return true;
  if (judged.range() !== "unicast") return false;
  return judged.kind() === "ipv4" || judged.match(globalUnicast as [ipaddr.IPv6, number]);
}

/** The IPv4 address within an IPv4-mapped, NAT64 or 6to4 one: it is the one that is reached, so it is judged. */
function readEmbedded(address: Address): ipaddr.IPv4 | null {
  if (!(address instanceof ipaddr.IPv6)) return null;
  const octets = address.toByteArray();
  if (address.isIPv4MappedAddress() || address.match(nat64 as [ipaddr.IPv6, number])) {
    return new ipaddr.IPv4(octets.slice(12));
  }
  return address.range() === "6to4" ? new ipaddr.IPv4(octets.slice(2, 6)) : null;
}

function isIn(network: string, address: Address): boolean {
  const [base, bits] = ipaddr.parseCIDR(network);
  return base.kind() === address.kind() && address.match([base, bits] as [ipaddr.IPv4, number]);
}
