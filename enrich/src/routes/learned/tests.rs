use expect_test::{Expect, expect};

use super::super::segments::{SEGMENTS_MAX, cut};
use super::{CHILDREN_MAX, Evidence, Learned, REFUSED_MAX, SERVICE_NODES_MAX};

fn place(learned: &mut Learned, status: i32, path: &str) -> Option<String> {
    let mut parts = [""; SEGMENTS_MAX];
    let segments = cut(path, &mut parts).unwrap();
    let service = learned.service("shop");
    let template = learned.place(service, segments, Evidence::of(Some(status)));
    template.map(|template| template.text.to_string())
}

#[track_caller]
fn check(requests: &[(i32, &str)], expected: &Expect) {
    let mut learned = Learned::default();
    let mut lines = String::new();
    for (status, path) in requests {
        let template = place(&mut learned, *status, path);
        lines.push_str(&format!("{status} {path} → {}\n", template.as_deref().unwrap_or("none")));
    }
    lines.push_str(&format!("{} templates", learned.templates()));
    expected.assert_eq(&lines);
}

#[test]
fn values_collapse_and_names_stay() {
    check(
        &[
            (200, "/"),
            (200, "/v1/orders/17"),
            (200, "/v1/orders/550e8400-e29b-41d4-a716-446655440000/items"),
            (200, "/v1/orders/mine"),
            (200, "/v1/orders/18/"),
        ],
        &expect![[r#"
            200 / → /
            200 /v1/orders/17 → /v1/orders/{id}
            200 /v1/orders/550e8400-e29b-41d4-a716-446655440000/items → /v1/orders/{id}/items
            200 /v1/orders/mine → /v1/orders/mine
            200 /v1/orders/18/ → /v1/orders/{id}
            4 templates"#]],
    );
}

#[test]
fn a_path_that_nothing_served_has_no_template_until_it_is() {
    check(
        &[
            (404, "/wp-login.php"),
            (500, "/v1/orders/17"),
            (200, "/v1/orders/17"),
            (404, "/v1/orders/99"),
            (404, "/v1/orders"),
        ],
        &expect![[r#"
            404 /wp-login.php → none
            500 /v1/orders/17 → none
            200 /v1/orders/17 → /v1/orders/{id}
            404 /v1/orders/99 → /v1/orders/{id}
            404 /v1/orders → none
            1 templates"#]],
    );
}

#[test]
fn many_names_in_one_place_collapse_but_for_the_frequent_ones() {
    let mut learned = Learned::default();
    for _ in 0..200 {
        place(&mut learned, 200, "/users/me");
    }
    for user in 0..CHILDREN_MAX {
        let name = format!("/users/user-{}", letters(user));
        assert_ne!(place(&mut learned, 200, &name), None);
    }
    assert_eq!(place(&mut learned, 200, "/users/ann").as_deref(), Some("/users/{id}"));
    assert_eq!(place(&mut learned, 404, "/users/bob").as_deref(), Some("/users/{id}"));
    assert_eq!(place(&mut learned, 200, "/users/me").as_deref(), Some("/users/me"));
    assert_eq!(learned.templates(), 2);
}

#[test]
fn refusals_teach_little() {
    let mut learned = Learned::default();
    for path in 0..1_000 {
        place(&mut learned, 401, &format!("/probe-{}", letters(path)));
    }
    assert_eq!(learned.templates(), usize::from(REFUSED_MAX));
    assert_eq!(learned.take_unlearned(), 1_000 - u64::from(REFUSED_MAX));
    assert_eq!(place(&mut learned, 200, "/orders").as_deref(), Some("/orders"));
}

#[test]
fn what_is_learned_has_a_bound_whatever_is_served() {
    let mut learned = Learned::default();
    for path in 0..60_000 {
        let (a, b, c) = (letters(path % 40), letters(path / 40 % 40), letters(path / 1_600));
        place(&mut learned, 200, &format!("/{a}/{b}/{c}"));
    }
    assert!(learned.nodes <= SERVICE_NODES_MAX, "{}", learned.nodes);
    assert!(learned.take_unlearned() > 0);
    let counted = count(&learned.services[0].root) - 1;
    assert_eq!(learned.nodes, counted, "the count is that of the tree");
}

fn count(node: &super::Node) -> usize {
    let children = node.children.iter().map(|(_, child)| count(child)).sum::<usize>();
    1 + children + node.parameter.as_deref().map_or(0, count)
}

/// A number in letters, so that it looks like a name.
fn letters(number: usize) -> String {
    let digits = number.to_string();
    digits.bytes().map(|digit| char::from(b'g' + digit - b'0')).collect()
}
