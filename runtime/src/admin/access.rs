//! Who may use the admin endpoint.
//!
//! Owns: the choice between loopback and token, and the check of each request.
//! Never: a token in a log or an answer.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::config::Secret;
use crate::error::{Class, Classified};

/// Bytes of a token; 16 random bytes in hex are 32.
const TOKEN_BYTES_MIN: usize = 16;

/// Who may use the admin endpoint. Made by [`Access::new`], so that it is never open to others
/// without a token.
#[derive(Debug, Clone)]
pub struct Access(Rule);

#[derive(Debug, Clone)]
enum Rule {
    /// Whoever is on this machine, but no page in a browser there.
    Loopback,
    /// Whoever has the token, wherever.
    Token(Secret),
}

/// Why the endpoint cannot be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Others could reach it, and there is no token.
    #[error(
        "admin endpoint on {listen} can be reached from other machines and has no token; \
         set `admin.token` (best as `{{ file = \"…\" }}`) or listen on 127.0.0.1"
    )]
    NoToken {
        /// Where it was to listen.
        listen: SocketAddr,
    },
    /// The token could be guessed.
    #[error(
        "`admin.token` has {bytes} bytes; it needs at least {TOKEN_BYTES_MIN} \
         (`openssl rand -hex 16` makes a good one)"
    )]
    ShortToken {
        /// Of the token that was given.
        bytes: usize,
    },
}

impl Classified for AccessError {
    fn class(&self) -> Class {
        Class::Input
    }
}

impl Access {
    /// With a token: whoever has it. Without: whoever is on this machine.
    ///
    /// # Errors
    /// When `listen` is not loopback and there is no token; when the token is too short.
    pub fn new(listen: SocketAddr, token: Option<Secret>) -> Result<Self, AccessError> {
        match token {
            Some(token) if token.expose().len() < TOKEN_BYTES_MIN => {
                Err(AccessError::ShortToken { bytes: token.expose().len() })
            }
            Some(token) => Ok(Self(Rule::Token(token))),
            None if listen.ip().is_loopback() => Ok(Self(Rule::Loopback)),
            None => Err(AccessError::NoToken { listen }),
        }
    }

    /// Puts the check before all routes.
    pub(super) fn guard(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, check))
    }

    /// None when the request may pass.
    fn refuse(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        match &self.0 {
            Rule::Token(token) if has_token(headers, token) => None,
            Rule::Token(_) => Some(
                (
                    StatusCode::UNAUTHORIZED,
                    [(header::WWW_AUTHENTICATE, "Bearer")],
                    "this needs the header `Authorization: Bearer TOKEN` \
                     with the token set as `admin.token`\n",
                )
                    .into_response(),
            ),
            Rule::Loopback if from_page(method, headers) => Some(
                (
                    StatusCode::FORBIDDEN,
                    "requests sent by web pages are refused; \
                     use the name localhost or 127.0.0.1, or set `admin.token`\n",
                )
                    .into_response(),
            ),
            Rule::Loopback => None,
        }
    }
}

async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.refuse(request.method(), request.headers()) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

fn has_token(headers: &HeaderMap, token: &Secret) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return false };
    let Some((scheme, given)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return false;
    };
    let equal: bool = given.trim().as_bytes().ct_eq(token.expose().as_bytes()).into();
    scheme.eq_ignore_ascii_case("bearer") && equal
}

/// Without a token only the address protects, and a browser on this machine would send requests
/// there for any page: with a foreign name that resolves to 127.0.0.1, or as a form.
fn from_page(method: &Method, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let foreign_host = host.is_some_and(|host| !is_local_name(host));
    let writes = !matches!(*method, Method::GET | Method::HEAD);
    foreign_host || (writes && headers.contains_key(header::ORIGIN))
}

fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or(bracketed),
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::{Access, is_local_name};
    use crate::config::Secret;

    #[track_caller]
    fn check(listen: &str, token: Option<&str>, expected: &Expect) {
        let told = match Access::new(listen.parse().unwrap(), token.map(Secret::new)) {
            Ok(access) => format!("{access:?}"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn loopback_needs_no_token_and_all_else_does() {
        check("127.0.0.1:7070", None, &expect!["Access(Loopback)"]);
        check("[::1]:7070", None, &expect!["Access(Loopback)"]);
        check(
            "0.0.0.0:7070",
            None,
            &expect![[
                r#"admin endpoint on 0.0.0.0:7070 can be reached from other machines and has no token; set `admin.token` (best as `{ file = "…" }`) or listen on 127.0.0.1"#
            ]],
        );
    }

    #[test]
    fn a_token_is_long_and_never_shown() {
        check(
            "0.0.0.0:7070",
            Some("secret"),
            &expect![
                "`admin.token` has 6 bytes; it needs at least 16 (`openssl rand -hex 16` makes a good one)"
            ],
        );
        check(
            "0.0.0.0:7070",
            Some("0123456789abcdef"),
            &expect![[r#"Access(Token(Secret("***")))"#]],
        );
    }

    #[test]
    fn local_names_are_known() {
        for host in ["localhost", "LOCALHOST:7070", "127.0.0.1:7070", "[::1]:7070", "[::1]"] {
            assert!(is_local_name(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:7070", "10.0.0.1", ""] {
            assert!(!is_local_name(host), "{host}");
        }
    }
}
