//! What traffic says of routes.
//!
//! Owns: the state of each route, its counts. Never: templates; the join finds them.
//!
//! | state | declared | seen |
//! |---|---|---|
//! | `declared` | yes | yes |
//! | `shadow` | no, though its service has a document | yes, and answered |
//! | `zombie` | yes, as deprecated | yes |
//! | `orphan` | yes | no |
//! | `undocumented` | its service has no document | yes, and answered |
//!
//! A path that is not declared counts as seen once something answers there: a scanner's guesses
//! that end in 404 are no routes.

use std::collections::{BTreeMap, BTreeSet};

use enrich::Routes;
use schemas::{Event, EventTime};
use serde::Serialize;

/// Routes counted at most. With their names they are 50 MiB.
const ROUTES_MAX: usize = 100_000;

/// What a route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RouteState {
    Shadow,
    Zombie,
    Orphan,
    Undocumented,
    Declared,
}

impl RouteState {
    /// What asks for attention first.
    pub(super) const ALL: [Self; 5] =
        [Self::Shadow, Self::Zombie, Self::Orphan, Self::Undocumented, Self::Declared];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Zombie => "zombie",
            Self::Orphan => "orphan",
            Self::Undocumented => "undocumented",
            Self::Declared => "declared",
        }
    }
}

/// A route with what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) state: RouteState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<String>,
    pub(super) method: String,
    pub(super) route: String,
    pub(super) calls: u64,
    /// The share of calls without credentials among those of which the log says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unauthenticated: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auth_required: Option<bool>,
    pub(super) deprecated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<EventTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<EventTime>,
}

/// Routes by service, route and method.
type Place = (Option<String>, String, String);

#[derive(Debug, Default)]
struct Calls {
    declared: bool,
    deprecated: bool,
    auth_required: Option<bool>,
    calls: u64,
    authenticated: u64,
    unauthenticated: u64,
    first: Option<EventTime>,
    last: Option<EventTime>,
}

/// Everything that was declared or seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    routes: BTreeMap<Place, Calls>,
    documented: BTreeSet<String>,
    /// Calls to undeclared routes that nobody answered.
    pub(super) unanswered: usize,
    /// Calls that have no route.
    pub(super) without_route: usize,
    /// Calls of new routes once there were too many.
    pub(super) left_out: usize,
}

impl Seen {
    pub(super) fn new(routes: &Routes) -> Self {
        let mut seen = Self::default();
        for declared in routes.declared() {
            let service = declared.service.clone();
            seen.documented.insert(service.clone());
            let place = (Some(service), declared.route.clone(), declared.method.to_owned());
            let of = Calls {
                declared: true,
                deprecated: declared.deprecated,
                auth_required: Some(declared.auth_required),
                ..Calls::default()
            };
            seen.routes.insert(place, of);
        }
        seen
    }

    pub(super) fn nothing_declared(&self) -> bool {
        self.documented.is_empty()
    }

    /// Counts an enriched event.
    pub(super) fn call(&mut self, event: &Event<'_>) {
        let outward = event.direction.as_deref() == Some("out");
        let (Some(route), Some(method)) = (&event.route, &event.method) else {
            self.without_route += usize::from(!outward);
            return;
        };
        let declared = event.route_declared == Some(true);
        let preflight = method == "OPTIONS" && !declared;
        if outward || preflight {
            return;
        }
        if !declared && !answered(event) {
            self.unanswered += 1;
            return;
        }
        let service = event.service.as_deref().map(str::to_owned);
        let mut place = (service, route.to_string(), method.to_string());
        if method == "HEAD" && declared && !self.routes.contains_key(&place) {
            // Answered where GET is.
            place.2 = "GET".to_owned();
        }
        if self.routes.len() >= ROUTES_MAX && !self.routes.contains_key(&place) {
            self.left_out += 1;
            return;
        }
        self.routes.entry(place).or_default().count(event);
    }

    /// All routes: what asks for attention first, then by service, route and method.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .routes
            .iter()
            .map(|(place, calls)| {
                let (service, route, method) = place.clone();
                let documented =
                    service.as_ref().is_some_and(|name| self.documented.contains(name));
                let known = calls.authenticated + calls.unauthenticated;
                Line {
                    state: calls.state(documented),
                    service,
                    method,
                    route,
                    calls: calls.calls,
                    unauthenticated: share(calls.unauthenticated, known),
                    auth_required: calls.auth_required,
                    deprecated: calls.deprecated,
                    first: calls.first,
                    last: calls.last,
                }
            })
            .collect();
        lines.sort_by_key(|line| line.state);
        lines
    }
}

impl Calls {
    fn count(&mut self, event: &Event<'_>) {
        self.calls += 1;
        match event.auth_kind.as_deref() {
            Some("none") => self.unauthenticated += 1,
            None | Some("unknown") => {}
            Some(_) => self.authenticated += 1,
        }
        if let Some(time) = event.event_time {
            self.first = Some(self.first.map_or(time, |first| first.min(time)));
            self.last = Some(self.last.map_or(time, |last| last.max(time)));
        }
    }

    fn state(&self, documented: bool) -> RouteState {
        match (self.declared, self.calls > 0) {
            (true, false) => RouteState::Orphan,
            (true, true) if self.deprecated => RouteState::Zombie,
            (true, true) => RouteState::Declared,
            (false, _) if documented => RouteState::Shadow,
            (false, _) => RouteState::Undocumented,
        }
    }
}

/// Whether something stands behind the path: it served, or it refused the caller.
fn answered(event: &Event<'_>) -> bool {
    let served = matches!(
        event.status,
        Some(200..=399 | 401 | 402 | 403 | 409 | 412 | 415 | 422 | 423 | 429 | 500)
    );
    served && event.blocked_by.is_none()
}

fn share(part: u64, whole: u64) -> Option<f64> {
    let number = |count: u64| u32::try_from(count).map_or(f64::from(u32::MAX), f64::from);
    (whole > 0).then(|| number(part) / number(whole))
}

#[cfg(test)]
mod tests {
    use enrich::{Routes, parse_document};
    use expect_test::{Expect, expect};
    use schemas::{Event, EventTime};

    use super::Seen;

    const DOCUMENT: &str = "
openapi: 3.0.3
info: {title: shop, version: '1'}
paths:
  /orders/{id}:
    get: {security: [{key: []}], responses: {}}
    delete: {responses: {}}
  /v1/old:
    get: {deprecated: true, responses: {}}
";

    /// `service method route status auth`, with a second between two calls.
    #[track_caller]
    fn check(calls: &[&str], expected: &Expect) {
        let (document, _) = parse_document("shop", DOCUMENT).unwrap();
        let (routes, _) = Routes::new([&document]);
        let mut seen = Seen::new(&routes);
        let declared = |method: &str, route: &str| {
            routes.declared().iter().any(|d| {
                d.route == route && (d.method == method || method == "HEAD" && d.method == "GET")
            })
        };
        for (second, call) in (0_i64..).zip(calls) {
            let [service, method, route, status, auth] =
                call.split(' ').collect::<Vec<_>>().try_into().unwrap();
            seen.call(&Event {
                service: Some(service.into()),
                method: Some(method.into()),
                route: (route != "-").then(|| route.into()),
                route_declared: (service == "shop").then(|| declared(method, route)),
                status: Some(status.parse().unwrap()),
                auth_kind: Some(auth.into()),
                event_time: Some(EventTime(second * 1000)),
                ..Event::default()
            });
        }
        let mut text = String::new();
        for line in seen.lines() {
            text.push_str(&serde_json::to_string(&line).unwrap());
            text.push('\n');
        }
        text.push_str(&format!("{} unanswered, {} without", seen.unanswered, seen.without_route));
        expected.assert_eq(&text);
    }

    #[test]
    fn routes_are_shadow_zombie_orphan_undocumented_or_declared() {
        check(
            &[
                "shop GET /orders/{id} 200 jwt",
                "shop HEAD /orders/{id} 404 none",
                "shop GET /orders/{id} 200 unknown",
                "shop GET /v1/old 200 none",
                "shop GET /debug 200 none",
                "shop GET /wp-admin 404 none",
                "shop POST /orders/{id} 405 none",
                "shop OPTIONS /orders/{id} 204 none",
                "cart GET /cart 200 none",
                "cart GET - 200 none",
            ],
            &expect![[r#"
                {"state":"shadow","service":"shop","method":"GET","route":"/debug","calls":1,"unauthenticated":1.0,"deprecated":false,"first":"1970-01-01T00:00:04.000Z","last":"1970-01-01T00:00:04.000Z"}
                {"state":"zombie","service":"shop","method":"GET","route":"/v1/old","calls":1,"unauthenticated":1.0,"auth_required":false,"deprecated":true,"first":"1970-01-01T00:00:03.000Z","last":"1970-01-01T00:00:03.000Z"}
                {"state":"orphan","service":"shop","method":"DELETE","route":"/orders/{id}","calls":0,"auth_required":false,"deprecated":false}
                {"state":"undocumented","service":"cart","method":"GET","route":"/cart","calls":1,"unauthenticated":1.0,"deprecated":false,"first":"1970-01-01T00:00:08.000Z","last":"1970-01-01T00:00:08.000Z"}
                {"state":"declared","service":"shop","method":"GET","route":"/orders/{id}","calls":3,"unauthenticated":0.5,"auth_required":true,"deprecated":false,"first":"1970-01-01T00:00:00.000Z","last":"1970-01-01T00:00:02.000Z"}
                2 unanswered, 1 without"#]],
        );
    }
}
