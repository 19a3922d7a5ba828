//! The well-behaved part of the scene, with the habits that careless rules take for attacks.
//!
//! Owns: who they are and what they do. Never: anything that a label names.

use serde_json::json;

use super::traffic::{CALM_MS, LENGTH_MS, Request};
use crate::random::Random;

const CUSTOMERS: i64 = 140;
const COLLEAGUES: i64 = 12;
const OFFICE: &str = "198.18.200.1";

const PHONE: &str = "shop-app/7.3 (Android 15; okhttp 4.12.0)";
const LAPTOP: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like \
                      Gecko) Chrome/140.0.0.0 Safari/537.36";
const TABLET: &str = "Mozilla/5.0 (iPad; CPU OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
                      like Gecko) Version/18.1 Mobile/15E148 Safari/604.1";

/// Name of the customer with this number.
pub(super) fn customer_name(number: i64) -> String {
    format!("cust{number:03}")
}

/// Address of the customer with this number; every fifth has IPv6.
pub(super) fn customer_address(number: i64) -> String {
    if number % 5 == 4 {
        format!("2001:db8:{:x}::{:x}", 0x10 + number, 0x100 + number)
    } else {
        format!("198.18.{}.{}", 20 + number / 8, 10 + number % 8 * 29)
    }
}

/// Plays everybody and returns the identities that the directory knows.
pub(super) fn play(random: &mut Random, requests: &mut Vec<Request>) -> String {
    let mut directory = String::new();
    for number in 0..CUSTOMERS {
        let caller = Caller {
            name: customer_name(number),
            address: customer_address(number),
            agent: random.pick(PHONE, &[LAPTOP, TABLET]),
        };
        directory.push_str(&person(&caller.name, "human", "customer"));
        let start = random.between(0, LENGTH_MS * 2 / 3);
        caller.shop(random, start, requests);
    }
    share_an_office(random, &mut directory, requests);
    crawl_politely(random, requests);
    sync_orders(random, &mut directory, requests);
    support_customers(random, &mut directory, requests);
    administer(random, &mut directory, requests);
    let walker = person("mallory", "human", "customer");
    directory.push_str(&walker);
    directory
}

fn person(name: &str, kind: &str, role: &str) -> String {
    format!("{}\n", json!({"principal": name, "kind": kind, "roles": [role], "active": true}))
}

/// Somebody with one device.
struct Caller {
    name: String,
    address: String,
    agent: &'static str,
}

impl Caller {
    fn asks(&self, at_ms: i64, method: &'static str, path: String, status: u16) -> Request {
        let bytes = match status {
            200 | 201 => 400 + u64::try_from(at_ms.rem_euclid(1_900)).unwrap_or(0),
            304 => 0,
            _ => 98,
        };
        Request {
            at_ms,
            address: self.address.clone(),
            user: Some(self.name.clone()),
            method,
            path,
            status,
            bytes,
            agent: self.agent,
        }
    }

    /// Logs in, mistyping now and then, looks around, orders something, leaves.
    fn shop(&self, random: &mut Random, start: i64, requests: &mut Vec<Request>) {
        let mut at = start;
        if random.happens(12) {
            requests.push(self.asks(at, "POST", "/login".to_owned(), 401));
            at += random.between(6_000, 15_000);
        }
        requests.push(self.asks(at, "POST", "/login".to_owned(), 200));
        let orders: Vec<i64> =
            (0..random.between(1, 5)).map(|_| random.between(1, 10_000)).collect();
        for _ in 0..random.between(15, 60) {
            at += random.between(1_500, 12_000);
            let (method, path, status) = self.wish(random, &orders);
            requests.push(self.asks(at, method, path, status));
        }
    }

    /// What an ordinary visit consists of.
    fn wish(&self, random: &mut Random, orders: &[i64]) -> (&'static str, String, u16) {
        let product = random.below(900);
        let order = orders.get(usize::try_from(random.below(4)).unwrap_or(0));
        let order = order.or(orders.first()).copied().unwrap_or(1);
        match random.below(100) {
            0..35 => ("GET", format!("/v1/products/{product}"), 200),
            35..50 => ("GET", format!("/v1/products?page={}", random.below(9)), 200),
            50..60 => ("GET", format!("/v1/products/{product}/image"), 304),
            60..70 => ("GET", "/v1/orders".to_owned(), 200),
            70..80 => ("GET", format!("/v1/orders/{order}"), 200),
            80..90 => ("PUT", format!("/v1/cart/{product}"), 200),
            90..94 => ("POST", "/v1/orders".to_owned(), 201),
            94..97 => ("GET", "/v1/me".to_owned(), 200),
            97 => ("GET", "/favicon.ico".to_owned(), 404),
            98 => ("GET", "/v1/orders".to_owned(), 500),
            _ => ("GET", format!("/v1/search?q=shoes&page={}", random.below(5)), 200),
        }
    }
}

/// Twelve people behind one address. On the day after a password policy change half of them
/// mistype, twice each, over four minutes.
fn share_an_office(random: &mut Random, directory: &mut String, requests: &mut Vec<Request>) {
    for number in 0..COLLEAGUES {
        let caller = Caller {
            name: format!("office{number:02}"),
            address: OFFICE.to_owned(),
            agent: LAPTOP,
        };
        directory.push_str(&person(&caller.name, "human", "customer"));
        let start = 100_000 + number * 20_000;
        if number % 2 == 0 {
            requests.push(caller.asks(start - 21_000, "POST", "/login".to_owned(), 401));
            requests.push(caller.asks(start - 9_000, "POST", "/login".to_owned(), 401));
        }
        caller.shop(random, start, requests);
    }
}

/// A health check, which goes on when everybody has gone.
pub(super) fn probe_health(requests: &mut Vec<Request>) {
    for probe in 0..(LENGTH_MS + CALM_MS) / 5_000 {
        requests.push(Request {
            at_ms: probe * 5_000,
            address: "198.18.0.10".to_owned(),
            user: None,
            method: "GET",
            path: "/healthz".to_owned(),
            status: 200,
            bytes: 2,
            agent: "kube-probe/1.33",
        });
    }
}

/// A search engine that says who it is and takes its time.
fn crawl_politely(random: &mut Random, requests: &mut Vec<Request>) {
    for step in 0..LENGTH_MS / 8_000 {
        let path = if step == 0 {
            "/robots.txt".to_owned()
        } else {
            format!("/v1/products/{}", random.below(900))
        };
        requests.push(Request {
            at_ms: step * 8_000 + random.between(0, 2_000),
            address: "198.18.7.7".to_owned(),
            user: None,
            method: "GET",
            path,
            status: 200,
            bytes: 1_400,
            agent: "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://bot.example/about)",
        });
    }
}

/// A machine account that reads every order in turn, as it is meant to.
fn sync_orders(random: &mut Random, directory: &mut String, requests: &mut Vec<Request>) {
    let caller = Caller {
        name: "svc-erp".to_owned(),
        address: "198.18.9.9".to_owned(),
        agent: "erp-sync/4.2",
    };
    directory.push_str(&person(&caller.name, "service", "orders-reader"));
    for step in 0..90 {
        let at = step * 6_500 + random.between(0, 500);
        requests.push(caller.asks(at, "GET", format!("/v1/orders/{}", 9_000 + step), 200));
    }
}

/// Support looks up the orders that callers ask about.
fn support_customers(random: &mut Random, directory: &mut String, requests: &mut Vec<Request>) {
    let caller =
        Caller { name: "sup-lena".to_owned(), address: "198.18.9.20".to_owned(), agent: LAPTOP };
    directory.push_str(&person(&caller.name, "human", "support"));
    for step in 0..14 {
        let at = step * 42_000 + random.between(0, 20_000);
        let order = random.between(1, 10_000);
        requests.push(caller.asks(at, "GET", format!("/v1/orders/{order}"), 200));
    }
}

/// An administrator, who may see what customers may not.
fn administer(random: &mut Random, directory: &mut String, requests: &mut Vec<Request>) {
    let caller =
        Caller { name: "adm-root".to_owned(), address: "198.18.9.30".to_owned(), agent: LAPTOP };
    directory.push_str(&person(&caller.name, "human", "admin"));
    for step in 0..10 {
        let at = step * 55_000 + random.between(0, 20_000);
        requests.push(caller.asks(at, "GET", "/v1/admin/users".to_owned(), 200));
    }
}
