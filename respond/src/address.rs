//! Addresses and networks as subjects write them.
//!
//! Owns: their one canonical form. Never: names that would have to be looked up.

use std::net::IpAddr;

use ipnet::IpNet;

/// The widest network that a machine may act on: 65,536 addresses of IPv4.
const V4_PREFIX_MIN: u8 = 16;
/// The widest of IPv6: what a provider gets assigned.
const V6_PREFIX_MIN: u8 = 32;

/// An address or a network, with IPv4 in IPv6 unwrapped and host bits cut off. None for all else.
#[must_use]
pub(crate) fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address.to_canonical()));
    }
    let net: IpNet = text.parse().ok()?;
    match net {
        IpNet::V6(v6) => match v6.addr().to_ipv4_mapped() {
            Some(v4) if v6.prefix_len() >= 96 => {
                IpNet::new(v4.into(), v6.prefix_len() - 96).ok().map(|net| net.trunc())
            }
            _ => Some(net.trunc()),
        },
        IpNet::V4(_) => Some(net.trunc()),
    }
}

/// The canonical text: an address without `/32`, a network with its prefix.
#[must_use]
pub(crate) fn text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// Whether a machine may act on so wide a network.
#[must_use]
pub(crate) fn is_too_wide(net: &IpNet) -> bool {
    let min = if matches!(net, IpNet::V4(_)) { V4_PREFIX_MIN } else { V6_PREFIX_MIN };
    net.prefix_len() < min
}

/// Whether the two share an address.
#[must_use]
pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    use super::{is_too_wide, network, overlap, text};

    #[track_caller]
    fn check(given: &str, expected: Option<&str>) {
        assert_eq!(network(given).map(|net| text(&net)).as_deref(), expected, "{given}");
    }

    #[test]
    fn addresses_have_one_form() {
        check("203.0.113.9", Some("203.0.113.9"));
        check("::ffff:203.0.113.9", Some("203.0.113.9"));
        check("2001:DB8:0:0::1", Some("2001:db8::1"));
        check("203.0.113.9/24", Some("203.0.113.0/24"));
        check("::ffff:203.0.113.0/120", Some("203.0.113.0/24"));
        check("203.0.113.9 1; } evil", None);
        check("example.org", None);
    }

    #[test]
    fn a_network_is_too_wide_or_overlaps() {
        let net = |text: &str| network(text).unwrap();
        assert!(is_too_wide(&net("10.0.0.0/8")) && !is_too_wide(&net("10.0.0.0/16")));
        assert!(is_too_wide(&net("2001::/16")) && !is_too_wide(&net("2001:db8::/32")));
        assert!(overlap(&net("10.0.0.0/8"), &net("10.1.2.3")));
        assert!(overlap(&net("10.1.2.3"), &net("10.0.0.0/8")));
        assert!(!overlap(&net("10.1.2.3"), &net("2001:db8::/32")));
    }
}
