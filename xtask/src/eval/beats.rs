//! Fields that a parser must find: Filebeat's test lines.
//!
//! Owns: which of our fields stands for which of theirs, and the score. Never: parsing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::report::{Count, Report};
use super::text;
use super::tidegate::Tidegate;
use crate::trouble::Trouble;

/// Formats that are built. Lines of others must be read right or become dead letters.
const BUILT: [&str; 6] = [
    "apache/access",
    "haproxy/log",
    "iis/access",
    "nginx/access",
    "nginx/ingress_controller",
    "traefik/access",
];

/// Proxies that the corpus takes for such: a CDN's, which wrote the last address of a chain.
const PROXIES: [&str; 3] = ["10.0.0.0/8", "127.0.0.0/8", "204.246.0.0/16"];

/// All fields that are compared, under their name there.
const FIELDS: [&str; 10] = [
    "client_ip",
    "method",
    "path",
    "status",
    "time",
    "bytes_out",
    "user",
    "user_agent",
    "referrer",
    "query",
];

/// Hits by format and field.
type Counts<'a> = BTreeMap<&'a str, BTreeMap<&'static str, Count>>;

/// What the lines came to.
#[derive(Debug, Default)]
struct Tally<'a> {
    counts: Counts<'a>,
    dead: BTreeMap<&'a str, Count>,
    misses: Vec<String>,
    lost: usize,
}

/// Parses every line and adds the section to the report.
pub(super) fn score(
    tidegate: &Tidegate,
    cases: &[Value],
    report: &mut Report,
) -> Result<(), Trouble> {
    // One file there is one log, and one format is detected for it.
    let mut files: BTreeMap<(&str, &str), Vec<&Value>> = BTreeMap::new();
    for case in cases {
        files.entry((text(case, "format"), text(case, "file"))).or_default().push(case);
    }
    let mut tally = Tally::default();
    for ((format, _), cases) in files {
        let lines: Vec<&str> = cases.iter().map(|case| text(case, "raw")).collect();
        let proxies: &[&str] = if format == "nginx/access" { &PROXIES } else { &[] };
        let read = tidegate.parse(&lines, proxies)?;
        let by_line = answers(read, lines.len());
        for (case, event) in cases.into_iter().zip(by_line) {
            tally.take(format, case, event.as_ref());
        }
    }
    tally.write(report);
    Ok(())
}

/// Directives answer lines of their own, so an answer stands for each line, in order.
fn answers(read: Vec<Value>, lines: usize) -> Vec<Option<Value>> {
    let mut answers: Vec<Option<Value>> = read.into_iter().map(Some).collect();
    answers.resize(lines, None);
    answers
}

impl<'a> Tally<'a> {
    fn take(&mut self, format: &'a str, case: &'a Value, event: Option<&Value>) {
        let Some(event) = event else {
            self.lost += 1;
            return;
        };
        let is_dead = event.get("dead_letter").is_some();
        self.dead.entry(format).or_default().add(is_dead);
        if is_dead && !BUILT.contains(&format) {
            return; // it says so, which is what is asked of a format that is not built
        }
        let none = Value::Null;
        let expected = case.get("expect").unwrap_or(&none);
        for field in FIELDS {
            let Some(wanted) = expected.get(field).and_then(|value| wanted(field, value)) else {
                continue;
            };
            let hit = found(field, event).contains(&wanted);
            self.counts.entry(format).or_default().entry(field).or_default().add(hit);
            if !hit {
                let found = found(field, event).join(" or ");
                let line: String = text(case, "raw").chars().take(90).collect();
                self.misses.push(format!(
                    "{format} {field}: `{wanted}` expected, `{found}` found in `{line}`"
                ));
            }
        }
    }

    fn write(&self, report: &mut Report) {
        report.section(
            "Fields read (beats)",
            "Exact matches per format and field. Paths are compared decoded; the time is that of \
             the start or of the end, whichever the log gives; a referrer by host and path; a query by \
             its keys, since values are not kept, and one without a name as `*`. A line that holds no \
             request is a dead letter, of which the client counts. Where a chain ends in a CDN's \
             address, the CDN is named as trusted.",
        );
        let mut rows = Vec::new();
        let mut marked = Count::default();
        for (format, fields) in &self.counts {
            let mut row = vec![(*format).to_owned()];
            for field in FIELDS {
                let count = fields.get(field).copied().unwrap_or_default();
                row.push(if count.of == 0 {
                    "–".into()
                } else {
                    format!("{}/{}", count.hits, count.of)
                });
                if BUILT.contains(format) {
                    marked.join(count);
                }
            }
            let dead = self.dead.get(format).copied().unwrap_or_default();
            row.push(format!("{}/{}", dead.hits, dead.of));
            rows.push(row);
        }
        let mut head = vec!["format"];
        head.extend(FIELDS);
        head.push("dead letters");
        report.table(&head, &rows);
        for (format, dead) in
            self.dead.iter().filter(|(format, _)| !self.counts.contains_key(*format))
        {
            report.list(
                &format!("{format} is not built:"),
                &[format!("dead letters: {}", dead.text())],
            );
        }
        report.list("Not found:", &self.misses);
        let what = format!("built formats: at least 99.5 %: {}", marked.text());
        report.mark(&what, marked.reaches_permille(995));
        report.mark("no line of these lost", self.lost == 0);
    }
}

/// What we should say; `None` where nothing is there to be said.
fn wanted(field: &str, value: &Value) -> Option<String> {
    let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if plain == "-" || plain.is_empty() {
        return None;
    }
    match field {
        "referrer" => host_and_path(&plain),
        "query" => Some(keys(&plain)),
        // One address in any spelling; ours is the shortest.
        "client_ip" => Some(plain.parse::<IpAddr>().map_or(plain, |ip| ip.to_string())),
        _ => Some(plain),
    }
}

/// What we say; for some fields in more than one way.
fn found(field: &str, event: &Value) -> Vec<String> {
    let names: &[&str] = match field {
        "time" => &["started_at", "event_time"],
        "bytes_out" => &["response_bytes"],
        "user" => &["principal", "account"],
        "query" => &["query_keys"],
        "client_ip" => &["client_ip"],
        "method" => &["method"],
        "path" => &["path"],
        "status" => &["status"],
        "user_agent" => &["user_agent"],
        _ => &["referrer"],
    };
    let event = event.get("dead_letter").unwrap_or(event);
    let mut found = Vec::new();
    for value in names.iter().filter_map(|name| event.get(*name)) {
        let plain = match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                let mut names: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                names.sort_unstable();
                names.join("&")
            }
            other => other.to_string(),
        };
        if field == "path" {
            found.push(decoded(&plain));
        }
        found.push(plain);
    }
    found.dedup();
    found
}

/// `a&b` of `b=1&a=2`, sorted. A `&` that was written as in HTML is one, and a value without a name
/// is `*`.
fn keys(query: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '[' | ']');
    let key = |pair: &'_ str| -> String {
        let pair = pair.strip_prefix("amp;").unwrap_or(pair);
        match pair.split_once('=') {
            Some((name, _)) => name.to_owned(),
            None if pair.chars().all(is_name) => pair.to_owned(),
            None => "*".to_owned(),
        }
    };
    let mut keys: Vec<String> = query.split('&').map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.join("&")
}

/// A referrer less scheme, port, query and fragment.
fn host_and_path(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.split(':').next().unwrap_or(authority);
    Some(format!("{host}{path}"))
}

/// Percent-decoded, where that gives text.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Tally, answers, decoded, found, keys, wanted};

    fn case(expect: &Value) -> Value {
        json!({"raw": "a line", "expect": expect})
    }

    #[track_caller]
    fn check(expect: &Value, event: &Value, hits: usize, of: usize) {
        let case = case(expect);
        let mut tally = Tally::default();
        tally.take("nginx/access", &case, Some(event));
        let counts = tally.counts.remove("nginx/access").unwrap_or_default();
        assert_eq!(counts.values().map(|count| count.hits).sum::<usize>(), hits, "{counts:?}");
        assert_eq!(counts.values().map(|count| count.of).sum::<usize>(), of, "{counts:?}");
    }

    #[test]
    fn fields_are_compared_under_our_names() {
        check(
            &json!({"client_ip": "192.0.2.1", "status": 200, "bytes_out": 45, "user": "ann"}),
            &json!({"client_ip": "192.0.2.1", "status": 200, "response_bytes": 46,
                    "principal": "ann"}),
            3,
            4,
        );
    }

    #[test]
    fn an_address_is_compared_in_its_shortest_spelling() {
        let event = json!({"client_ip": "2001:db8::1"});
        check(&json!({"client_ip": "2001:0DB8:0000::0:1"}), &event, 1, 1);
        check(&json!({"client_ip": "2001:0DB8:0000::0:2"}), &event, 0, 1);
    }

    #[test]
    fn a_dash_means_absent_and_is_not_compared() {
        check(&json!({"user": "-", "referrer": "-"}), &json!({}), 0, 0);
    }

    #[test]
    fn the_start_counts_as_the_time_where_the_log_gives_it() {
        let time = "2018-01-19T10:01:02.000Z";
        check(&json!({"time": time}), &json!({"started_at": time, "event_time": "later"}), 1, 1);
        check(&json!({"time": time}), &json!({"event_time": time}), 1, 1);
    }

    #[test]
    fn a_referrer_is_host_and_path_and_a_query_its_keys() {
        assert_eq!(
            wanted("referrer", &json!("https://a.example:80/b?c=d#e")).unwrap(),
            "a.example/b"
        );
        assert_eq!(keys("opts=1&amp;cmd=2&cmd=3"), "cmd&opts");
        assert_eq!(keys("/c dir c:"), "*");
        assert_eq!(found("query", &json!({"query_keys": ["opts", "cmd"]})), ["cmd&opts"]);
        assert_eq!(decoded("/A%20B/%D0%A0%zz"), "/A B/Р%zz");
    }

    #[test]
    fn dead_letters_of_built_formats_show_their_client_alone_and_others_do_not_count() {
        let inside = json!({"reason": "format", "client_ip": "192.0.2.1"});
        let dead = json!({"dead_letter": inside, "line": "a line"});
        check(&json!({"status": 200, "client_ip": "192.0.2.1"}), &dead, 1, 2);
        let mut tally = Tally::default();
        let case = case(&json!({"status": 200}));
        tally.take("squid/access", &case, Some(&dead));
        assert!(tally.counts.is_empty());
    }

    #[test]
    fn a_line_without_an_answer_is_lost() {
        assert_eq!(answers(vec![json!({})], 2), [Some(json!({})), None]);
        let mut tally = Tally::default();
        let case = case(&json!({}));
        tally.take("nginx/access", &case, None);
        assert_eq!(tally.lost, 1);
    }
}
