use expect_test::{Expect, expect};
use runtime::metrics::Metrics;
use schemas::Event;

use super::{Routes, parse_document};
use crate::context::{Context, ContextCell};
use crate::joiner::{JoinOptions, Joiner};
use crate::metrics::EnrichMetrics;

const SHOP: &str = r#"
openapi: 3.0.0
servers: [{url: /v1}]
security: [{oauth: [read]}]
paths:
  /: {get: {security: []}}
  /orders/{order_id}:
    get: {parameters: [{in: query, name: expand}]}
    delete: {x-privileged: true}
  /orders/{id}/items: {get: {}}
  /orders/mine: {get: {}}
  /users/me: {get: {}}
  /users/{id}: {get: {}, delete: {}}
  /users/{name}: {patch: {}}
  /files/{id}.pdf: {get: {}}
  /files/{id}: {get: {}}
  /compare/{base}...{head}: {get: {}}
  /proxy/{rest+}: {get: {}}
  /login: {post: {}}
"#;

fn joiner(learn_routes: bool, document: Option<&str>) -> Joiner {
    let documents = document.map(|text| {
        let (document, problems) = parse_document("shop", text).unwrap();
        assert_eq!(problems, []);
        document
    });
    let (routes, problems) = Routes::new(&documents);
    assert_eq!(problems, []);
    let context = ContextCell::new(Context::default().with_routes(routes));
    let options = JoinOptions { object_key: [7; 16], learn_routes };
    Joiner::new(context, options, EnrichMetrics::new(&Metrics::new()))
}

/// Requests such as `GET 200 /orders/1`, optionally with `route=…`; one line an answer.
#[track_caller]
fn check(joiner: &Joiner, requests: &[&'static str], expected: &Expect) {
    let mut lines = String::new();
    for request in requests {
        let mut words = request.split(' ');
        let mut event = Event {
            service: Some("shop".into()),
            method: words.next().map(Into::into),
            status: words.next().map(|status| status.parse().unwrap()),
            path: words.next().map(Into::into),
            ..Event::default()
        };
        event.route = words.next().map(|word| word.strip_prefix("route=").unwrap().into());
        let joined = joiner.enrich_event(&event).unwrap();
        let mut parts: Vec<String> = Vec::new();
        parts.push(joined.route.as_deref().unwrap_or("-").to_owned());
        parts.push(joined.route_source.as_deref().unwrap_or("-").to_owned());
        for (name, flag) in [
            ("declared", joined.route_declared),
            ("auth", joined.route_auth_required),
            ("privileged", joined.route_privileged),
            ("login", joined.route_login),
        ] {
            match flag {
                Some(true) => parts.push(name.to_owned()),
                Some(false) if name == "declared" => parts.push("undeclared".to_owned()),
                _ => {}
            }
        }
        if let (Some(of_type), Some(_)) = (&joined.object_type, &joined.object_id) {
            let number = joined.object_number.map_or("hashed".to_owned(), |n| n.to_string());
            parts.push(format!("{of_type}:{number}"));
        }
        parts.extend(joined.context_missing.map(|names| format!("missing {}", names.join(","))));
        lines.push_str(&format!("{request}: {}\n", parts.join(" ")));
    }
    expected.assert_eq(&lines);
}

#[test]
fn a_declared_route_brings_its_facts() {
    check(
        &joiner(false, Some(SHOP)),
        &[
            "GET 200 /v1/orders/17",
            "DELETE 200 /v1/orders/17/",
            "HEAD 200 /v1/orders/17",
            "GET 200 /v1/orders/17/items",
            "GET 200 /v1",
            "POST 401 /v1/login",
        ],
        &expect![[r#"
            GET 200 /v1/orders/17: /v1/orders/{order_id} spec declared auth orders:17
            DELETE 200 /v1/orders/17/: /v1/orders/{order_id} spec declared auth privileged orders:17
            HEAD 200 /v1/orders/17: /v1/orders/{order_id} spec declared auth orders:17
            GET 200 /v1/orders/17/items: /v1/orders/{id}/items spec declared auth orders:17
            GET 200 /v1: /v1/ spec declared
            POST 401 /v1/login: /v1/login spec declared auth login
        "#]],
    );
}

#[test]
fn a_literal_wins_over_a_parameter_but_not_over_a_declared_method() {
    check(
        &joiner(false, Some(SHOP)),
        &[
            "GET 200 /v1/users/me",
            "DELETE 200 /v1/users/me",
            "PATCH 200 /v1/users/ann",
            "GET 200 /v1/files/9.pdf",
            "GET 200 /v1/files/9.txt",
            "GET 200 /v1/compare/main...topic",
            "GET 200 /v1/proxy/a/b/c",
        ],
        &expect![[r#"
            GET 200 /v1/users/me: /v1/users/me spec declared auth
            DELETE 200 /v1/users/me: /v1/users/{id} spec declared auth users:hashed
            PATCH 200 /v1/users/ann: /v1/users/{name} spec declared auth users:hashed
            GET 200 /v1/files/9.pdf: /v1/files/{id}.pdf spec declared auth files:9
            GET 200 /v1/files/9.txt: /v1/files/{id} spec declared auth files:hashed
            GET 200 /v1/compare/main...topic: /v1/compare/{base}...{head} spec declared auth compare:hashed
            GET 200 /v1/proxy/a/b/c: /v1/proxy/{rest+} spec declared auth
        "#]],
    );
}

#[test]
fn what_the_document_lacks_is_undeclared_but_a_preflight_is_nothing() {
    check(
        &joiner(false, Some(SHOP)),
        &[
            "PUT 200 /v1/orders/17",
            "OPTIONS 204 /v1/orders/17",
            "GET 200 /orders/17",
            "GET 200 /v1/internal",
            "PROPFIND 200 /v1/orders/17",
        ],
        &expect![[r#"
            PUT 200 /v1/orders/17: /v1/orders/{order_id} spec undeclared orders:17
            OPTIONS 204 /v1/orders/17: /v1/orders/{order_id} spec orders:17
            GET 200 /orders/17: - none undeclared
            GET 200 /v1/internal: - none undeclared
            PROPFIND 200 /v1/orders/17: /v1/orders/{order_id} spec undeclared orders:17
        "#]],
    );
}

#[test]
fn paths_are_matched_as_a_server_reads_them() {
    check(
        &joiner(false, Some(SHOP)),
        &[
            "GET 200 /v1/us%65rs/me",
            "GET 200 //v1/./users//me/",
            "GET 200 /v1/orders/17;v=2",
            "GET 200 /v1/orders/a%2Fb",
            "OPTIONS 200 *",
        ],
        &expect![[r#"
            GET 200 /v1/us%65rs/me: /v1/users/me spec declared auth
            GET 200 //v1/./users//me/: /v1/users/me spec declared auth
            GET 200 /v1/orders/17;v=2: /v1/orders/{order_id} spec declared auth orders:17
            GET 200 /v1/orders/a%2Fb: /v1/orders/{order_id} spec declared auth orders:hashed
            OPTIONS 200 *: - none undeclared
        "#]],
    );
}

#[test]
fn a_route_that_the_gateway_names_stays_and_brings_the_facts_of_its_template() {
    check(
        &joiner(true, Some(SHOP)),
        &[
            "GET 200 /v1/orders/17 route=/v1/orders/{order_id}",
            "GET 200 /v1/orders/17 route=orders-upstream",
            "GET 200 /nowhere route=catch-all",
        ],
        &expect![[r#"
            GET 200 /v1/orders/17 route=/v1/orders/{order_id}: /v1/orders/{order_id} gateway declared auth orders:17
            GET 200 /v1/orders/17 route=orders-upstream: orders-upstream gateway declared auth orders:17
            GET 200 /nowhere route=catch-all: catch-all gateway undeclared
        "#]],
    );
}

#[test]
fn beside_a_document_traffic_teaches_what_is_not_declared() {
    check(
        &joiner(true, Some(SHOP)),
        &["GET 200 /v1/shadow/17", "GET 404 /v1/nothing", "GET 200 /v1/orders/17"],
        &expect![[r#"
            GET 200 /v1/shadow/17: /v1/shadow/{id} learned undeclared shadow:17
            GET 404 /v1/nothing: - none undeclared
            GET 200 /v1/orders/17: /v1/orders/{order_id} spec declared auth orders:17
        "#]],
    );
}

#[test]
fn without_a_document_traffic_teaches_all() {
    check(
        &joiner(true, None),
        &[
            "GET 200 /api/orders/17",
            "GET 403 /api/orders/ord_8f3k29d1",
            "POST 401 /login",
            "GET 200 /login",
            "POST 404 /wp-login.php",
            "GET 200 /admin/users",
            "GET 404 /.env",
        ],
        &expect![[r#"
            GET 200 /api/orders/17: /api/orders/{id} learned orders:17
            GET 403 /api/orders/ord_8f3k29d1: /api/orders/{id} learned orders:hashed
            POST 401 /login: /login learned login
            GET 200 /login: /login learned
            POST 404 /wp-login.php: - none
            GET 200 /admin/users: /admin/users learned privileged
            GET 404 /.env: - none
        "#]],
    );
}

#[test]
fn with_nothing_to_go_by_nothing_is_said() {
    check(
        &joiner(false, None),
        &["GET 200 /api/orders/17"],
        &expect![[r#"
        GET 200 /api/orders/17: - -
    "#]],
    );
}

#[test]
fn an_operation_that_is_declared_twice_is_a_problem() {
    let text = "openapi: 3.0.0\npaths:\n  /a/{x}: {get: {}}\n  /a/{y}: {get: {}, put: {}}\n";
    let (document, _) = parse_document("shop", text).unwrap();
    let (routes, problems) = Routes::new([&document]);
    assert_eq!((routes.operations(), routes.templates()), (3, 1));
    expect!["the operation is left out: GET /a/{y} matches the same paths as GET /a/{x}; next: declare the path once"].assert_eq(&problems[0].to_string());
}

#[test]
fn an_object_has_one_hash_by_type_and_key() {
    let hash = |key: u8, path: &'static str| {
        let context = ContextCell::default();
        let options = JoinOptions { object_key: [key; 16], learn_routes: true };
        let joiner = Joiner::new(context, options, EnrichMetrics::new(&Metrics::new()));
        let event = Event { path: Some(path.into()), status: Some(200), ..Event::default() };
        joiner.enrich_event(&event).unwrap().object_id.unwrap().into_owned()
    };
    assert_eq!(hash(1, "/orders/17"), hash(1, "/v2/orders/17/items"));
    assert_ne!(hash(1, "/orders/17"), hash(2, "/orders/17"));
    assert_ne!(hash(1, "/orders/17"), hash(1, "/users/17"));
    assert_eq!(hash(1, "/orders/17").len(), 16);
}
