//! Ten minutes of a shop's traffic: requests in order, and what is hostile among them.
//!
//! Owns: the shape of a request, its line, and the labels. Never: who does what; that is in
//! `callers` and `attacks`.

use serde_json::{Value, json};

use super::{attacks, callers};
use crate::clock::Moment;
use crate::random::Random;

/// Length of the scene in milliseconds of event time.
pub(crate) const LENGTH_MS: i64 = 600_000;
/// For so long only health checks follow, so that event time goes on and windows close.
pub(crate) const CALM_MS: i64 = 180_000;
/// When the deploy that opens the admin route goes live.
pub(crate) const DEPLOY_MS: i64 = 300_000;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Milliseconds since the start of the scene.
    pub(crate) at_ms: i64,
    /// Client address.
    pub(crate) address: String,
    /// Who asks; at the login, which account is tried. `None` is written as `-`.
    pub(crate) user: Option<String>,
    /// Method.
    pub(crate) method: &'static str,
    /// Path with query.
    pub(crate) path: String,
    /// Status of the answer.
    pub(crate) status: u16,
    /// Bytes of the answer's body.
    pub(crate) bytes: u64,
    /// User-Agent.
    pub(crate) agent: &'static str,
}

impl Request {
    /// The line that nginx writes in its combined format, for a scene that starts at `start`.
    pub(crate) fn combined(&self, start: Moment) -> String {
        let Self { address, method, path, status, bytes, agent, .. } = self;
        let user = self.user.as_deref().unwrap_or("-");
        let time = start.plus_ms(self.at_ms).clf();
        format!(
            "{address} - {user} [{time}] \"{method} {path} HTTP/1.1\" {status} {bytes} \"-\" \
             \"{agent}\"\n"
        )
    }
}

/// What is hostile, and by what a verdict may name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    /// Kind of attack.
    pub(crate) attack: &'static str,
    /// What it does, for a person.
    pub(crate) about: &'static str,
    /// Client address, where one stands behind it.
    pub(crate) address: Option<String>,
    /// Principal, where one stands behind it.
    pub(crate) principal: Option<String>,
    /// Deploy that brought it, where a change and not a caller is at fault.
    pub(crate) deploy: Option<&'static str>,
    /// Route that it concerns.
    pub(crate) path: Option<&'static str>,
}

impl Label {
    /// One line of the labels file.
    pub(crate) fn line(&self) -> String {
        let mut line = json!({"attack": self.attack, "about": self.about});
        let mut put = |name: &str, value: Option<&str>| {
            if let (Some(fields), Some(value)) = (line.as_object_mut(), value) {
                fields.insert(name.to_owned(), Value::from(value));
            }
        };
        put("client_ip", self.address.as_deref());
        put("principal", self.principal.as_deref());
        put("deploy_id", self.deploy);
        put("path", self.path);
        format!("{line}\n")
    }
}

/// The whole scene.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// In order of time.
    pub(crate) requests: Vec<Request>,
    /// What is hostile.
    pub(crate) labels: Vec<Label>,
    /// Who the callers are: lines of `identities.jsonl`.
    pub(crate) identities: String,
}

impl Traffic {
    /// Makes the scene; the same seed makes the same one.
    pub(crate) fn make(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut requests = Vec::new();
        let identities = callers::play(&mut random, &mut requests);
        let labels = attacks::play(&mut random, &mut requests);
        requests.retain(|request| (0..LENGTH_MS).contains(&request.at_ms));
        callers::probe_health(&mut requests);
        requests.sort_by_key(|request| request.at_ms); // stable, so equal times keep their order
        Self { requests, labels, identities }
    }

    /// The labels file.
    pub(crate) fn label_lines(&self) -> String {
        self.labels.iter().map(Label::line).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{DEPLOY_MS, LENGTH_MS, Request, Traffic};
    use crate::clock::Moment;

    #[test]
    fn the_same_seed_makes_the_same_scene() {
        assert_eq!(Traffic::make(7).requests, Traffic::make(7).requests);
        assert_ne!(Traffic::make(7).requests, Traffic::make(8).requests);
    }

    #[test]
    fn a_request_reads_as_nginx_writes_it() {
        let request = Request {
            at_ms: 1_500,
            address: "198.18.0.1".to_owned(),
            user: Some("ann".to_owned()),
            method: "GET",
            path: "/v1/orders/7".to_owned(),
            status: 200,
            bytes: 512,
            agent: "x/1",
        };
        assert_eq!(
            request.combined(Moment(1_476_107_735_000)),
            "198.18.0.1 - ann [10/Oct/2016:13:55:36 +0000] \"GET /v1/orders/7 HTTP/1.1\" 200 512 \
             \"-\" \"x/1\"\n"
        );
    }

    #[test]
    fn requests_are_in_order_and_within_the_scene() {
        let traffic = Traffic::make(7);
        assert!(traffic.requests.is_sorted_by_key(|request| request.at_ms));
        let first = traffic.requests.first().unwrap().at_ms;
        let calm = traffic.requests.iter().filter(|request| request.at_ms >= LENGTH_MS);
        assert!(calm.clone().count() > 30 && calm.into_iter().all(|r| r.path == "/healthz"));
        let last = traffic.requests.last().unwrap().at_ms;
        assert!(first < 10_000 && last > LENGTH_MS - 10_000, "{first} to {last}");
        let count = traffic.requests.len();
        assert!((5_000..30_000).contains(&count), "{count}");
    }

    /// Distinct values of something per address, the largest first.
    fn most(
        requests: &[Request],
        keep: impl Fn(&Request) -> bool,
        value: impl Fn(&Request) -> String,
    ) -> Vec<(String, usize)> {
        let mut sets: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for request in requests.iter().filter(|request| keep(request)) {
            sets.entry(&request.address).or_default().insert(value(request));
        }
        let mut counts: Vec<(String, usize)> =
            sets.into_iter().map(|(address, set)| (address.to_owned(), set.len())).collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    #[test]
    fn one_address_tries_many_accounts_and_nobody_else_nearly_as_many() {
        let traffic = Traffic::make(7);
        let failed = |r: &Request| r.path == "/login" && r.status == 401;
        let counts = most(&traffic.requests, failed, |r| r.user.clone().unwrap_or_default());
        assert_eq!(counts[0].0, "203.0.113.9");
        assert!(counts[0].1 >= 100, "{counts:?}");
        assert!(counts[1].1 <= 8, "{counts:?}");
    }

    #[test]
    fn one_person_walks_ids_and_other_people_see_a_few() {
        let traffic = Traffic::make(7);
        let mut walks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for request in &traffic.requests {
            if request.path.starts_with("/v1/orders/") && request.status == 200 {
                let user = request.user.clone().unwrap_or_default();
                walks.entry(user).or_default().insert(request.path.clone());
            }
        }
        assert!(walks["mallory"].len() >= 100);
        for (user, orders) in walks {
            let fair = matches!(user.as_str(), "mallory" | "svc-erp" | "sup-lena");
            assert!(fair || orders.len() <= 6, "{user}: {}", orders.len());
        }
    }

    #[test]
    fn one_address_scans_and_nobody_else_misses_often() {
        let traffic = Traffic::make(7);
        let counts = most(&traffic.requests, |r| r.status == 404, |r| r.path.clone());
        assert_eq!(counts[0].0, "192.0.2.66");
        assert!(counts[0].1 >= 60, "{counts:?}");
        assert!(counts[1].1 <= 5, "{counts:?}");
    }

    #[test]
    fn the_deploy_opens_the_admin_route_to_ordinary_users() {
        let traffic = Traffic::make(7);
        let tries: Vec<&Request> = traffic
            .requests
            .iter()
            .filter(|r| r.path == "/v1/admin/users" && r.user.as_deref() != Some("adm-root"))
            .collect();
        let (before, after): (Vec<&Request>, Vec<&Request>) =
            tries.into_iter().partition(|r| r.at_ms < DEPLOY_MS);
        assert!(before.len() >= 8 && before.iter().all(|r| r.status == 403));
        assert!(after.len() >= 8 && after.iter().all(|r| r.status == 200));
    }

    #[test]
    fn every_label_names_somebody_who_is_there() {
        let traffic = Traffic::make(7);
        assert_eq!(traffic.labels.len(), 4);
        for label in &traffic.labels {
            let present = traffic.requests.iter().any(|r| {
                label.address.as_ref() == Some(&r.address)
                    || (label.principal.is_some() && label.principal == r.user)
                    || label.path == Some(r.path.as_str())
            });
            assert!(present, "{label:?}");
        }
        assert!(traffic.label_lines().starts_with("{\"about\":"));
    }
}
