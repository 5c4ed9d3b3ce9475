//! The addresses that nothing may be sent to where a caller can say where to: [`is_forbidden`] whoever that is, and all that
//! are not [`is_public`] where the caller is only a tenant.
//!
//! Loopback and private addresses are not forbidden: webhooks and proxies on the operator's own machines are common. What is
//! resolved must be checked as well as what is written, by whoever opens the socket.

mod network;

pub use network::{Network, NetworkError};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether this is link-local, a metadata service, or no host at all.
pub fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_forbidden_v4(address),
        IpAddr::V6(address) => is_forbidden_v6(address),
    }
}

/// Whether this is an address that anybody on the internet can be reached at: not forbidden, and in no block that IANA's
/// special-purpose registries (RFC 6890) call anything but globally reachable.
pub fn is_public(address: IpAddr) -> bool {
    !is_forbidden(address)
        && match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = match address.octets() {
        // "This network", private use, shared address space, loopback, link-local.
        [0 | 10 | 127, ..] | [100, 64..=127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..] => true,
        // Protocol assignments, documentation, the former 6to4 relays, benchmarks.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => true,
        _ => false,
    };
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // What is translated to IPv4 leads where that leads.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            embedded_v4(address).into_iter().flatten().all(is_public_v4)
        }
        // Protocol assignments with Teredo, documentation (twice), 6to4. Some of the first are reachable, but no receiver.
        [0x2001, ..=0x1ff | 0xdb8, ..] | [0x3fff, ..=0xfff, ..] | [0x2002, ..] => false,
        // All other global unicast addresses are in this block (RFC 4291, 2.4); nothing outside of it is assigned.
        [first, ..] => first & 0xe000 == 0x2000,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn what_the_internet_reaches_is_public() {
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "3fff:1000::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn special_purpose_addresses_are_not_public_in_any_spelling() {
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::1.1.1.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:101:101::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }
}
