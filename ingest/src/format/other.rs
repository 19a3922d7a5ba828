//! Lines that no format reads, and directives.
//!
//! Owns: what to say of them. Never: reads them.

use memchr::memmem;

/// A directive of a W3C log: `#Fields: date time …`.
pub(crate) fn directive(line: &str) -> Option<&str> {
    const NAMES: [&str; 8] = [
        "#Fields:",
        "#Version:",
        "#Software:",
        "#Date:",
        "#Remark:",
        "#Start-Date:",
        "#End-Date:",
        "#System:",
    ];
    NAMES.iter().any(|name| line.starts_with(name)).then_some(line)
}

/// What a line that fits no format looks like, with what would help.
pub(crate) fn guess(line: &str) -> Option<&'static str> {
    if line.starts_with('{') || line.starts_with('[') {
        return json(line);
    }
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    if line.contains(" haproxy[") || line.starts_with("haproxy[") {
        return Some("an HAProxy line that is no HTTP request log; use option httplog");
    }
    if is_date(first, '-') && is_clock(second) {
        if line.contains('\t') {
            return Some("a tab-separated W3C log whose `#Fields:` line was not seen");
        }
        let method = words.any(|word| matches!(word, "GET" | "POST" | "HEAD" | "PUT" | "OPTIONS"));
        return Some(if method {
            "a W3C log whose `#Fields:` line was not seen"
        } else {
            "a log with date and time in front, but no access log that is read"
        });
    }
    if is_date(first, '/') && is_clock(second) {
        return Some("an nginx error log; give the access log");
    }
    if matches!(first, "http" | "https" | "h2" | "ws" | "wss" | "grpcs") && second.contains('T') {
        return Some("the log of an AWS load balancer that holds no request");
    }
    if line.starts_with('[') && memmem::find(line.as_bytes(), b"] [").is_some() {
        return Some("an error log of Apache; give the access log");
    }
    if first.contains('=') && second.contains('=') {
        return Some("logfmt, which is not read; log JSON");
    }
    None
}

/// The client's address of a line of such a format, where others stand before it.
pub(crate) fn client(line: &str) -> Option<String> {
    istio(line).or_else(|| iis(line))
}

/// Istio: `… local remote name route`. Whatever a client's headers held stands before these, and
/// Envoy escapes no quotes in them.
fn istio(line: &str) -> Option<String> {
    let mut words = line.strip_prefix('[')?.rsplit(' ').skip(2);
    let mut address = || {
        let word = words.next().filter(|word| word.contains(':'))?;
        crate::address::read(word)?.ip
    };
    let (remote, _local) = (address()?, address()?);
    Some(remote.to_string())
}

fn iis(line: &str) -> Option<String> {
    const METHODS: [&str; 6] = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"];
    let words: Vec<&str> = line.split(' ').collect();
    let (date, clock) = (words.first()?, words.get(1)?);
    if !is_date(date, '-') || !is_clock(clock) {
        return None;
    }
    // IIS: `method stem query port user client`, wherever the method stands.
    let method = words.iter().position(|word| METHODS.contains(word))?;
    let client = crate::address::read(words.get(method + 5)?)?;
    client.ip.map(|ip| ip.to_string())
}

fn json(line: &str) -> Option<&'static str> {
    let has = |name: &str| line.contains(name);
    if has("\"resourceLogs\"") || has("\"scopeLogs\"") {
        Some("an OTLP request in which no record was found")
    } else if has("\"latencies\"") && has("\"upstream_uri\"") {
        Some("Kong's log without `started_at`")
    } else if has("\"requestContext\"") || has("\"apiId\"") {
        Some("an API Gateway log without a status, a request or a time that is read")
    } else if has("\"ecs.version\"") || has("\"ecs\":{") {
        Some("ECS without a request")
    } else {
        None
    }
}

fn is_date(word: &str, separator: char) -> bool {
    let mut parts = word.split(separator);
    let digits = |part: Option<&str>, len: usize| {
        part.is_some_and(|part| part.len() == len && part.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(parts.next(), 4) && digits(parts.next(), 2) && digits(parts.next(), 2)
}

fn is_clock(word: &str) -> bool {
    let mut parts = word.split(':');
    let two = |part: Option<&str>| {
        part.is_some_and(|part| part.len() >= 2 && part.starts_with(|c: char| c.is_ascii_digit()))
    };
    two(parts.next()) && two(parts.next()) && two(parts.next())
}
