//! The addresses that nothing may be sent to where a caller can say where to.
//!
//! Loopback and private addresses are none of them: webhooks and proxies on the operator's own machines are common. What is
//! resolved must be checked as well as what is written, by whoever opens the socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether this is link-local, a metadata service, or no host at all.
pub fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_forbidden_v4(address),
        IpAddr::V6(address) => is_forbidden_v6(address),
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    /// Alibaba Cloud's metadata service, which is not link-local.
    const ALIBABA_METADATA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    /// Oracle Cloud's metadata service of old, which is not link-local.
    const ORACLE_METADATA: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 192);
    /// Azure's platform services, metadata among them, which are not link-local.
    const AZURE_PLATFORM: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.octets()[0] == 0
        || matches!(address, ALIBABA_METADATA | ORACLE_METADATA | AZURE_PLATFORM)
}

fn is_forbidden_v6(address: Ipv6Addr) -> bool {
    /// Google's metadata service.
    const GOOGLE_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
    // Amazon's services for its machines, metadata among them.
    let is_amazon = matches!(address.segments(), [0xfd00, 0xec2, ..]);
    address.is_unicast_link_local()
        || address.is_multicast()
        || address.is_unspecified()
        || address == GOOGLE_METADATA
        || is_amazon
        // `::1` has the form of an address that embeds `0.0.0.1`, and is allowed.
        || (!address.is_loopback() && embedded_v4(address).into_iter().flatten().any(is_forbidden_v4))
}

/// The IPv4 addresses that an IPv6 address may lead to, over whatever translates or tunnels on the way.
fn embedded_v4(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        // IPv4-compatible (RFC 4291, 2.5.5.1), mapped (2.5.5.2), translated (RFC 2765, 2.1), and NAT64 (RFC 6052, 2.1).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => [v4(high, low), None],
        // A network's own NAT64 (RFC 8215): its prefix has 48 bits, with the address around bits 64 to 71 (RFC 6052, 2.2),
        // or is one of 96 bits within them.
        [0x64, 0xff9b, 1, high, middle, last, tail_high, tail_low] => {
            let low = (middle & 0xff) << 8 | last >> 8;
            [v4(high, low), v4(tail_high, tail_low)]
        }
        // 6to4 (RFC 3056, 2).
        [0x2002, high, low, ..] => [v4(high, low), None],
        // Teredo (RFC 4380, 4): its server, and its client with every bit turned over.
        [0x2001, 0, server_high, server_low, _, _, high, low] => [v4(server_high, server_low), v4(!high, !low)],
        _ => [None, None],
    }
}
