//! Whether the clients of an input are who they seem.
//!
//! Owns: the suspicion that all traffic comes from one's own proxy, or from a CDN's. Never: changes an
//! event.

use std::fmt;
use std::net::IpAddr;

use crate::address;
use crate::cdn;

/// Events by which an input is judged.
const EVENTS: u32 = 1000;
/// How many of them one address must have sent.
const EVENTS_OF_ONE_MIN: u32 = 800;
/// Of how many events one is looked up in the networks of CDNs.
const EVENTS_PER_LOOK: u32 = 16;
/// How many of those that are looked up must be a CDN's: the same share.
const LOOKS_MIN: u32 = EVENTS_OF_ONE_MIN / EVENTS_PER_LOOK;

/// What an input's settings, or its log, seem to lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Nearly all requests come from one private address, which will be a proxy. To block such a
    /// client would be to block everybody.
    OneProxy {
        /// That address.
        address: String,
    },
    /// Nearly all requests come from one of the trusted proxies: whom it asked for is not logged.
    NoChain {
        /// That address.
        address: String,
    },
    /// Nearly all requests come from the addresses of a CDN.
    Cdn {
        /// Its name.
        name: &'static str,
    },
}

impl Advice {
    /// The addresses and networks behind which the clients sit.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        match self {
            Self::OneProxy { address } | Self::NoChain { address } => vec![address.clone()],
            Self::Cdn { name } => cdn::networks(name).iter().map(ToString::to_string).collect(),
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneProxy { address } => write!(
                out,
                "nearly all requests come from {address}, which looks like a proxy of yours; put \
                 it into `trusted_proxies` and log X-Forwarded-For, or clients cannot be told apart, \
                 and to block one would be to block all"
            ),
            Self::NoChain { address } => write!(
                out,
                "nearly all requests come from {address}, one of `trusted_proxies`, and the log does \
                 not say for whom; log X-Forwarded-For, or clients cannot be told apart"
            ),
            Self::Cdn { name } => write!(
                out,
                "nearly all requests come from addresses of {name}; put its networks into \
                 `trusted_proxies` and log X-Forwarded-For or the header in which it names the \
                 client, or clients cannot be told apart, and to block one would be to block many"
            ),
        }
    }
}

/// Watches the clients of an input.
#[derive(Debug, Default)]
pub struct Watch {
    first: String,
    of_first: u32,
    /// Events of the first that was looked up of a CDN, which that is, and how many were its.
    cdn: Option<&'static str>,
    of_cdn: u32,
    events: u32,
    advice: Option<Advice>,
    /// Whether enough was seen for one.
    is_judged: bool,
    /// Whether the advice was not given yet.
    is_new: bool,
}

impl Watch {
    /// What seems to be lacking, by the last thousand events.
    #[must_use]
    pub fn advice(&self) -> Option<&Advice> {
        self.advice.as_ref()
    }

    /// Whether so many events were seen that having no advice means that there is none to give.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.is_judged
    }

    /// The advice, where it was not given yet.
    pub fn news(&mut self) -> Option<&Advice> {
        if std::mem::take(&mut self.is_new) { self.advice.as_ref() } else { None }
    }

    /// Sees the client of an event; `trusts` says whether an address is a trusted proxy's. Whether
    /// it was the last of a thousand, by which the clients were judged anew.
    pub fn see(&mut self, client: Option<&str>, trusts: impl Fn(IpAddr) -> bool) -> bool {
        if self.events == 0 {
            self.first.clear();
            // Somebody else, such as a health check, may happen to be the first of a thousand.
            self.first.push_str(match &self.advice {
                Some(Advice::OneProxy { address } | Advice::NoChain { address }) => address,
                Some(Advice::Cdn { .. }) | None => client.unwrap_or(""),
            });
        }
        if self.events.is_multiple_of(EVENTS_PER_LOOK) {
            let name = client.and_then(|client| cdn::name(client.parse().ok()?));
            self.cdn = self.cdn.or(name);
            self.of_cdn += u32::from(name.is_some() && name == self.cdn);
        }
        self.events += 1;
        self.of_first += u32::from(client == Some(&self.first));
        let is_last = self.events == EVENTS;
        if is_last {
            let advice = self.judged(trusts);
            self.is_new |= advice.is_some() && advice != self.advice;
            self.advice = advice;
            self.is_judged = true;
            (self.events, self.of_first, self.cdn, self.of_cdn) = (0, 0, None, 0);
        }
        is_last
    }

    fn judged(&self, trusts: impl Fn(IpAddr) -> bool) -> Option<Advice> {
        if let Some(name) = self.cdn
            && self.of_cdn >= LOOKS_MIN
        {
            return Some(Advice::Cdn { name });
        }
        if self.of_first < EVENTS_OF_ONE_MIN {
            return None;
        }
        let ip = self.first.parse().ok()?;
        let address = self.first.clone();
        if trusts(ip) {
            return Some(Advice::NoChain { address });
        }
        address::is_private(ip).then_some(Advice::OneProxy { address })
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENTS, Watch};

    fn advice(clients: &[&str], trusted: &str) -> Option<String> {
        let mut watch = Watch::default();
        let count = usize::try_from(EVENTS).unwrap();
        for client in clients.iter().cycle().take(count) {
            watch.see(Some(client), |ip| ip.to_string() == trusted);
        }
        let said = watch.news().map(ToString::to_string);
        assert_eq!(watch.news(), None, "once");
        assert_eq!(said, watch.advice().map(ToString::to_string));
        said
    }

    #[test]
    fn one_private_client_for_all_is_a_proxy() {
        assert!(
            advice(&["10.0.0.1"], "").unwrap().contains("come from 10.0.0.1, which looks like")
        );
        assert_eq!(advice(&["203.0.113.9"], ""), None);
        assert_eq!(advice(&["10.0.0.1", "10.0.0.2"], ""), None);
    }

    #[test]
    fn a_trusted_proxy_as_the_client_of_all_says_that_the_chain_is_not_logged() {
        let said = advice(&["198.51.100.7"], "198.51.100.7").unwrap();
        assert!(said.contains("one of `trusted_proxies`"), "{said}");
    }

    #[test]
    fn advice_stands_whoever_comes_first_until_a_thousand_events_are_without_it() {
        let mut watch = Watch::default();
        let mut see = |clients: &[&str], count: u32| {
            for client in clients.iter().cycle().take(usize::try_from(count).unwrap()) {
                watch.see(Some(client), |_| false);
            }
            watch.advice().map(super::Advice::networks).unwrap_or_default()
        };
        assert_eq!(see(&["10.0.0.1"], EVENTS - 1), [""; 0]);
        assert_eq!(see(&["10.0.0.1"], 1), ["10.0.0.1"]);
        see(&["203.0.113.9"], 1);
        assert_eq!(see(&["10.0.0.1"], EVENTS - 1), ["10.0.0.1"]);
        assert_eq!(see(&["203.0.113.9", "10.0.0.1"], EVENTS - 1), ["10.0.0.1"]);
        assert_eq!(see(&["203.0.113.9"], 1), [""; 0]);
        assert!(watch.is_judged());
    }

    #[test]
    fn the_addresses_of_a_cdn_are_no_clients() {
        let edges = ["172.64.0.9", "104.16.7.1", "162.158.90.3", "2606:4700::17"];
        assert!(advice(&edges, "").unwrap().contains("addresses of Cloudflare"));
        let some = ["151.101.1.1", "203.0.113.9", "198.51.100.7", "192.0.2.1", "203.0.113.10"];
        assert_eq!(advice(&some, ""), None);
    }
}
