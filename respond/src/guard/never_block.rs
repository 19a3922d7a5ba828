//! What is never acted on: our own, our gateways, health checks, and whom the policy names.
//!
//! Owns: the lists and the check. Asked when an order is decided, by every target before it
//! applies, and by the decision service.
//! Never: learns; see [`crate::KnownGood`] for that.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;

use ipnet::IpNet;
use schemas::Subject;

use super::Ruling;
use crate::address;
use crate::pattern::Pattern;

/// The lists of a policy.
#[derive(Debug, Clone, Default)]
pub struct NeverBlockLists {
    /// Addresses and networks.
    pub networks: Vec<String>,
    /// Principals, as events name them.
    pub principals: Vec<String>,
    /// Tokens and keys, by the hash that events show.
    pub tokens: Vec<String>,
    /// User agents, for verdicts that name one.
    pub user_agents: Vec<Pattern>,
}

/// The lists, checked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NeverBlock(Arc<Lists>);

#[derive(Debug, Clone, Default)]
struct Lists {
    /// Network, and why it is here.
    networks: Vec<(IpNet, &'static str)>,
    principals: BTreeSet<String>,
    tokens: BTreeSet<String>,
    user_agents: Vec<Pattern>,
}

/// An entry that protects nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address nor a network; write 10.0.0.0/8 or 192.0.2.7")]
pub struct NeverBlockError(String);

const LISTED: &str = "is on the never-block list";
const OURS: &str = "is this machine";
const SPECIAL: &str = "is no address of a caller";

impl NeverBlock {
    /// The lists, with loopback and this machine's addresses where `own` says so.
    ///
    /// # Errors
    /// When a network is none.
    pub fn new(own: bool, lists: NeverBlockLists) -> Result<Self, NeverBlockError> {
        let mut built = Lists::default();
        for (text, why) in [("0.0.0.0/8", SPECIAL), ("224.0.0.0/3", SPECIAL), ("ff00::/8", SPECIAL)]
        {
            built.networks.extend(address::network(text).map(|net| (net, why)));
        }
        built.networks.push((IpNet::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), SPECIAL));
        if own {
            built.networks.extend(own_networks().into_iter().map(|net| (net, OURS)));
        }
        for text in &lists.networks {
            let net = address::network(text).ok_or_else(|| NeverBlockError(text.clone()))?;
            built.networks.push((net, LISTED));
        }
        built.principals.extend(lists.principals);
        built.tokens.extend(lists.tokens);
        built.user_agents.extend(lists.user_agents);
        Ok(Self(Arc::new(built)))
    }

    /// These lists and further ones. Networks that are none are left out; the caller has read them
    /// as networks before.
    #[must_use]
    pub fn with(&self, lists: NeverBlockLists) -> Self {
        let mut built = Lists::clone(&self.0);
        let networks = lists.networks.iter().filter_map(|text| address::network(text));
        built.networks.extend(networks.map(|net| (net, LISTED)));
        built.principals.extend(lists.principals);
        built.tokens.extend(lists.tokens);
        built.user_agents.extend(lists.user_agents);
        Self(Arc::new(built))
    }

    /// Why this subject is not acted on; none where it may be. What is no address where one should
    /// be is not acted on either.
    #[must_use]
    pub fn protects(&self, subject: &Subject) -> Option<String> {
        let Subject { kind, value } = subject;
        match kind.as_str() {
            "ip" | "network" => match address::network(value) {
                Some(net) => self.protects_network(&net),
                None => Some("the subject is neither an address nor a network".to_owned()),
            },
            "principal" | "account" => {
                self.0.principals.contains(value).then(|| format!("{kind} `{value}` {LISTED}"))
            }
            "token" | "key" => {
                self.0.tokens.contains(value).then(|| format!("{kind} `{value}` {LISTED}"))
            }
            _ => None,
        }
    }

    /// Why this address is not acted on; none where it may be.
    #[must_use]
    pub fn protects_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.networks.iter().any(|(net, _)| net.contains(&address))
    }

    fn protects_network(&self, net: &IpNet) -> Option<String> {
        if address::is_too_wide(net) {
            return Some(format!("{net} is too wide: at most /16 for IPv4 and /32 for IPv6"));
        }
        let (found, why) =
            self.0.networks.iter().find(|(known, _)| address::overlap(known, net))?;
        let text = address::text(net);
        if address::text(found) == text {
            return Some(format!("{text} {why}"));
        }
        Some(format!("{text} shares addresses with {found}, which {why}"))
    }

    fn protects_agent(&self, user_agent: &str) -> Option<String> {
        let pattern = self.0.user_agents.iter().find(|pattern| pattern.matches(user_agent))?;
        Some(format!("user agent fits `{pattern}`, which {LISTED}"))
    }
}

/// The guardrail: refuses what the lists protect.
#[must_use]
pub fn never_block(lists: &NeverBlock, subject: &Subject, user_agent: Option<&str>) -> Ruling {
    let reason = lists
        .protects(subject)
        .or_else(|| user_agent.and_then(|user_agent| lists.protects_agent(user_agent)));
    reason.map_or(Ruling::Pass, Ruling::Refuse)
}

/// Loopback, link-local, and the addresses from which this machine reaches others.
fn own_networks() -> Vec<IpNet> {
    let mut own: Vec<IpNet> = ["127.0.0.0/8", "::1", "169.254.0.0/16", "fe80::/10"]
        .into_iter()
        .filter_map(address::network)
        .collect();
    // Documentation addresses (RFC 5737, RFC 3849). Connecting a datagram socket sends nothing; it
    // only makes the system choose the address that it would send from.
    let routes: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    for (from, to) in routes {
        let chosen = UdpSocket::bind((from, 0))
            .and_then(|socket| socket.connect((to, 9)).map(|()| socket))
            .and_then(|socket| socket.local_addr());
        // A machine without that kind of route has no such address.
        own.extend(chosen.ok().map(|address| IpNet::from(address.ip().to_canonical())));
    }
    own
}
