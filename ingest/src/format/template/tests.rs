use expect_test::{Expect, expect};

use super::Template;
use crate::keys::Keys;
use crate::parser::{Parsed, Parser, Place};
use crate::settings::{Choice, Settings};

/// The event that a line comes to, in short, or the detail of its dead letter.
fn told(template: &str, line: &str) -> String {
    let format: Choice = match template.parse() {
        Ok(choice) => choice,
        Err(error) => return error.to_string(),
    };
    let settings = Settings { format, keep_line: false, ..Settings::default() };
    let mut parser = Parser::new(settings, Keys::new([3; 16]));
    let place = Place { topic: "t", partition: 0, offset: 0 };
    match parser.line(line.as_bytes(), place, schemas::EventTime(0)) {
        Parsed::Events(events) => {
            let mut columns = serde_json::to_value(&events[0]).unwrap();
            let columns = columns.as_object_mut().unwrap();
            let plain = ["event_id", "observed_time", "sensor", "direction", "format"];
            for name in plain.into_iter().chain(["url_param_kind", "attack_class", "query_keys"]) {
                columns.remove(name);
            }
            let shown: Vec<String> = columns.iter().map(|(n, v)| format!("{n} {v}")).collect();
            shown.join("\n")
        }
        Parsed::DeadLetter(letter) => letter.detail.clone(),
        other => format!("{other:?}"),
    }
}

#[track_caller]
fn check(template: &str, line: &str, expected: &Expect) {
    expected.assert_eq(&told(template, line));
}

#[test]
fn nginx_copied_out_of_its_configuration() {
    check(
        r#"log_format main '$remote_addr - $remote_user [$time_local] "$request" '
            '$status $body_bytes_sent rt=$request_time us="$upstream_status" ua="$http_user_agent" '
            'up=$upstream_addr tenant=$http_x_tenant_id shop=$my_shop';"#,
        r#"203.0.113.9 - ann [20/Nov/2026:08:00:00 +0000] "GET /v1/a?b=c HTTP/1.1" 200 5 rt=0.012 us="502, 200" ua="cu\"rl" up=10.0.0.1:80, 10.0.0.2:80 tenant=t1 shop=7"#,
        &expect![[r#"
            attrs {"my_shop":"7"}
            auth_kind "basic"
            client_ip "203.0.113.9"
            duration_us 12000
            event_time "2026-11-20T08:00:00.000Z"
            http_version "1.1"
            method "GET"
            path "/v1/a"
            peer_ip "203.0.113.9"
            principal "ann"
            response_bytes 5
            service_instance "10.0.0.1:80, 10.0.0.2:80"
            status 200
            tenant "t1"
            upstream_status 200
            user_agent "cu\\\"rl""#]],
    );
}

#[test]
fn nginx_without_quotes_around_the_request() {
    check(
        "$time_iso8601 $remote_addr $request $status",
        "2026-11-20T08:00:00+00:00 203.0.113.9 GET /a b HTTP/1.1 404",
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            event_time "2026-11-20T08:00:00.000Z"
            http_version "1.1"
            method "GET"
            path "/a b"
            peer_ip "203.0.113.9"
            status 404"#]],
    );
}

#[test]
fn json_of_nginx_by_its_own_names() {
    check(
        r#"{"wer":"$remote_addr","wann":"$time_iso8601","was":"$request","wie":$status,"q":{"ua":"$http_user_agent"}}"#,
        r#"{"wer":"203.0.113.9","wann":"2026-11-20T08:00:00+00:00","was":"GET / HTTP/1.1","wie":200,"q":{"ua":"x"}}"#,
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            event_time "2026-11-20T08:00:00.000Z"
            http_version "1.1"
            method "GET"
            path "/"
            peer_ip "203.0.113.9"
            status 200
            user_agent "x""#]],
    );
}

#[test]
fn envoy_with_its_own_order() {
    check(
        r#"[%START_TIME%] %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DURATION% "%REQ(USER-AGENT)%" "%REQ(:AUTHORITY)%""#,
        r#"[2026-11-20T08:00:00.310Z] 203.0.113.9 "POST /v1?a=b HTTP/2" 403 UAEX ext_authz_denied 12 "x" "api.example""#,
        &expect![[r#"
            auth_kind "unknown"
            blocked_by "envoy:ext_authz"
            client_ip "203.0.113.9"
            duration_us 12000
            event_time "2026-11-20T08:00:00.322Z"
            host "api.example"
            http_version "2.0"
            method "POST"
            path "/v1"
            service "api.example"
            started_at "2026-11-20T08:00:00.310Z"
            status 403
            user_agent "x""#]],
    );
}

#[test]
fn apache_with_spans_and_headers() {
    check(
        r#"LogFormat "%v %a %l %u %t \"%r\" %>s %O %{ms}T \"%{User-Agent}i\" %{X-Request-Id}o" mine"#,
        r#"api.example 203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /a HTTP/1.1" 200 512 12 "x \"y\"" e9"#,
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 12000
            event_time "2026-11-20T08:00:00.000Z"
            host "api.example"
            http_version "1.1"
            method "GET"
            path "/a"
            request_id "e9"
            response_bytes 512
            service "api.example"
            status 200
            user_agent "x \\\"y\\\"""#]],
    );
}

#[test]
fn haproxy_with_captures() {
    check(
        "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %{+Q}r ua=%{+Q}[capture.req.hdr(0)] %ID",
        r#"203.0.113.9:4000 [20/Nov/2026:08:00:00.726] in docs/d1 0/0/1/0/2 304 168 ---- "GET /c.js?v=1 HTTP/1.1" ua="x" id-1"#,
        &expect![[r#"
            attrs {"b":"docs","capture.req.hdr(0)":"x","tsc":"----"}
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 2000
            event_time "2026-11-20T08:00:00.728Z"
            http_version "1.1"
            method "GET"
            path "/c.js"
            peer_ip "203.0.113.9"
            request_id "id-1"
            response_bytes 168
            service_instance "d1"
            started_at "2026-11-20T08:00:00.726Z"
            status 304"#]],
    );
}

#[test]
fn templates_that_cannot_be_used_say_why() {
    check(
        "$remote_addr$status [$time_local]",
        "",
        &expect![
            "the template cannot be used: `remote_addr` and `status` stand side by side: nothing shows where the first ends; put text between them"
        ],
    );
    check(
        "$remote_adr [$time_local]",
        "",
        &expect![
            "the template cannot be used: `$remote_adr` is no variable of nginx; nearest: remote_addr, remote_port, remote_user"
        ],
    );
    check("%h %Z", "", &expect!["the template cannot be used: `%Z` is no variable of Apache"]);
    check(
        "%START_TIME% %RESPONSE_CDE%",
        "",
        &expect![
            "the template cannot be used: `%RESPONSE_CDE%` is no variable of Envoy; nearest: RESPONSE_CODE"
        ],
    );
    check(
        "%START_TIME% %REQ(:PATH%",
        "",
        &expect!["the template cannot be used: `%REQ` does not end; it needs `)`"],
    );
    check(
        "$remote_addr $status",
        "",
        &expect!["the template cannot be used: no variable gives the time; add `[$time_local]`"],
    );
    check(
        "100 %%",
        "",
        &expect![
            "the template cannot be used: no variable stands in it; write one as nginx (`$remote_addr`), Envoy (`%START_TIME%`), Apache (`%h`) or HAProxy (`%ci`) does"
        ],
    );
    check(
        "combind",
        "",
        &expect![
            "`combind` is no log format (`combined`?); take auto, a template, or one of tidegate, otlp, traefik_json, caddy, kong, api_gateway, envoy_json, ecs, ingress_nginx, traefik, envoy, haproxy, alb, cloudfront, iis, apache_ssl_request, vhost_combined, combined, common, json"
        ],
    );
}

#[test]
fn a_line_that_is_not_as_the_template_says_so() {
    let template = "$remote_addr [$time_local] $status";
    check(
        template,
        "203.0.113.9 [20/Nov/2026:08:00:00 +0000]",
        &expect!["not as the input's template: the text between two values is another"],
    );
    check(template, "203.0.113.9 [soon] 200", &expect!["`time_local` has a value of another kind"]);
    check(template, "hello", &expect!["not as the input's template: a value does not end"]);
}

#[test]
fn the_users_names_go_before_ours() {
    let template: Template = "$remote_addr [$time_local] $kunde".parse().unwrap();
    let columns = template.columns();
    assert_eq!(
        columns,
        [
            ("remote_addr", Some("peer_ip")),
            ("time_local", Some("event_time")),
            ("kunde", Some("attrs"))
        ]
    );
    let mapping = crate::format::Mapping::new([("kunde", "principal")]).unwrap();
    let columns = template.mapped(&mapping);
    assert_eq!(columns.columns()[2], ("kunde", Some("principal")));
}
