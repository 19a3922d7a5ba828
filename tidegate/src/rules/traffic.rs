//! Made-up traffic: lines as nginx writes them, in which most of the pack's rules find something.
//!
//! Owns: who asks for what, and when. Never: chance; the same number of lines is the same text.

/// 2026-11-20T08:00:00Z, and how long it lasts.
const HOUR: i64 = 8;
const SPAN_SECONDS: i64 = 1_200;

/// So many lines, spread evenly over twenty minutes.
pub(super) fn lines(count: usize) -> impl Iterator<Item = String> {
    let total = i64::try_from(count).unwrap_or(i64::MAX).max(1);
    (0..total).map(move |number| line(number, total))
}

fn line(number: i64, total: i64) -> String {
    let mixed = number.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(17);
    let pick = |of: i64, shift: u32| (mixed >> shift).rem_euclid(of);
    let second = i64::try_from(i128::from(number) * i128::from(SPAN_SECONDS) / i128::from(total));
    let second = second.unwrap_or(0);
    let at = format!("20/Nov/2026:{HOUR:02}:{:02}:{:02} +0000", second / 60, second % 60);
    let caller = pick(2_000, 3);
    let ip = format!("198.51.{}.{}", 100 + caller / 250, caller % 250);
    let (ip, request, status, agent) = match pick(100, 9) {
        // One address tries passwords, one looks for what is not linked, one walks through orders.
        0..3 => ("203.0.113.9".to_owned(), "POST /login HTTP/1.1".to_owned(), 401, PYTHON),
        3 => {
            let path = PROBES.get(place(pick(6, 21))).copied().unwrap_or("/");
            ("203.0.113.66".to_owned(), format!("GET {path} HTTP/1.1"), 404, PYTHON)
        }
        4 => {
            let order = number.rem_euclid(9_000);
            let request = format!("GET /v1/orders/{order} HTTP/1.1");
            ("203.0.113.77".to_owned(), request, if pick(2, 23) == 0 { 200 } else { 403 }, CURL)
        }
        5 => (ip, "POST /login HTTP/1.1".to_owned(), 200, BROWSER),
        6..9 => (ip, format!("GET /v1/users/{} HTTP/1.1", pick(5_000, 11)), 404, BROWSER),
        9 => (ip, format!("POST /v1/orders/{} HTTP/1.1", pick(5_000, 11)), 500, CURL),
        _ => {
            let (route, id) = (pick(40, 7), pick(5_000, 11));
            (ip, format!("GET /v1/things{route}/{id}?page={} HTTP/1.1", pick(9, 19)), 200, BROWSER)
        }
    };
    let bytes = 200 + pick(4_000, 13);
    format!("{ip} - - [{at}] \"{request}\" {status} {bytes} \"-\" \"{agent}\"")
}

fn place(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

const PYTHON: &str = "python-requests/2.32";
const CURL: &str = "curl/8.5.0";
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
const PROBES: [&str; 6] =
    ["/.env", "/wp-login.php", "/actuator/env", "/.git/config", "/debug/pprof", "/admin.php"];
