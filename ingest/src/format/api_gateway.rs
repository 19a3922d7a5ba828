//! Access logs of AWS API Gateway, whose JSON is made of `$context` variables.
//!
//! Owns: what tells such a line, and who refused by its error types.
//! Never: the names, which are in `aliases`. `requestTime` is the start.

use super::json::{Style, fill, need_time};
use super::{Desk, Failure};
use crate::parts::Parts;
use crate::read::number::Unit;

/// Words of `$context.error.responseType` and of the WAF's answers, and who refused by them. Inside
/// other values a quote is escaped, so that no caller can write them.
const REFUSALS: [(&str, &str); 6] = [
    ("\"WAF_BLOCK\"", "aws:waf"),
    ("\"WAF_FILTERED\"", "aws:waf"),
    ("\"THROTTLED\"", "apigateway:throttle"),
    ("\"QUOTA_EXCEEDED\"", "apigateway:quota"),
    ("\"ACCESS_DENIED\"", "apigateway:authorizer"),
    ("\"EXPIRED_TOKEN\"", "apigateway:authorizer"),
];

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let has = |name: &str| line.contains(name);
    let route = has("\"resourcePath\"") || has("\"routeKey\"") || has("\"requestTimeEpoch\"");
    if !route || !has("\"requestId\"") {
        return Err(Failure::other("no `requestId` with `resourcePath` or `routeKey`"));
    }
    let style = Style { duration: Some(Unit::Millis), attrs: true, own: false };
    let extra = fill(line, desk, parts, style)?;
    need_time(parts, &extra)?;
    if parts.status.is_none() && parts.method.is_none() {
        return Err(Failure::telling("an API Gateway log without `status` and `httpMethod`"));
    }
    if parts.duration.is_some() && parts.started.is_none() {
        parts.started = parts.time.take();
    }
    parts.rare.route = parts.rare.route.and_then(template);
    parts.no_upstream = extra.names_upstream_status && parts.upstream_status.is_none();
    let refused = REFUSALS.iter().find(|(word, _)| has(word));
    if let Some((_, by)) = refused.filter(|_| parts.status.is_none_or(|status| status >= 400)) {
        parts.blocked_by = Some(by);
    }
    Ok(())
}

/// `/pets/{id}` of the route key `GET /pets/{id}`; `$default` is no template.
fn template(route: &str) -> Option<&str> {
    route.get(route.find('/')?..)
}
