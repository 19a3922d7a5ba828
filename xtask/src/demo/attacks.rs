//! The hostile part of the scene.
//!
//! Owns: four attacks and their labels. Never: anybody well-behaved.

use super::traffic::{DEPLOY_MS, LENGTH_MS, Label, Request};
use crate::random::Random;

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// Plays every attack and returns the labels.
pub(super) fn play(random: &mut Random, requests: &mut Vec<Request>) -> Vec<Label> {
    vec![
        scan(random, requests),
        stuff_credentials(random, requests),
        walk_orders(random, requests),
        open_admin_route(random, requests),
    ]
}

/// One address looks for what was left lying about.
fn scan(random: &mut Random, requests: &mut Vec<Request>) -> Label {
    let address = "192.0.2.66".to_owned();
    let known = ["/.env", "/.git/config", "/wp-login.php", "/phpmyadmin/", "/backup.zip"];
    for step in 0..120 {
        let path = match usize::try_from(step).ok().and_then(|step| known.get(step)) {
            Some(path) => (*path).to_owned(),
            None => format!("/{:06x}.php", random.below(1 << 24)),
        };
        requests.push(Request {
            at_ms: 60_000 + step * 500 + random.between(0, 200),
            address: address.clone(),
            user: None,
            method: "GET",
            path,
            status: 404,
            bytes: 153,
            agent: BROWSER,
        });
    }
    Label {
        attack: "scan",
        about: "an address asks for paths that do not exist",
        address: Some(address),
        principal: None,
        deploy: None,
        path: None,
    }
}

/// One address tries a list of leaked passwords, and one of them fits.
fn stuff_credentials(random: &mut Random, requests: &mut Vec<Request>) -> Label {
    let address = "203.0.113.9".to_owned();
    for step in 0..240 {
        let fits = step == 201;
        requests.push(Request {
            at_ms: 150_000 + step * 650 + random.between(0, 300),
            address: address.clone(),
            user: Some(format!("leaked{:03}", random.below(600))),
            method: "POST",
            path: "/login".to_owned(),
            status: if fits { 200 } else { 401 },
            bytes: if fits { 611 } else { 98 },
            agent: "python-requests/2.32.3",
        });
    }
    Label {
        attack: "credential-stuffing",
        about: "an address tries passwords of many accounts",
        address: Some(address),
        principal: None,
        deploy: None,
        path: None,
    }
}

/// A customer who is logged in reads one order after another, other people's too.
fn walk_orders(random: &mut Random, requests: &mut Vec<Request>) -> Label {
    let (address, user) = ("198.51.100.23".to_owned(), "mallory".to_owned());
    for step in 0..180 {
        requests.push(Request {
            at_ms: 220_000 + step * 1_000 + random.between(0, 400),
            address: address.clone(),
            user: Some(user.clone()),
            method: "GET",
            path: format!("/v1/orders/{}", 10_400 + step),
            status: 200,
            bytes: 700 + random.below(200),
            agent: BROWSER,
        });
    }
    Label {
        attack: "id-walk",
        about: "a customer reads orders by counting up",
        address: Some(address),
        principal: Some(user),
        deploy: None,
        path: None,
    }
}

/// A release forgets a check. Nobody attacks: the menu of the web page shows the entry to all, and
/// before the release a click on it was refused.
fn open_admin_route(random: &mut Random, requests: &mut Vec<Request>) -> Label {
    let path = "/v1/admin/users";
    let clicks = [(20, 0..DEPLOY_MS), (30, DEPLOY_MS..LENGTH_MS)];
    for (count, span) in clicks {
        for click in 0..count {
            let open = span.start >= DEPLOY_MS;
            let customer = click % 10;
            requests.push(Request {
                at_ms: random.between(span.start, span.end),
                address: super::callers::customer_address(customer),
                user: Some(super::callers::customer_name(customer)),
                method: "GET",
                path: path.to_owned(),
                status: if open { 200 } else { 403 },
                bytes: if open { 18_233 } else { 57 },
                agent: BROWSER,
            });
        }
    }
    Label {
        attack: "permission-drift",
        about: "a deploy opens an admin route to ordinary users",
        address: None,
        principal: None,
        deploy: Some("d2"),
        path: Some(path),
    }
}
