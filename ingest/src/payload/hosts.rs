//! Where a URL in a parameter points.
//!
//! Owns: kinds of hosts and the many ways of writing an address. Never: resolves a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a host stands, nearer to the heart of the network the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostKind {
    None,
    Public,
    Private,
    Loopback,
    LinkLocal,
    Metadata,
}

impl HostKind {
    /// The value of column `url_param_kind`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Public => "public",
            Self::Private => "private",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link_local",
            Self::Metadata => "metadata",
        }
    }
}

/// Hosts and addresses under which clouds tell an instance its secrets.
const METADATA_HOSTS: &[&str] = &[
    "metadata.google.internal",
    "metadata",
    "metadata.azure.internal",
    "instance-data",
    "metadata.packet.net",
    "169.254.169.254.nip.io",
];
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Where a host, with or without port, brackets and dot at the end, stands.
pub(crate) fn host_kind(host: &str) -> HostKind {
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or(inner),
        None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or(host),
        None => host,
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() {
        return HostKind::None;
    }
    if METADATA_HOSTS.contains(&host.as_str()) {
        return HostKind::Metadata;
    }
    match any_address(&host) {
        Some(address) => address_kind(address),
        None => name_kind(&host),
    }
}

fn name_kind(host: &str) -> HostKind {
    const PRIVATE_ENDS: &[&str] =
        &[".internal", ".local", ".lan", ".intranet", ".corp", ".home", ".localdomain", ".svc"];
    if host == "localhost" || host.ends_with(".localhost") {
        HostKind::Loopback
    } else if PRIVATE_ENDS.iter().any(|end| host.ends_with(end)) {
        HostKind::Private
    } else {
        HostKind::Public
    }
}

fn address_kind(address: IpAddr) -> HostKind {
    match address.to_canonical() {
        IpAddr::V4(v4) if METADATA_V4.contains(&v4) => HostKind::Metadata,
        IpAddr::V4(v4) if v4.is_link_local() => HostKind::LinkLocal,
        IpAddr::V4(v4) if v4.is_loopback() || v4.octets().first() == Some(&0) => HostKind::Loopback,
        IpAddr::V4(v4) if v4.is_private() || is_shared(v4) => HostKind::Private,
        IpAddr::V6(v6) if v6 == METADATA_V6 => HostKind::Metadata,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => HostKind::LinkLocal,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unspecified() => HostKind::Loopback,
        IpAddr::V6(v6) if v6.is_unique_local() => HostKind::Private,
        IpAddr::V4(_) | IpAddr::V6(_) => HostKind::Public,
    }
}

/// 100.64.0.0/10, shared by carriers (RFC 6598).
fn is_shared(v4: Ipv4Addr) -> bool {
    let [first, second, ..] = v4.octets();
    first == 100 && (64..128).contains(&second)
}

/// An address in any spelling that C libraries take: `127.1`, `0x7f.1`, `017700000001`,
/// `2130706433`.
fn any_address(host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let parts: Vec<u32> = host.split('.').map(any_base).collect::<Option<_>>()?;
    let (last, firsts) = parts.split_last()?;
    if firsts.len() > 3 || firsts.iter().any(|part| *part > 255) {
        return None;
    }
    let bits = 32 - 8 * u32::try_from(firsts.len()).ok()?;
    if bits < 32 && *last >= 1 << bits {
        return None;
    }
    let high = firsts.iter().zip([24, 16, 8]).fold(0, |sum, (part, shift)| sum | part << shift);
    Some(IpAddr::V4(Ipv4Addr::from(high | last)))
}

fn any_base(part: &str) -> Option<u32> {
    if let Some(digits) = part.strip_prefix("0x") {
        u32::from_str_radix(digits, 16).ok()
    } else if part.len() > 1 && part.starts_with('0') {
        u32::from_str_radix(part, 8).ok()
    } else {
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::{HostKind, host_kind};

    #[track_caller]
    fn check(hosts: &[&str], expected: HostKind) {
        for host in hosts {
            assert_eq!(host_kind(host), expected, "{host}");
        }
    }

    #[test]
    fn hosts_are_known_in_every_spelling() {
        check(&["127.0.0.1:80", "[::1]", "localhost", "127.1", "0x7f000001"], HostKind::Loopback);
        check(&["2130706433", "017700000001", "0.0.0.0", "[::ffff:127.0.0.1]"], HostKind::Loopback);
        check(&["169.254.169.254", "metadata.google.internal.", "0xa9fea9fe"], HostKind::Metadata);
        check(
            &["10.1.1.1:3000", "192.168.0.1", "db.svc", "[fd12::1]", "100.64.0.1"],
            HostKind::Private,
        );
        check(&["169.254.3.4", "[fe80::1]"], HostKind::LinkLocal);
        check(&["example.com", "8.8.8.8", "localhost.example.com", "face.b00c"], HostKind::Public);
    }
}
