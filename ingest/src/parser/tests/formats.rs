//! A line of each format, and what it comes to.

use super::{Expect, Settings, event, expect, read, shown};
use crate::parser::Parsed;

#[track_caller]
fn check(line: &str, expected: &Expect) {
    expected.assert_eq(&shown(&event(line)));
}

#[test]
fn nginx_combined() {
    check(
        r#"203.0.113.9 - ann [20/Nov/2026:08:00:00 +0100] "GET /v1/a%20b?q=1&next=http%3A%2F%2F10.0.0.1 HTTP/2.0" 200 571 "https://Shop.example/x?y=z" "curl/8.5""#,
        &expect![[r#"
            auth_kind "basic"
            client_ip "203.0.113.9"
            event_time "2026-11-20T07:00:00.000Z"
            format "combined"
            http_version "2.0"
            method "GET"
            path "/v1/a%20b"
            peer_ip "203.0.113.9"
            principal "ann"
            query_keys ["q","next"]
            referrer "shop.example/x"
            response_bytes 571
            status 200
            url_param_kind "private"
            user_agent "curl/8.5""#]],
    );
}

#[test]
fn nginx_main_with_forwarded_for() {
    check(
        r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "POST /v1/login HTTP/1.1" 401 12 "-" "okhttp/4.12.0" "198.51.100.4""#,
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            event_time "2026-11-20T08:00:00.000Z"
            format "combined"
            http_version "1.1"
            method "POST"
            path "/v1/login"
            peer_ip "203.0.113.9"
            response_bytes 12
            status 401
            user_agent "okhttp/4.12.0""#]],
    );
}

#[test]
fn apache_common_and_a_request_that_never_came() {
    check(
        r#"::1 - - [20/Nov/2026:08:00:00 +0000] "-" 408 -"#,
        &expect![[r#"
        auth_kind "unknown"
        client_ip "::1"
        event_time "2026-11-20T08:00:00.000Z"
        format "common"
        peer_ip "::1"
        status 408"#]],
    );
}

#[test]
fn a_request_that_is_none() {
    check(
        r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "\x16\x03\x01\x02\x00" 400 157 "-" "-""#,
        &expect![[r#"
            attack_class ["protocol"]
            auth_kind "unknown"
            client_ip "203.0.113.9"
            event_time "2026-11-20T08:00:00.000Z"
            format "combined"
            peer_ip "203.0.113.9"
            response_bytes 157
            status 400"#]],
    );
}

#[test]
fn vhost_combined() {
    check(
        r#"API.Example.com:443 203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /hello HTTP/1.1" 404 499 "-" "x""#,
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            event_time "2026-11-20T08:00:00.000Z"
            format "vhost_combined"
            host "api.example.com"
            http_version "1.1"
            method "GET"
            path "/hello"
            peer_ip "203.0.113.9"
            response_bytes 499
            service "api.example.com"
            status 404
            user_agent "x""#]],
    );
}

#[test]
fn apache_ssl_request_log() {
    check(
        r#"[20/Nov/2026:08:00:00 +0200] 203.0.113.9 TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 "GET /a?b=c HTTP/1.1" 1375"#,
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            event_time "2026-11-20T06:00:00.000Z"
            format "apache_ssl_request"
            http_version "1.1"
            method "GET"
            path "/a"
            peer_ip "203.0.113.9"
            query_keys ["b"]
            response_bytes 1375
            scheme "https"
            tls_version "TLSv1.2""#]],
    );
}

#[test]
fn ingress_nginx() {
    check(
        r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /v2/some HTTP/1.1" 200 61 "-" "x" 348 0.104 [default-web-8080] [] 10.0.0.6:8080, 10.0.0.7:8080 61, 100 0.100, 0.004 502, 200 835136ae24486dbb4156dcbe21f5d402"#,
        &expect![[r#"
            attrs {"upstream":"default-web-8080"}
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 104000
            event_time "2026-11-20T08:00:00.000Z"
            format "ingress_nginx"
            http_version "1.1"
            method "GET"
            path "/v2/some"
            peer_ip "203.0.113.9"
            request_bytes 348
            request_id "835136ae24486dbb4156dcbe21f5d402"
            response_bytes 61
            status 200
            upstream_status 200
            user_agent "x""#]],
    );
}

#[test]
fn ingress_nginx_refusing() {
    check(
        r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /v2 HTTP/1.1" 403 146 "-" "x" 348 0.000 [default-web-8080] [] - - - - 835136ae24486dbb4156dcbe21f5d402"#,
        &expect![[r#"
            attrs {"upstream":"default-web-8080"}
            auth_kind "unknown"
            blocked_by "nginx"
            client_ip "203.0.113.9"
            duration_us 0
            event_time "2026-11-20T08:00:00.000Z"
            format "ingress_nginx"
            http_version "1.1"
            method "GET"
            path "/v2"
            peer_ip "203.0.113.9"
            request_bytes 348
            request_id "835136ae24486dbb4156dcbe21f5d402"
            response_bytes 146
            status 403
            user_agent "x""#]],
    );
}

#[test]
fn traefik_text() {
    check(
        r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /en/ HTTP/2.0" 200 2814 - "x" 13 "web@docker" "http://172.19.0.6:80" 247ms"#,
        &expect![[r#"
            attrs {"router":"web@docker"}
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 247000
            event_time "2026-11-20T08:00:00.247Z"
            format "traefik"
            http_version "2.0"
            method "GET"
            path "/en/"
            peer_ip "203.0.113.9"
            response_bytes 2814
            started_at "2026-11-20T08:00:00.000Z"
            status 200
            user_agent "x""#]],
    );
}

#[test]
fn traefik_json() {
    check(
        r#"{"ClientAddr":"172.17.0.1:39496","ClientHost":"203.0.113.9","ClientPort":"39496","ClientUsername":"-","DownstreamContentSize":357,"DownstreamStatus":200,"Duration":1357313,"OriginStatus":200,"RequestContentSize":0,"RequestCount":190,"RequestHost":"test.example","RequestMethod":"GET","RequestPath":"/a?b=c\u0026d=e","RequestProtocol":"HTTP/1.1","RequestScheme":"http","RouterName":"test@docker","StartUTC":"2026-11-20T08:00:00.587782192Z","request_User-Agent":"x","time":"2026-11-20T08:00:00Z"}"#,
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 1357
            event_time "2026-11-20T08:00:00.588Z"
            format "traefik_json"
            host "test.example"
            http_version "1.1"
            method "GET"
            path "/a"
            peer_ip "172.17.0.1"
            query_keys ["b","d"]
            request_bytes 0
            response_bytes 357
            scheme "http"
            service "test.example"
            started_at "2026-11-20T08:00:00.587Z"
            status 200
            upstream_status 200
            user_agent "x""#]],
    );
}

#[test]
fn traefik_json_refusing() {
    check(
        r#"{"ClientAddr":"203.0.113.9:39496","ClientHost":"203.0.113.9","DownstreamStatus":403,"Duration":13573,"OriginStatus":0,"RequestCount":191,"RequestMethod":"GET","RequestPath":"/","StartUTC":"2026-11-20T08:00:00.5Z"}"#,
        &expect![[r#"
            auth_kind "unknown"
            blocked_by "traefik"
            client_ip "203.0.113.9"
            duration_us 13
            event_time "2026-11-20T08:00:00.500Z"
            format "traefik_json"
            method "GET"
            path "/"
            peer_ip "203.0.113.9"
            started_at "2026-11-20T08:00:00.500Z"
            status 403"#]],
    );
}

#[test]
fn caddy() {
    check(
        r#"{"level":"info","ts":1795161600.75,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"10.0.0.1","remote_port":"44790","client_ip":"203.0.113.9","proto":"HTTP/2.0","method":"GET","host":"a.example:8080","uri":"/x?y=z","headers":{"User-Agent":["x"],"Referer":["https://r.example/a"]},"tls":{"resumed":false,"version":772,"cipher_suite":4865}},"bytes_read":0,"user_id":"","duration":0.0027,"size":5,"status":200,"resp_headers":{"Server":["Caddy"]}}"#,
        &expect![[r#"
            auth_kind "none"
            client_ip "203.0.113.9"
            duration_us 2700
            event_time "2026-11-20T08:00:00.750Z"
            format "caddy"
            host "a.example"
            http_version "2.0"
            method "GET"
            path "/x"
            peer_ip "10.0.0.1"
            query_keys ["y"]
            referrer "r.example/a"
            request_bytes 0
            response_bytes 5
            scheme "https"
            service "a.example"
            status 200
            tls_version "TLSv1.3"
            user_agent "x""#]],
    );
}

#[test]
fn envoy_text() {
    check(
        r#"[2026-11-20T08:00:00.310Z] "POST /v1/locations?a=b HTTP/2" 204 - 154 0 226 100 "203.0.113.9, 10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "api.example" "tcp://10.0.2.1:80""#,
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 226000
            event_time "2026-11-20T08:00:00.536Z"
            format "envoy"
            host "api.example"
            http_version "2.0"
            method "POST"
            path "/v1/locations"
            query_keys ["a"]
            request_bytes 154
            request_id "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2"
            response_bytes 0
            service "api.example"
            started_at "2026-11-20T08:00:00.310Z"
            status 204
            upstream_status 204
            user_agent "nsq2http""#]],
    );
}

#[test]
fn istio_text_refusing() {
    check(
        r#"[2026-11-20T08:00:00.310Z] "GET / HTTP/1.1" 403 UAEX ext_authz_denied - "-" 0 1564 2 - "-" "x" "id-1" "api.example" "-" inbound|80|| - 10.0.0.2:80 203.0.113.9:5000 - default"#,
        &expect![[r#"
            attrs {"route_name":"default"}
            auth_kind "unknown"
            blocked_by "envoy:ext_authz"
            client_ip "203.0.113.9"
            duration_us 2000
            event_time "2026-11-20T08:00:00.312Z"
            format "envoy"
            host "api.example"
            http_version "1.1"
            method "GET"
            path "/"
            peer_ip "203.0.113.9"
            request_bytes 0
            request_id "id-1"
            response_bytes 1564
            service "api.example"
            started_at "2026-11-20T08:00:00.310Z"
            status 403
            user_agent "x""#]],
    );
}

#[test]
fn envoy_json() {
    check(
        r#"{":authority":"www.example.com","bytes_received":1,"bytes_sent":121258,"downstream_remote_address":"203.0.113.9:59292","duration":11,"method":"GET","protocol":"HTTP/2","response_code":200,"response_code_details":"via_upstream","response_flags":"-","route_name":"r/0","start_time":"2026-11-20T08:00:00.479Z","upstream_host":"10.42.0.82:8080","user-agent":"x","x-envoy-origin-path":"/assets/image.webp?v=1","x-forwarded-for":"203.0.113.9","x-request-id":"3bbc0252"}"#,
        &expect![[r#"
            attrs {"route":"r/0"}
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 11000
            event_time "2026-11-20T08:00:00.490Z"
            format "envoy_json"
            host "www.example.com"
            http_version "2.0"
            method "GET"
            path "/assets/image.webp"
            peer_ip "203.0.113.9"
            query_keys ["v"]
            request_bytes 1
            request_id "3bbc0252"
            response_bytes 121258
            service "www.example.com"
            service_instance "10.42.0.82:8080"
            started_at "2026-11-20T08:00:00.479Z"
            status 200
            upstream_status 200
            user_agent "x""#]],
    );
}

#[test]
fn haproxy_in_syslog() {
    check(
        r#"Nov 20 08:00:01 localhost haproxy[32450]: 203.0.113.9:38862 [20/Nov/2026:08:00:00.726] incoming~ docs/docs1 0/0/1/0/2002 304 168 - - ---- 6/6/0/0/0 0/0 {docs.example||} {|||} "GET /c.js?v=1 HTTP/1.1""#,
        &expect![[r#"
            attrs {"backend":"docs"}
            auth_kind "unknown"
            client_ip "203.0.113.9"
            duration_us 2002000
            event_time "2026-11-20T08:00:02.728Z"
            format "haproxy"
            http_version "1.1"
            method "GET"
            path "/c.js"
            peer_ip "203.0.113.9"
            query_keys ["v"]
            response_bytes 168
            scheme "https"
            started_at "2026-11-20T08:00:00.726Z"
            status 304
            upstream_status 304"#]],
    );
}

#[test]
fn haproxy_refusing() {
    check(
        r#"203.0.113.9:38862 [20/Nov/2026:08:00:00.726] incoming incoming/<NOSRV> 0/-1/-1/-1/0 403 188 - - PR-- 6/6/0/0/0 0/0 "GET /admin HTTP/1.1""#,
        &expect![[r#"
            attrs {"backend":"incoming"}
            auth_kind "unknown"
            blocked_by "haproxy:deny"
            client_ip "203.0.113.9"
            duration_us 0
            event_time "2026-11-20T08:00:00.726Z"
            format "haproxy"
            http_version "1.1"
            method "GET"
            path "/admin"
            peer_ip "203.0.113.9"
            response_bytes 188
            started_at "2026-11-20T08:00:00.726Z"
            status 403"#]],
    );
}

#[test]
fn json_of_nginx() {
    check(
        r#"{"ts":"2026-11-20T08:00:00+00:00","msec":1795161600.123,"req_id":"e9","client_ip":"203.0.113.9","xff":"","method":"GET","scheme":"https","host":"api.example","uri":"/v1/a?b=c","path":"/v1/a","args":"b=c","proto":"HTTP/1.1","status":200,"bytes_in":120,"bytes_out":700,"body_bytes_out":512,"rt":0.012,"urt":"0.010","ua":"x","referer":"","api_key":"k-1","jwt_sub":"ann","trace":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","blocked":"0","ssl":"TLSv1.3","shop":"7"}"#,
        &expect![[r#"
            attrs {"shop":"7"}
            auth_kind "api_key"
            client_ip "203.0.113.9"
            duration_us 12000
            event_time "2026-11-20T08:00:00.123Z"
            format "json"
            host "api.example"
            http_version "1.1"
            method "GET"
            path "/v1/a"
            principal "ann"
            query_keys ["b"]
            request_bytes 120
            request_id "e9"
            response_bytes 512
            scheme "https"
            service "api.example"
            status 200
            tls_version "TLSv1.3"
            token_id "h:313e3877220312e1c26962a5f7240dc7"
            trace_id "0af7651916cd43dd8448eb211c80319c"
            user_agent "x""#]],
    );
}

#[test]
fn json_with_a_request_line_and_a_refusal() {
    check(
        r#"{"time_local":"20/Nov/2026:08:00:00 +0000","remote_addr":"203.0.113.9","remote_user":"bob","request":"POST /v1/session HTTP/1.1","status":"429","upstream_status":"-","body_bytes_sent":"0","request_time":"0.000","http_referer":"-","http_user_agent":"-"}"#,
        &expect![[r#"
            account "bob"
            auth_kind "basic"
            blocked_by "gateway"
            client_ip "203.0.113.9"
            duration_us 0
            event_time "2026-11-20T08:00:00.000Z"
            format "json"
            http_version "1.1"
            method "POST"
            path "/v1/session"
            peer_ip "203.0.113.9"
            principal "bob"
            response_bytes 0
            status 429"#]],
    );
}

#[test]
fn json_of_logstash() {
    check(
        r#"{"timestamp":"20/Nov/2026:08:00:00 +0000","clientip":"203.0.113.9","verb":"GET","request":"/a?b=c","httpversion":"1.1","response":"200","bytes":"571","agent":"x","referrer":"-"}"#,
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            event_time "2026-11-20T08:00:00.000Z"
            format "json"
            http_version "1.1"
            method "GET"
            path "/a"
            query_keys ["b"]
            response_bytes 571
            status 200
            user_agent "x""#]],
    );
}

#[test]
fn json_of_ecs() {
    check(
        r#"{"@timestamp":"2026-11-20T08:00:00.5Z","client":{"ip":"203.0.113.9"},"source":{"ip":"10.0.0.1"},"http":{"request":{"method":"GET"},"response":{"status_code":200,"body":{"bytes":5}},"version":"2"},"url":{"path":"/a","query":"b=c","domain":"api.example"},"user_agent":{"original":"x"},"user":{"name":"ann"},"service":{"name":"shop","version":"1.2"},"event":{"duration":1500000}}"#,
        &expect![[r#"
            auth_kind "basic"
            client_ip "203.0.113.9"
            duration_us 1500
            event_time "2026-11-20T08:00:00.500Z"
            format "ecs"
            host "api.example"
            http_version "2.0"
            method "GET"
            path "/a"
            principal "ann"
            query_keys ["b"]
            response_bytes 5
            service "shop"
            service_version "1.2"
            status 200
            user_agent "x""#]],
    );
}

#[test]
fn json_of_kong_and_api_gateway() {
    check(
        r#"{"started_at":1795161600000,"client_ip":"203.0.113.9","request":{"method":"GET","uri":"/a?b=c","size":120,"headers":{"user-agent":"x","host":"api.example"}},"response":{"status":200,"size":700},"latencies":{"request":12,"proxy":10},"consumer":{"username":"ann"}}"#,
        &expect![[r#"
            auth_kind "unknown"
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
            service "api.example"
            started_at "2026-11-20T08:00:00.000Z"
            status 200
            user_agent "x""#]],
    );
    check(
        r#"{"requestId":"e9","ip":"203.0.113.9","requestTime":"20/Nov/2026:08:00:00 +0000","httpMethod":"GET","resourcePath":"/pets/{id}","path":"/pets/7","status":"200","protocol":"HTTP/1.1","responseLength":"5"}"#,
        &expect![[r#"
            auth_kind "unknown"
            client_ip "203.0.113.9"
            event_time "2026-11-20T08:00:00.000Z"
            format "api_gateway"
            http_version "1.1"
            method "GET"
            path "/pets/7"
            request_id "e9"
            response_bytes 5
            route "/pets/{id}"
            route_source "gateway"
            status 200"#]],
    );
}

#[test]
fn our_own_event() {
    check(
        r#"{"event_time":"2026-11-20T08:00:00Z","client_ip":"203.0.113.9","method":"GET","path":"/v1/a?b=c","status":200,"duration_us":1500,"roles":["admin"],"owner":"team-shop","object_number":7,"deploy_age_s":340,"shoe_size":43,"attrs":{"k":"v"}}"#,
        &expect![[r#"
            attrs {"k":"v","shoe_size":"43"}
            auth_kind "unknown"
            client_ip "203.0.113.9"
            deploy_age_s 340
            duration_us 1500
            event_time "2026-11-20T08:00:00.000Z"
            format "tidegate"
            method "GET"
            object_number 7
            owner "team-shop"
            path "/v1/a"
            query_keys ["b"]
            roles ["admin"]
            status 200"#]],
    );
}

#[test]
fn our_own_events_read_back_as_they_were_written() {
    let first = event(
        r#"{"event_time":"2026-11-20T08:00:00Z","client_ip":"203.0.113.9","method":"GET","path":"/v1/a?b=c","status":200,"owner":"team-shop"}"#,
    );
    let again = event(&serde_json::to_string(&first).unwrap());
    assert_eq!(again, first);
}

#[test]
fn a_column_of_another_kind_is_named() {
    let line = br#"{"event_time":"2026-11-20T08:00:00Z","path":"/","status":"ok"}"#;
    let Parsed::DeadLetter(letter) = read(Settings::default(), line) else { panic!() };
    assert_eq!(letter.detail, "column `status` has a value of another kind");
}
