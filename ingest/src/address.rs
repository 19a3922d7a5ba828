//! Addresses: canonical form, and which of several is the client's.
//!
//! Owns: canonical text, trusted proxies, the search for an address in a broken line.
//! Never: resolves names.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::read::words::Bytes;
use crate::secret;

/// The longest name or address that is taken for one (DNS: 253).
const NAME_LEN_MAX: usize = 255;

/// An address as a line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    /// Canonical: IPv6 compressed, mapped IPv4 as IPv4, no port, no zone. A name that a server
    /// resolved, or nginx's `unix:`, stays a name, in lower case.
    pub(crate) text: Cow<'a, str>,
    /// The address where it is one.
    pub(crate) ip: Option<IpAddr>,
}

/// Reads an address, with or without port, brackets and zone.
pub(crate) fn read(text: &str) -> Option<Address<'_>> {
    let text = match text.as_bytes() {
        [b'0'..=b'9', .., b'0'..=b'9'] => text,
        _ => text.trim_matches([' ', '"']),
    };
    if text.is_empty() || text == "-" || text.len() > NAME_LEN_MAX {
        return None;
    }
    if let Some(v4) = v4(text) {
        return Some(Address { text: Cow::Borrowed(text), ip: Some(IpAddr::V4(v4)) });
    }
    let bare = without_port(text);
    match bare.parse::<IpAddr>() {
        // The parser takes no other form of an IPv4 address than the canonical one.
        Ok(ip @ IpAddr::V4(_)) => Some(Address { text: Cow::Borrowed(bare), ip: Some(ip) }),
        Ok(ip @ IpAddr::V6(_)) => {
            let ip = ip.to_canonical();
            let canonical = ip.to_string();
            let text = if canonical == bare { Cow::Borrowed(bare) } else { Cow::Owned(canonical) };
            Some(Address { text, ip: Some(ip) })
        }
        Err(_no_address) => name(bare).map(|text| Address { text, ip: None }),
    }
}

/// An IPv4 address in its only form: four numbers up to 255 without zeros in front.
fn v4(text: &str) -> Option<Ipv4Addr> {
    let (mut address, mut rest) = (0_u32, text.as_bytes());
    for place in 0..4 {
        if place > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let (number, after) = octet(rest)?;
        (address, rest) = (address << 8 | number, after);
    }
    rest.is_empty().then(|| Ipv4Addr::from(address))
}

/// The number up to 255 that bytes begin with, without zeros in front, and what follows its digits.
#[inline]
fn octet(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let digit = |byte: u8| u32::from(byte.wrapping_sub(b'0'));
    let [first, rest @ ..] = bytes else { return None };
    let first = digit(*first);
    let second = rest.first().map_or(10, |byte| digit(*byte));
    if first > 9 {
        return None;
    }
    if second > 9 {
        return Some((first, rest));
    }
    let rest = rest.get(1..)?;
    let third = rest.first().map_or(10, |byte| digit(*byte));
    let (number, rest) = if third > 9 {
        (first * 10 + second, rest)
    } else {
        (first * 100 + second * 10 + third, rest.get(1..)?)
    };
    (first > 0 && number <= 255).then_some((number, rest))
}

/// `1.2.3.4:80`, `[::1]:80`, `::1%eth0` and `name:80` without what is not the address.
fn without_port(text: &str) -> &str {
    if let Some(inner) = text.strip_prefix('[') {
        return inner.split([']', '%']).next().unwrap_or(inner);
    }
    let text = text.split('%').next().unwrap_or(text);
    match text.split_once(':') {
        Some((before, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            before
        }
        _ => text,
    }
}

fn name(text: &str) -> Option<Cow<'_, str>> {
    let is_name = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    (is_name && !secret::is_value(text)).then(|| lower(text))
}

/// A text in lower case, borrowed where it is already.
pub(crate) fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// What a line says of where a request came from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Said<'s> {
    /// The other end of the connection.
    pub(crate) peer: Option<&'s str>,
    /// The client by the gateway's own judgement.
    pub(crate) client: Option<&'s str>,
    /// X-Forwarded-For.
    pub(crate) chain: Option<&'s str>,
    /// The client by a header of a proxy or CDN that names but one, or by PROXY's.
    pub(crate) told: Option<&'s str>,
    /// Whether the log has the chain in the client's place, so that whoever wrote its format
    /// believes it.
    pub(crate) chain_in_front: bool,
}

/// Who sent a request, and who handed it over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Caller<'a> {
    /// The client.
    pub(crate) client: Option<Address<'a>>,
    /// The other end of the connection, where it is known to be another than the client.
    pub(crate) peer: Option<Address<'a>>,
}

/// The client behind the trusted proxies: the rightmost address of X-Forwarded-For that is none of
/// them. Without trusted proxies the peer is the client, but where the log has the chain in the
/// client's place, or no peer at all: there private addresses count as trusted, since the gateway's
/// neighbours wrote them. A header that names but one client counts where no chain is logged, and
/// only behind a trusted proxy: anybody can send it.
pub(crate) fn caller<'a>(said: Said<'a>, trusted: &[IpNet]) -> Caller<'a> {
    let peer = said.peer.and_then(read);
    if said.chain.is_none() && said.told.is_none() {
        // Nobody else is named.
        return Caller { client: said.client.and_then(read).or_else(|| peer.clone()), peer };
    }
    let first = said.client.and_then(read).or_else(|| peer.clone());
    let Some(first) = first else {
        let client = said.chain.and_then(|chain| behind(chain, trusted, trusted.is_empty()));
        return Caller { client: client.or_else(|| said.told.and_then(read)), peer };
    };
    let trust_private = said.chain_in_front && trusted.is_empty();
    let handed_over =
        first.ip.is_some_and(|ip| trusts(trusted, ip) || trust_private && is_private(ip));
    let behind = match said.chain {
        Some(chain) if handed_over => behind(chain, trusted, trust_private),
        None if first.ip.is_some_and(|ip| trusts(trusted, ip)) => {
            said.told.and_then(read).filter(|told| told.ip.is_some())
        }
        _ => None,
    };
    match behind {
        Some(client) => Caller { client: Some(client), peer: peer.or(Some(first)) },
        None => Caller { client: Some(first), peer },
    }
}

/// The rightmost address of a chain that is not trusted; the leftmost where all are. What is no
/// address ends the search, since who wrote it could write anything to its left.
fn behind<'a>(chain: &'a str, trusted: &[IpNet], trust_private: bool) -> Option<Address<'a>> {
    let mut last = None;
    for item in chain.rsplit(',') {
        let Some(address) = read(item) else { break };
        let is_proxy =
            address.ip.is_some_and(|ip| trusts(trusted, ip) || trust_private && is_private(ip));
        last = Some(address);
        if !is_proxy {
            break;
        }
    }
    last
}

/// Whether an address is a trusted proxy's.
pub(crate) fn trusts(trusted: &[IpNet], ip: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&ip))
}

/// Whether an address belongs to no network of the world.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// The first address in a line that nothing else could be read from.
pub(crate) fn find(line: &str) -> Option<String> {
    line.split(|letter: char| !(letter.is_ascii_hexdigit() || matches!(letter, '.' | ':' | '%')))
        .filter(|word| word.len() >= 3 && word.contains(['.', ':']))
        .find_map(|word| {
            let address = read(word.trim_matches(['.']))?;
            let is_version_like = address.text.len() < 7 && address.text.contains('.');
            (address.ip.is_some() && !is_version_like).then(|| address.text.into_owned())
        })
}

/// A host as columns hold it: lower case, without port; absent where a gateway writes a
/// placeholder.
pub(crate) fn host(text: &str) -> Option<Cow<'_, str>> {
    if is_plain_host(text) {
        return Some(Cow::Borrowed(text));
    }
    let text = text.trim_matches([' ', '"']);
    let bare = without_port(text).trim_end_matches('.');
    let absent = bare.is_empty() || matches!(bare, "-" | "_" | "*") || bare.len() > NAME_LEN_MAX;
    let plain = bare.bytes().all(|b| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':') || !b.is_ascii()
    });
    (!absent && plain && !secret::is_value(bare)).then(|| lower(bare))
}

/// Whether a host is at first sight what the column holds: most are, line after line.
fn is_plain_host(text: &str) -> bool {
    // A longer one may be a secret, and what is no name has neither of these at its ends.
    let ends = |byte: Option<&u8>| matches!(byte, Some(b'a'..=b'z' | b'0'..=b'9'));
    let bytes = text.as_bytes();
    text.len() < 16 && ends(bytes.first()) && ends(bytes.last()) && HOST.are_all_of(text)
}

/// What most hosts are written with.
static HOST: Bytes = Bytes::of(b"abcdefghijklmnopqrstuvwxyz0123456789.-");

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ipnet::IpNet;
    use proptest::prelude::{any, proptest};

    use super::{Said, caller, find, host, read, v4};

    fn canonical(text: &str) -> Option<String> {
        read(text).map(|address| address.text.into_owned())
    }

    #[test]
    fn addresses_have_one_form() {
        let check = |text, expected: &str| assert_eq!(canonical(text).as_deref(), Some(expected));
        check("203.0.113.9", "203.0.113.9");
        check("203.0.113.9:4711", "203.0.113.9");
        check("2A03:0000:10ff:f00f:0000:0000:0:8000", "2a03:0:10ff:f00f::8000");
        check("[::1]:8080", "::1");
        check("::ffff:203.0.113.9", "203.0.113.9");
        check("fe80::1%eth0", "fe80::1");
        check("Monitoring-Server", "monitoring-server");
        check("unix:", "unix:");
        assert_eq!(canonical("-"), None);
        assert_eq!(canonical("a b"), None);
    }

    proptest! {
        #[test]
        fn plain_addresses_are_those_of_the_standard_library(
            one in "[0-9.]{0,16}",
            other in "[0-2]?[0-9]{1,2}(\\.[0-2]?[0-9]{1,2}){3}",
            any in any::<u32>(),
        ) {
            for text in [one, other, Ipv4Addr::from(any).to_string()] {
                assert_eq!(v4(&text), text.parse().ok(), "{text}");
            }
        }
    }

    #[track_caller]
    fn check(peer: &str, chain: &str, trusted: &[&str], expected: &str) {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let some = |text| (!str::is_empty(text)).then_some(text);
        let said = Said { peer: some(peer), chain: some(chain), ..Said::default() };
        let found = caller(said, &trusted).client.map(|client| client.text.into_owned());
        assert_eq!(found.as_deref().unwrap_or(""), expected, "{peer} {chain}");
    }

    #[test]
    fn the_client_is_the_rightmost_untrusted_hop() {
        check("10.0.0.1", "203.0.113.9, 198.51.100.1", &["10.0.0.0/8"], "198.51.100.1");
        check("10.0.0.1", "203.0.113.9, 10.0.0.7", &["10.0.0.0/8"], "203.0.113.9");
        check("10.0.0.1", "10.0.0.3, 10.0.0.2", &["10.0.0.0/8"], "10.0.0.3");
        check("10.0.0.1", "", &["10.0.0.0/8"], "10.0.0.1");
        check("10.0.0.1", "1.1.1.1, <junk>, 10.0.0.2", &["10.0.0.0/8"], "10.0.0.2");
    }

    #[test]
    fn nobody_is_trusted_unless_it_is_said() {
        check("10.0.0.1", "203.0.113.9", &[], "10.0.0.1");
        check("198.51.100.7", "203.0.113.9", &["10.0.0.0/8"], "198.51.100.7");
    }

    #[test]
    fn a_chain_without_a_peer_skips_private_hops() {
        check("", "203.0.113.9, 10.0.0.1", &[], "203.0.113.9");
        check("", "10.0.0.2, 10.0.0.1, 127.0.0.1", &[], "10.0.0.2");
        check("", "8.8.8.8, 203.0.113.9", &[], "203.0.113.9");
    }

    #[test]
    fn a_chain_in_the_clients_place_is_believed_behind_private_peers() {
        let found = |peer, chain| {
            let said = Said {
                peer: Some(peer),
                chain: Some(chain),
                chain_in_front: true,
                ..Said::default()
            };
            caller(said, &[]).client.map(|client| client.text.into_owned())
        };
        assert_eq!(
            found("10.2.2.121", "203.0.113.9, 10.225.192.17").as_deref(),
            Some("203.0.113.9")
        );
        assert_eq!(found("198.51.100.7", "203.0.113.9").as_deref(), Some("198.51.100.7"));
    }

    #[test]
    fn a_header_that_names_the_client_counts_behind_a_trusted_proxy_only() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let found = |peer, chain, trusted: &[IpNet]| {
            let said = Said { peer, chain, told: Some("203.0.113.9"), ..Said::default() };
            caller(said, trusted).client.unwrap().text.into_owned()
        };
        assert_eq!(found(Some("10.0.0.1"), None, &trusted), "203.0.113.9");
        assert_eq!(found(Some("198.51.100.7"), None, &trusted), "198.51.100.7");
        assert_eq!(found(Some("10.0.0.1"), None, &[]), "10.0.0.1");
        // The chain says more: who wrote its last untrusted hop is no proxy of ours.
        assert_eq!(found(Some("10.0.0.1"), Some("198.51.100.7"), &trusted), "198.51.100.7");
        assert_eq!(found(None, None, &[]), "203.0.113.9");
    }

    #[test]
    fn an_address_is_found_in_a_broken_line() {
        let check = |line, expected: Option<&str>| assert_eq!(find(line).as_deref(), expected);
        check("2018-01-01 08:09:10 127.0.0.1 GET / q=100", Some("127.0.0.1"));
        check("[24/Jan/2022:16:51:02 +0000] - 404 [Client 1.2.3.4]", Some("1.2.3.4"));
        check("{\"ip\":\"2001:db8::7\",\"x", Some("2001:db8::7"));
        check("no address 1.2.3 here 12:30", None);
    }

    #[test]
    fn hosts_lose_port_and_case() {
        assert_eq!(host("API.Example.com:8080").as_deref(), Some("api.example.com"));
        assert_eq!(host("[2001:db8::7]:443").as_deref(), Some("2001:db8::7"));
        assert_eq!((host("_"), host("-"), host("a b")), (None, None, None));
    }
}
