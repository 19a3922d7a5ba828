//! What a format makes of a line, for people.
//!
//! Owns: the names in a line beside the columns that they fill. Never: values.

use crate::bundle;
use crate::clean;
use crate::detect::{Guess, Survey};
use crate::envelope;
use crate::format::{Aliases, Format, Layout, Template, column_of};
use crate::parser;
use crate::read::json::{Object, Value};
use crate::settings::Settings;

/// Levels of nested names that are shown.
const DEPTH_MAX: usize = 4;

/// Every format that fits any of these lines, the best first.
#[must_use]
pub fn guesses(lines: &[&[u8]]) -> Vec<Guess> {
    Survey::of(lines, &mut parser::desk(&Settings::default())).guesses()
}

/// The names that a line gives to its parts and the columns that they fill, in the line's order;
/// `attrs` where a name is kept beside the columns, nothing where it is not used.
#[must_use]
pub fn mapping(line: &[u8], guess: &Guess) -> Vec<(String, Option<&'static str>)> {
    let bundle = bundle::open(line);
    let first = bundle.as_ref().and_then(|bundle| bundle.lines.first());
    let text = clean::text(first.map_or(line, |first| first.as_bytes()));
    let Some(line) = envelope::open_all(&text, guess.envelopes) else { return Vec::new() };
    let owned = |(name, column): (&str, Option<&'static str>)| (name.to_owned(), column);
    if guess.format.is_json() {
        let mut names = Vec::new();
        of_json(&line, "", guess.format, &mut names);
        return names;
    }
    match guess.format {
        Format::Iis | Format::CloudFront => {
            let edge = guess.format == Format::CloudFront;
            let names = Layout::usual(edge, line.split(' ').count()).unwrap_or_default();
            Layout::columns_of(names).into_iter().map(owned).collect()
        }
        Format::Traefik => TRAEFIK.iter().map(|(name, column)| owned((name, *column))).collect(),
        Format::Alb => ALB.iter().map(|(name, column)| owned((name, *column))).collect(),
        format => match written(format).parse::<Template>() {
            Ok(template) => template.columns().into_iter().map(owned).collect(),
            Err(_unwritten) => Vec::new(),
        },
    }
}

fn of_json(
    text: &str,
    above: &str,
    format: Format,
    names: &mut Vec<(String, Option<&'static str>)>,
) {
    let Some(mut object) = Object::open(text) else { return };
    while let Some((key, value)) = object.next() {
        let name = match above {
            "" => key.read().into_owned(),
            above => format!("{above}.{}", key.read()),
        };
        let own = schemas::Field::named(&name).filter(|_| format == Format::Tidegate);
        match value {
            Value::Object(inner) if name.matches('.').count() < DEPTH_MAX && own.is_none() => {
                of_json(inner, &name, format, names);
            }
            _ => {
                let column = match own {
                    Some(field) => Some(field.name()),
                    None => column_of(Aliases::ours().meaning(&name)),
                };
                names.push((name, column));
            }
        }
    }
}

/// A text format in the language of the gateway that writes it.
fn written(format: Format) -> &'static str {
    match format {
        Format::Combined => {
            "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
             \"$http_referer\" \"$http_user_agent\" \"$http_x_forwarded_for\""
        }
        Format::Common => {
            "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent"
        }
        Format::VhostCombined => {
            "$host $remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
             \"$http_referer\" \"$http_user_agent\""
        }
        Format::IngressNginx => {
            "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
             \"$http_referer\" \"$http_user_agent\" $request_length $request_time \
             [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr \
             $upstream_response_length $upstream_response_time $upstream_status $req_id"
        }
        Format::Envoy => {
            "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
             %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
             %REQ(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \
             \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\""
        }
        Format::Haproxy => {
            "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc \
             %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r"
        }
        Format::SslRequest => "%t %h %{SSL_PROTOCOL}x %{SSL_CIPHER}x \"%r\" %b",
        _ => "",
    }
}

type Named = (&'static str, Option<&'static str>);

const TRAEFIK: &[Named] = &[
    ("ClientHost", Some("peer_ip")),
    ("ClientUsername", Some("principal")),
    ("StartUTC", Some("started_at")),
    ("RequestLine", Some("method, path, query_keys, http_version")),
    ("DownstreamStatus", Some("status")),
    ("DownstreamContentSize", Some("response_bytes")),
    ("request_Referer", Some("referrer")),
    ("request_User-Agent", Some("user_agent")),
    ("RequestCount", None),
    ("RouterName", Some("attrs")),
    ("ServiceURL", Some("blocked_by")),
    ("Duration", Some("duration_us")),
];

const ALB: &[Named] = &[
    ("type", Some("scheme")),
    ("time", Some("event_time")),
    ("elb", Some("attrs")),
    ("client:port", Some("peer_ip")),
    ("target:port", Some("service_instance")),
    ("*_processing_time", Some("duration_us")),
    ("elb_status_code", Some("status")),
    ("target_status_code", Some("upstream_status")),
    ("received_bytes", Some("request_bytes")),
    ("sent_bytes", Some("response_bytes")),
    ("request", Some("method, path, query_keys, http_version")),
    ("user_agent", Some("user_agent")),
    ("ssl_protocol", Some("tls_version")),
    ("trace_id", Some("trace_id")),
    ("domain_name", Some("host")),
    ("matched_rule_priority", Some("attrs")),
    ("request_creation_time", Some("started_at")),
    ("actions_executed", Some("blocked_by")),
];

#[cfg(test)]
mod tests {
    use super::{Format, guesses, mapping, written};

    #[test]
    fn the_best_guess_stands_first_and_names_are_shown_with_their_columns() {
        let line = br#"{"message":"{\"ts\":\"2026-11-20T08:00:00Z\",\"client\":{\"ip\":\"203.0.113.9\"},\"request\":\"GET / HTTP/1.1\",\"status\":200,\"shoe\":43,\"pid\":1}"}"#;
        let guesses = guesses(&[line]);
        assert_eq!((guesses[0].format, guesses[0].envelopes), (Format::Json, 1));
        let shown: Vec<String> = mapping(line, &guesses[0])
            .into_iter()
            .map(|(name, column)| format!("{name} → {}", column.unwrap_or("–")))
            .collect();
        assert_eq!(
            shown,
            [
                "ts → event_time",
                "client.ip → client_ip",
                "request → method, path, query_keys, http_version",
                "status → status",
                "shoe → attrs",
                "pid → –"
            ]
        );
    }

    #[test]
    fn runners_up_are_shown_too() {
        let line = br#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x" 89 0.001 [a-b-80] [] 10.0.0.5:80 5 0.000 200 abc"#;
        let formats: Vec<Format> = guesses(&[line]).iter().map(|guess| guess.format).collect();
        assert_eq!(formats, [Format::IngressNginx, Format::Combined]);
    }

    #[test]
    fn every_text_format_is_written_in_a_language_that_compiles() {
        use crate::format::Template;
        for format in Format::ALL.into_iter().filter(|format| !written(*format).is_empty()) {
            let template = written(format).parse::<Template>();
            assert!(template.is_ok(), "{}: {template:?}", format.name());
        }
    }
}
