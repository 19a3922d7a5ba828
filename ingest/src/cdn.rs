//! Networks of CDNs that stand in front of APIs.
//!
//! Owns: the two that publish short lists and most of whose traffic is not their own customers'
//! browsing. Never: trust; these networks only make an input's settings suspicious.
//!
//! From `cloudflare.com/ips` and `api.fastly.com/public-ip-list`, as known in 2025. They change
//! rarely, and a network that is missing here only costs a warning.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;

const CLOUDFLARE: [&str; 22] = [
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "108.162.192.0/18",
    "131.0.72.0/22",
    "141.101.64.0/18",
    "162.158.0.0/15",
    "172.64.0.0/13",
    "173.245.48.0/20",
    "188.114.96.0/20",
    "190.93.240.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "2400:cb00::/32",
    "2405:8100::/32",
    "2405:b500::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
];

const FASTLY: [&str; 21] = [
    "103.244.50.0/24",
    "103.245.222.0/23",
    "103.245.224.0/24",
    "104.156.80.0/20",
    "140.248.64.0/18",
    "140.248.128.0/17",
    "146.75.0.0/17",
    "151.101.0.0/16",
    "157.52.64.0/18",
    "167.82.0.0/17",
    "167.82.128.0/20",
    "167.82.160.0/20",
    "167.82.224.0/20",
    "172.111.64.0/18",
    "185.31.16.0/22",
    "199.27.72.0/21",
    "199.232.0.0/16",
    "23.235.32.0/20",
    "43.249.72.0/22",
    "2a04:4e40::/32",
    "2a04:4e42::/32",
];

/// From the first address to the last of each, in order. None has addresses of another.
static NETWORKS: LazyLock<Vec<(IpAddr, IpAddr, &'static str)>> = LazyLock::new(|| {
    let of = |nets: &'static [&'static str], name| {
        let nets = nets.iter().filter_map(|net| net.parse::<IpNet>().ok());
        nets.map(move |net| (net.network(), net.broadcast(), name))
    };
    let mut all: Vec<_> = of(&CLOUDFLARE, "Cloudflare").chain(of(&FASTLY, "Fastly")).collect();
    all.sort_unstable();
    all
});

/// The networks of the CDN of this name.
pub(crate) fn networks(name: &str) -> &'static [&'static str] {
    match name {
        "Cloudflare" => &CLOUDFLARE,
        "Fastly" => &FASTLY,
        _ => &[],
    }
}

/// The CDN whose address this is.
pub(crate) fn name(ip: IpAddr) -> Option<&'static str> {
    let begun = NETWORKS.partition_point(|(first, ..)| *first <= ip);
    let (_, last, name) = NETWORKS.get(begun.checked_sub(1)?)?;
    (ip <= *last).then_some(*name)
}

#[cfg(test)]
mod tests {
    use super::{CLOUDFLARE, FASTLY, NETWORKS, name};

    #[test]
    fn every_network_is_one() {
        assert_eq!(NETWORKS.len(), CLOUDFLARE.len() + FASTLY.len());
        assert!(NETWORKS.windows(2).all(|pair| pair[0].1 < pair[1].0), "in order, and apart");
        assert_eq!(name("104.28.0.0".parse().unwrap()), None);
        assert_eq!(name("10.0.0.1".parse().unwrap()), None);
        assert_eq!(name("104.23.255.255".parse().unwrap()), Some("Cloudflare"));
        assert_eq!(name("2a04:4e42::1".parse().unwrap()), Some("Fastly"));
    }
}
