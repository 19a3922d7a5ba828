//! Lines of load balancers, edges and collectors, and what they come to.

use super::{Expect, Parsed, Reason, Settings, event, expect, parser, read, shown};
use super::{PLACE, SEEN};

#[track_caller]
fn check(line: &str, expected: &Expect) {
    expected.assert_eq(&shown(&event(line)));
}

/// What each line of a record came to, in short.
fn all(record: &[u8]) -> String {
    let Parsed::Bundle(all) = read(Settings::default(), record) else { panic!("no bundle") };
    let told = |parsed: &Parsed| match parsed {
        Parsed::Events(events) => shown(&events[0]),
        Parsed::DeadLetter(letter) => format!("{:?} {}", letter.reason, letter.detail),
        other => format!("{other:?}"),
    };
    all.iter().map(told).collect::<Vec<_>>().join("\n--\n")
}

#[test]
fn alb_served_and_refusing() {
    check(
        r#"h2 2026-11-20T08:00:00.123456Z app/edge/50dc 203.0.113.9:46532 10.0.0.66:9000 0.001 0.010 0.001 200 200 34 366 "GET https://api.example:443/v1/a?b=c HTTP/2.0" "curl/8.5" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 arn:aws:elasticloadbalancing:x:targetgroup/shop/73e2 "Root=1-58337262-36d228ad5d99923122bbe354" "api.example" "arn:aws:acm:x:certificate/1" 1 2026-11-20T08:00:00.111000Z "waf,forward" "-" "-" "10.0.0.66:9000" "200" "-" "-""#,
        &expect![[r#"
            attrs {"load_balancer":"app/edge/50dc","rule_priority":"1"}
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 12000
            event_time "2026-11-20T08:00:00.123Z"
            format "alb"
            host "api.example"
            http_version "2.0"
            method "GET"
            path "/v1/a"
            peer_ip "203.0.113.9"
            query_keys ["b"]
            request_bytes 34
            response_bytes 366
            scheme "https"
            service "api.example"
            service_instance "10.0.0.66:9000"
            started_at "2026-11-20T08:00:00.111Z"
            status 200
            tls_version "TLSv1.2"
            trace_id "1-58337262-36d228ad5d99923122bbe354"
            upstream_status 200
            user_agent "curl/8.5""#]],
    );
    check(
        r#"http 2026-11-20T08:00:00.123456Z app/edge/50dc 203.0.113.9:46532 - -1 -1 -1 403 - 34 118 "GET http://api.example:80/?q=1 HTTP/1.1" "x" - - - "Root=1-58337262-36d228ad5d99923122bbe354" "-" "-" 0 2026-11-20T08:00:00.121000Z "waf" "-" "-" "-" "-" "-" "-""#,
        &expect![[r#"
            attrs {"load_balancer":"app/edge/50dc","rule_priority":"0"}
            auth_kind "unknown"
            blocked_by "aws:waf"
            client_ip "203.0.113.9"
            duration_us 2000
            event_time "2026-11-20T08:00:00.123Z"
            format "alb"
            host "api.example"
            http_version "1.1"
            method "GET"
            path "/"
            peer_ip "203.0.113.9"
            query_keys ["q"]
            request_bytes 34
            response_bytes 118
            scheme "http"
            service "api.example"
            started_at "2026-11-20T08:00:00.121Z"
            status 403
            trace_id "1-58337262-36d228ad5d99923122bbe354"
            user_agent "x""#]],
    );
}

#[test]
fn the_classic_load_balancer() {
    check(
        r#"2026-11-20T08:00:00.123456Z my-elb 203.0.113.9:2817 10.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 "GET http://www.example.com:80/ HTTP/1.1" "curl/7.38.0" - -"#,
        &expect![[r#"
            attrs {"load_balancer":"my-elb"}
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 1178
            event_time "2026-11-20T08:00:00.123Z"
            format "alb"
            host "www.example.com"
            http_version "1.1"
            method "GET"
            path "/"
            peer_ip "203.0.113.9"
            request_bytes 0
            response_bytes 29
            service "www.example.com"
            service_instance "10.0.0.1:80"
            status 200
            upstream_status 200
            user_agent "curl/7.38.0""#]],
    );
}

#[test]
fn iis_and_cloudfront() {
    check(
        "2026-11-20 08:00:00 10.0.0.1 GET /a/b q=1 443 ann 203.0.113.9 Mozilla/4.0+(compatible) https://s.example/x 404 13 0 46",
        &expect![[r#"
            auth_kind "basic"
            blocked_by "iis:request-filtering"
            client_ip "203.0.113.9"
            duration_us 46000
            event_time "2026-11-20T08:00:00.000Z"
            format "iis"
            method "GET"
            path "/a/b"
            peer_ip "203.0.113.9"
            principal "ann"
            query_keys ["q"]
            referrer "s.example/x"
            scheme "https"
            status 404
            user_agent "Mozilla/4.0 (compatible)""#]],
    );
    check(
        "2026-11-20\t08:00:00\tFRA2\t392\t203.0.113.9\tGET\td111.cloudfront.net\t/index.html\t200\t-\tMozilla/5.0%20(x)\tq=1\t-\tHit\tSOX4xwn4XV6Q4rgb7XiVGOHms\tapi.example\thttps\t23\t0.001\t-\tTLSv1.2\tECDHE\tHit\tHTTP/2.0\t-\t-\t11040\t0.001\tHit\ttext/html\t78\t-\t-",
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 1000
            event_time "2026-11-20T08:00:00.000Z"
            format "cloudfront"
            host "api.example"
            http_version "2.0"
            method "GET"
            path "/index.html"
            peer_ip "203.0.113.9"
            query_keys ["q"]
            request_bytes 23
            request_id "h:54f1f8f64bd9976fadf565b73f6baa4c"
            response_bytes 392
            scheme "https"
            service "api.example"
            status 200
            tls_version "TLSv1.2"
            user_agent "Mozilla/5.0 (x)""#]],
    );
}

#[test]
fn a_path_that_stands_decoded_beside_its_query_is_whole() {
    let event = event(
        "2026-11-20 08:00:00 10.0.0.1 GET /a${#b}.action q=1 443 - 203.0.113.9 x - 404 0 2 46",
    );
    assert_eq!(event.path.as_deref(), Some("/a${#b}.action"));
    assert_eq!(event.query_keys, Some(vec!["q".into()]));
}

#[test]
fn columns_are_those_of_the_last_directive() {
    let mut parser = parser(Settings::default());
    let directive = b"#Fields: date time cs-method cs-uri-stem c-ip sc-status cs(X-Forwarded-For)";
    assert!(matches!(parser.line(directive, PLACE, SEEN), Parsed::Directive(_)));
    let line = b"2026-11-20 08:00:00 GET /a 203.0.113.9 200 198.51.100.4";
    let Parsed::Events(events) = parser.line(line, PLACE, SEEN) else { panic!() };
    assert_eq!(events[0].path.as_deref(), Some("/a"));
    assert_eq!(events[0].client_ip.as_deref(), Some("203.0.113.9"));
    let wrapped = br##"{"message":"#Fields: date time c-ip cs-method cs-uri-stem"}"##;
    assert!(matches!(parser.line(wrapped, PLACE, SEEN), Parsed::Directive(_)));
    let line = b"2026-11-20 08:00:00 203.0.113.9 GET /b";
    let Parsed::Events(events) = parser.line(line, PLACE, SEEN) else { panic!() };
    assert_eq!(events[0].path.as_deref(), Some("/b"));
}

#[test]
fn kong_served_and_refusing() {
    check(
        r#"{"started_at":1795161600000,"client_ip":"203.0.113.9","request":{"method":"GET","uri":"/a?b=c","url":"https://api.example:8443/a?b=c","size":120,"headers":{"user-agent":"x","host":"api.example","authorization":"Bearer abcdef0123456789"},"querystring":{"b":"c"},"tls":{"version":"TLSv1.3"}},"upstream_uri":"/a","response":{"status":200,"size":700,"headers":{"server":"k"}},"latencies":{"request":12,"proxy":10,"kong":2},"consumer":{"username":"ann","id":"80f7"},"route":{"name":"pets","paths":["/a"]},"service":{"name":"shop","host":"shop.local"},"tries":[{"ip":"10.0.0.1","port":80,"balancer_latency":0}],"workspace":"c6ea","workspace_name":"default"}"#,
        &expect![[r#"
            attrs {"route":"pets"}
            auth_kind "api_key"
            client_ip "203.0.113.9"
            duration_us 12000
            event_time "2026-11-20T08:00:00.012Z"
            format "kong"
            host "api.example"
            method "GET"
            path "/a"
            principal "ann"
            query_keys ["b"]
            request_bytes 120
            response_bytes 700
            service "shop"
            started_at "2026-11-20T08:00:00.000Z"
            status 200
            tls_version "TLSv1.3"
            token_id "h:08eb7e8a71aa6c175570e50f008a7cc2"
            upstream_status 200
            user_agent "x""#]],
    );
    check(
        r#"{"started_at":1795161600000,"client_ip":"203.0.113.9","request":{"method":"GET","uri":"/a","size":120,"headers":{"host":"api.example"}},"response":{"status":429,"size":41},"latencies":{"request":1,"proxy":-1,"kong":1},"tries":[]}"#,
        &expect![[r#"
            auth_kind "none"
            blocked_by "kong"
            client_ip "203.0.113.9"
            duration_us 1000
            event_time "2026-11-20T08:00:00.001Z"
            format "kong"
            host "api.example"
            method "GET"
            path "/a"
            request_bytes 120
            response_bytes 41
            service "api.example"
            started_at "2026-11-20T08:00:00.000Z"
            status 429"#]],
    );
}

#[test]
fn api_gateway_rest_and_refusing() {
    check(
        r#"{"requestId":"e9","ip":"203.0.113.9","caller":"-","user":"-","requestTime":"20/Nov/2026:08:00:00 +0000","httpMethod":"GET","resourcePath":"/pets/{id}","path":"/prod/pets/7","status":"200","protocol":"HTTP/1.1","responseLength":"5","responseLatency":"40","integrationStatus":"200","integrationLatency":"35","stage":"prod","authorizer":{"principalId":"ann"},"userAgent":"x"}"#,
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 40000
            environment "prod"
            event_time "2026-11-20T08:00:00.040Z"
            format "api_gateway"
            http_version "1.1"
            method "GET"
            path "/prod/pets/7"
            principal "ann"
            request_id "e9"
            response_bytes 5
            route "/pets/{id}"
            route_source "gateway"
            started_at "2026-11-20T08:00:00.000Z"
            status 200
            upstream_status 200
            user_agent "x""#]],
    );
    check(
        r#"{"requestId":"e9","ip":"203.0.113.9","requestTimeEpoch":1795161600000,"httpMethod":"GET","routeKey":"GET /pets/{id}","status":"429","integrationStatus":"-","error":{"responseType":"THROTTLED"}}"#,
        &expect![[r#"
            auth_kind "unknown"
            blocked_by "apigateway:throttle"
            client_ip "203.0.113.9"
            event_time "2026-11-20T08:00:00.000Z"
            format "api_gateway"
            method "GET"
            request_id "e9"
            route "/pets/{id}"
            route_source "gateway"
            status 429"#]],
    );
}

#[test]
fn ecs_of_filebeat() {
    check(
        r#"{"@timestamp":"2026-11-20T08:00:00.5Z","ecs":{"version":"8.0.0"},"source":{"ip":"203.0.113.9","address":"203.0.113.9"},"http":{"request":{"method":"GET","referrer":"https://s.example/"},"response":{"status_code":200,"body":{"bytes":5}},"version":"1.1"},"url":{"path":"/a","original":"/a?b=c"},"user_agent":{"original":"x"},"service":{"type":"nginx"},"host":{"name":"edge-1"}}"#,
        &expect![[r#"
            attrs {"host.name":"edge-1","service.type":"nginx"}
            auth_kind "unknown"
            client_ip "203.0.113.9"
            event_time "2026-11-20T08:00:00.500Z"
            format "ecs"
            http_version "1.1"
            method "GET"
            path "/a"
            peer_ip "203.0.113.9"
            query_keys ["b"]
            referrer "s.example/"
            response_bytes 5
            status 200
            user_agent "x""#]],
    );
}

#[test]
fn envoy_gateway_and_istio_json_name_their_route() {
    check(
        r#"{"start_time":"2026-11-20T08:00:00.479Z","method":"GET","x-envoy-origin-path":"/v1/a","protocol":"HTTP/1.1","response_code":503,"response_flags":"UF","response_code_details":"upstream_reset_before_response_started","bytes_received":0,"bytes_sent":91,"duration":3,"x-envoy-upstream-service-time":null,"x-forwarded-for":"203.0.113.9","user-agent":"x","x-request-id":"3bbc","authority":"www.example.com","upstream_host":"10.0.0.1:80","upstream_cluster":"httproute/default/backend/rule/0","route_name":"httproute/default/backend/rule/0/match/0/www_example_com","downstream_remote_address":"203.0.113.9:59292"}"#,
        &expect![[r#"
            attrs {"route":"httproute/default/backend/rule/0/match/0/www_example_com"}
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 3000
            event_time "2026-11-20T08:00:00.482Z"
            format "envoy_json"
            host "www.example.com"
            http_version "1.1"
            method "GET"
            path "/v1/a"
            peer_ip "203.0.113.9"
            request_bytes 0
            request_id "3bbc"
            response_bytes 91
            service "www.example.com"
            service_instance "10.0.0.1:80"
            started_at "2026-11-20T08:00:00.479Z"
            status 503
            user_agent "x""#]],
    );
}

#[test]
fn otlp_with_conventions_and_with_a_line_in_its_body() {
    let attributes = r#"{"key":"http.request.method","value":{"stringValue":"GET"}},{"key":"url.path","value":{"stringValue":"/v1/a"}},{"key":"url.query","value":{"stringValue":"b=c"}},{"key":"http.response.status_code","value":{"intValue":"200"}},{"key":"client.address","value":{"stringValue":"203.0.113.9"}},{"key":"user_agent.original","value":{"stringValue":"x"}},{"key":"http.route","value":{"stringValue":"/v1/{id}"}}"#;
    let line = r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] \"GET / HTTP/1.1\" 200 5"#;
    let record = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"1795161600123456789","attributes":[{attributes}]}},{{"timeUnixNano":"1795161600123456789","body":{{"stringValue":"{line}"}}}},{{"body":{{"stringValue":"hello"}}}}]}}]}}]}}"#
    );
    expect![[r#"
        auth_kind "unknown"
        client_ip "203.0.113.9"
        event_time "2026-11-20T08:00:00.123Z"
        format "otlp"
        method "GET"
        path "/v1/a"
        query_keys ["b"]
        route "/v1/{id}"
        route_source "gateway"
        service "shop"
        status 200
        user_agent "x"
        --
        auth_kind "unknown"
        client_ip "203.0.113.9"
        event_time "2026-11-20T08:00:00.000Z"
        format "common"
        http_version "1.1"
        method "GET"
        path "/"
        peer_ip "203.0.113.9"
        response_bytes 5
        status 200
        --
        UnknownFormat JSON without a request or a status under any known name; name them in `mapping`"#]].assert_eq(&all(record.as_bytes()));
    let bare = record.strip_prefix("{\"resourceLogs\":").unwrap().strip_suffix('}').unwrap();
    assert_eq!(all(bare.as_bytes()), all(record.as_bytes()));
}

#[test]
fn otlp_as_protobuf() {
    expect![[r#"
        attrs {"body":"said \"so\""}
        auth_kind "unknown"
        event_time "2026-11-20T08:00:00.123Z"
        format "otlp"
        method "GET"
        service "shop"
        status 200
        trace_id "0af7651916cd43dd8448eb211c80319c""#]]
    .assert_eq(&all(&crate::otlp::tests::request()));
}

#[test]
fn each_line_of_a_record_has_its_own_origin() {
    let line = r#"{"time":"2026-11-20T08:00:00Z","remote_addr":"203.0.113.9","method":"GET","uri":"/a","status":200}"#;
    let record = format!("[{line},{{\"x\":1}},{line},\"cut");
    let Parsed::Bundle(all) = read(Settings::default(), record.as_bytes()) else { panic!() };
    let ids: Vec<String> = all
        .iter()
        .map(|parsed| match parsed {
            Parsed::Events(events) => events[0].event_id.clone().unwrap().into_owned(),
            Parsed::DeadLetter(letter) => {
                format!("{:?} {}", letter.reason, letter.origin.as_ref().unwrap().index)
            }
            other => format!("{other:?}"),
        })
        .collect();
    let id = |index| schemas::event_id_of("t", 0, 0, index);
    let dead = |reason: Reason, index| format!("{reason:?} {index}");
    let expected = [id(0), dead(Reason::UnknownFormat, 1), id(2), dead(Reason::BadEnvelope, 3)];
    assert_eq!(ids, expected);
}
