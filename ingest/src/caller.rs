//! Who called: what a line says of credentials, and what of it may travel.
//!
//! Owns: `auth_kind`, `principal`, `account`, tokens, sessions. Never: checks a credential.
//!
//! `principal` is whom the request was made as: the gateway's consumer, `$remote_user`, the token's
//! subject, as claimed. `account` is whom somebody tried to become: what the log calls so, else the
//! name given at a login or with an answer of 401, which is then a claim that did not hold.

use std::borrow::Cow;

use memchr::memchr_iter;

use crate::keys::Keys;
use crate::mask;
use crate::parts::{Column, Credentials, Part};
use crate::secret;
use crate::target::Found;

/// Bytes of a name that are kept.
const NAME_BYTES_MAX: usize = 256;

/// The request that the credentials came with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'c> {
    pub(crate) status: Option<i32>,
    pub(crate) method: Option<&'c str>,
    pub(crate) path: Option<&'c str>,
    pub(crate) query: Option<&'c str>,
}

/// The columns of the caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity<'a> {
    pub(crate) kind: &'static str,
    pub(crate) principal: Column<'a>,
    pub(crate) account: Column<'a>,
    pub(crate) token: Column<'a>,
    /// What few lines show.
    pub(crate) more: Option<More<'a>>,
}

/// The columns of a caller who showed more than names.
#[derive(Debug, Clone)]
pub(crate) struct More<'a> {
    pub(crate) session: Column<'a>,
    pub(crate) oauth_client: Column<'a>,
    pub(crate) tenant: Column<'a>,
    pub(crate) scopes: Option<Vec<Cow<'a, str>>>,
    pub(crate) roles: Option<Vec<Cow<'a, str>>>,
}

/// Says who called.
pub(crate) fn identify<'a>(
    caller: &Credentials<'a>,
    of: Circumstances<'_>,
    keys: &Keys,
    found: &mut Found<'a>,
) -> Identity<'a> {
    let in_query = of.query.and_then(key_in_query);
    let kind = kind(caller, in_query);
    // Most lines show a name at most.
    let is_bare = caller.shows_no_credentials();
    let tried = of.status == Some(401) || is_login(of.method, of.path);
    let account = caller.account.or(caller.user.filter(|_| tried));
    let principal = caller.principal.or(caller.user).or(caller.subject);
    if is_bare {
        let mut one = |name: Part<'a>| name.map(|name| visible(name, keys, found));
        return Identity {
            kind,
            principal: one(principal),
            account: one(account),
            token: in_query.map(|key| Cow::Owned(keys.hash(key))),
            more: None,
        };
    }
    let id = caller.token_id.map(|id| token_id(id, keys, found));
    let id = id.or_else(|| hashed(token(caller.authorization, found), keys));
    let id = id.or_else(|| hashed(present(caller.api_key, found), keys));
    let cookie = present(caller.cookie, found);
    let session = present(caller.session, found).or_else(|| cookie.and_then(session_cookie));
    let mut list = |items: &[&'a str]| {
        let items: Vec<_> = items.iter().map(|item| visible(item, keys, found)).collect();
        (!items.is_empty()).then_some(items)
    };
    let (scopes, roles) = (list(&caller.scopes), list(&caller.roles));
    let mut one = |name: Part<'a>| name.map(|name| visible(name, keys, found));
    Identity {
        kind,
        principal: one(principal),
        account: one(account),
        token: id.or_else(|| in_query.map(|key| Cow::Owned(keys.hash(key)))),
        more: Some(More {
            session: hashed(session, keys),
            oauth_client: one(caller.oauth_client),
            tenant: one(caller.tenant),
            scopes,
            roles,
        }),
    }
}

/// How a request authenticated, as far as the log shows it. `none` only where the log shows every
/// place that a credential could have been in.
fn kind(caller: &Credentials<'_>, in_query: Option<&str>) -> &'static str {
    const KINDS: [&str; 7] = ["unknown", "none", "basic", "jwt", "api_key", "mtls", "cookie"];
    let said = caller
        .kind
        .and_then(|said| KINDS.iter().find(|kind| kind.eq_ignore_ascii_case(said)).copied());
    if let Some(said) = said {
        return said;
    }
    let filled = |part: &Part<'_>| part.is_some_and(|text| !text.is_empty());
    let shown_empty = |part: &Part<'_>| *part == Some("");
    if caller.certificate {
        "mtls"
    } else if let Some(header) = caller.authorization.filter(|text| !text.is_empty()) {
        header_kind(header)
    } else if filled(&caller.api_key) || in_query.is_some() {
        "api_key"
    } else if filled(&caller.subject) || caller.issued.is_some() || caller.expires.is_some() {
        "jwt"
    } else if filled(&caller.session)
        || caller.cookie.is_some_and(|cookie| session_cookie(cookie).is_some())
    {
        "cookie"
    } else if filled(&caller.user) {
        "basic"
    } else if caller.other_secret || filled(&caller.cookie) || filled(&caller.principal) {
        "unknown"
    } else if caller.all_headers
        || shown_empty(&caller.authorization)
            && shown_empty(&caller.api_key)
            && shown_empty(&caller.cookie)
    {
        "none"
    } else {
        "unknown"
    }
}

fn header_kind(header: &str) -> &'static str {
    let (scheme, rest) = header.split_once(' ').unwrap_or(("", header));
    if is_redacted(rest) {
        return if scheme.eq_ignore_ascii_case("basic") { "basic" } else { "unknown" };
    }
    if scheme.eq_ignore_ascii_case("basic") {
        "basic"
    } else if rest.starts_with("eyJ") {
        "jwt"
    } else {
        "api_key"
    }
}

/// Whether a gateway put a word in the place of the secret.
fn is_redacted(text: &str) -> bool {
    let plain = text.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    plain.is_empty()
        || ["redacted", "masked", "hidden", "filtered", "removed"]
            .iter()
            .any(|word| plain.eq_ignore_ascii_case(word))
}

/// Whether a request looks like a login: it writes, and its path says so.
fn is_login(method: Option<&str>, path: Option<&str>) -> bool {
    const WORDS: [&str; 12] = [
        "login",
        "signin",
        "sign-in",
        "sign_in",
        "logon",
        "log-in",
        "authenticate",
        "session",
        "sessions",
        "token",
        "auth",
        "wp-login.php",
    ];
    let Some(path) = path.filter(|_| matches!(method, Some("POST" | "PUT"))) else { return false };
    // Most segments begin with another letter than each of the words.
    let may_be_word = |segment: &str| {
        let first = segment.bytes().next().map(|letter| letter.to_ascii_lowercase());
        matches!(first, Some(b'l' | b's' | b'a' | b't' | b'w'))
    };
    let is_word = |segment: &str| {
        may_be_word(segment) && WORDS.iter().any(|word| word.eq_ignore_ascii_case(segment))
    };
    let mut rest = path;
    for _ in 0..3 {
        let slash = rest.bytes().rposition(|byte| byte == b'/');
        let segment = rest.get(slash.map_or(0, |at| at + 1)..).unwrap_or("");
        let dot = segment.bytes().position(|byte| byte == b'.');
        let stem = dot.and_then(|at| segment.get(..at)).unwrap_or(segment);
        if is_word(segment) || is_word(stem) {
            return true;
        }
        match slash {
            Some(at) => rest = rest.get(..at).unwrap_or(""),
            None => return false,
        }
    }
    false
}

/// A name that may be seen: a hash where it looks like a secret, such as a key given as the user.
fn visible<'a>(name: &'a str, keys: &Keys, found: &mut Found<'a>) -> Cow<'a, str> {
    // Names are short: a vector search would take longer to begin than this takes.
    let assigns = name.bytes().any(|byte| matches!(byte, b'?' | b'='));
    if secret::is_value(name) || assigns && mask::value(name) != name {
        found.push(Cow::Borrowed(name));
        return Cow::Owned(keys.hash(name));
    }
    Cow::Borrowed(mask::head(name, NAME_BYTES_MAX))
}

/// At most so many bytes of a part.
pub(crate) fn head(text: Cow<'_, str>, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return text;
    }
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(mask::head(text, bytes_max)),
        Cow::Owned(mut text) => {
            text.truncate(text.floor_char_boundary(bytes_max));
            Cow::Owned(text)
        }
    }
}

/// A token's id may be seen where it is short and no token itself.
fn token_id<'a>(id: &'a str, keys: &Keys, found: &mut Found<'a>) -> Cow<'a, str> {
    let plain = id.len() <= 64
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.'));
    if plain && !secret::is_value(id) {
        return Cow::Borrowed(id);
    }
    found.push(Cow::Borrowed(id));
    Cow::Owned(keys.hash(id))
}

/// A secret that says something; it is found then.
fn present<'a>(secret: Part<'a>, found: &mut Found<'a>) -> Part<'a> {
    let secret = secret.filter(|text| !is_redacted(text))?;
    found.push(Cow::Borrowed(secret));
    Some(secret)
}

/// What follows the scheme of an Authorization header.
fn token<'a>(header: Part<'a>, found: &mut Found<'a>) -> Part<'a> {
    let header = present(header, found)?;
    let (_scheme, token) = header.split_once(' ').unwrap_or(("", header));
    let token = token.trim();
    if is_redacted(token) {
        return None;
    }
    found.push(Cow::Borrowed(token));
    Some(token)
}

fn hashed<'a>(secret: Part<'_>, keys: &Keys) -> Column<'a> {
    secret.map(|secret| Cow::Owned(keys.hash(secret)))
}

/// The value of the first cookie whose name is a session's.
fn session_cookie(cookies: &str) -> Option<&str> {
    cookies.split([';', ',']).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        let name = name.to_ascii_lowercase();
        let session = name.contains("sess")
            || name == "sid"
            || name.ends_with(".sid")
            || name.contains("auth");
        (session && !value.is_empty() && !is_redacted(value)).then_some(value)
    })
}

/// A key that was sent as a parameter.
fn key_in_query(query: &str) -> Option<&str> {
    const NAMES: [&str; 6] =
        ["api_key", "apikey", "api-key", "access_token", "auth_token", "oauth_token"];
    // Each of the names ends in one of two letters.
    let ends = |at: usize| {
        matches!(query.as_bytes().get(at.wrapping_sub(1)), Some(b'y' | b'n' | b'Y' | b'N'))
    };
    if !memchr_iter(b'=', query.as_bytes()).any(ends) {
        return None;
    }
    query.split('&').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let known = NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
        (known && !value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{Circumstances, Credentials, Identity, identify};
    use crate::keys::{Keys, is_hash};
    use crate::parts::Part;

    fn some(text: &str) -> Part<'_> {
        Some(text)
    }

    fn identity(
        caller: Credentials<'static>,
        status: i32,
        line: &'static str,
    ) -> Identity<'static> {
        let (method, path) = line.split_once(' ').unwrap();
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        let of =
            Circumstances { status: Some(status), method: Some(method), path: Some(path), query };
        identify(&{ caller }, of, &Keys::new([1; 16]), &mut Vec::new())
    }

    #[track_caller]
    fn check_kind(caller: Credentials<'static>, expected: &str) {
        assert_eq!(identity(caller, 200, "GET /").kind, expected);
    }

    #[test]
    fn the_kind_of_authentication_is_what_the_log_shows() {
        let header = |text| Credentials { authorization: some(text), ..Credentials::default() };
        check_kind(header("Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"), "jwt");
        check_kind(header("Bearer 0123456789"), "api_key");
        check_kind(header("Basic dTpw"), "basic");
        check_kind(header("REDACTED"), "unknown");
        check_kind(Credentials { api_key: some("k"), ..Credentials::default() }, "api_key");
        check_kind(Credentials { subject: some("ann"), ..Credentials::default() }, "jwt");
        check_kind(
            Credentials { cookie: some("a=b; PHPSESSID=x"), ..Credentials::default() },
            "cookie",
        );
        check_kind(Credentials { user: some("ann"), ..Credentials::default() }, "basic");
        check_kind(Credentials { certificate: true, ..Credentials::default() }, "mtls");
        check_kind(Credentials { kind: some("MTLS"), ..Credentials::default() }, "mtls");
        assert_eq!(identity(Credentials::default(), 200, "GET /a?api_key=x").kind, "api_key");
    }

    #[test]
    fn unknown_is_not_none() {
        check_kind(Credentials::default(), "unknown");
        check_kind(Credentials { authorization: some(""), ..Credentials::default() }, "unknown");
        check_kind(Credentials { all_headers: true, ..Credentials::default() }, "none");
        let all_empty = Credentials {
            authorization: some(""),
            cookie: some(""),
            api_key: some(""),
            ..Credentials::default()
        };
        check_kind(all_empty, "none");
        let other = Credentials { all_headers: true, other_secret: true, ..Credentials::default() };
        check_kind(other, "unknown");
    }

    #[test]
    fn a_name_given_at_a_login_is_the_account_too() {
        let user = || Credentials { user: some("ann"), ..Credentials::default() };
        let account = |status, line| identity(user(), status, line).account.map(Cow::into_owned);
        assert_eq!(account(200, "POST /v1/login"), Some("ann".to_owned()));
        assert_eq!(account(401, "GET /v1/orders"), Some("ann".to_owned()));
        assert_eq!(account(200, "GET /v1/orders"), None);
        assert_eq!(account(403, "GET /v1/orders"), None);
        let principal = identity(user(), 401, "POST /v1/login").principal;
        assert_eq!(principal.as_deref(), Some("ann"));
        let own = Credentials { account: some("bob"), ..user() };
        assert_eq!(identity(own, 200, "GET /").account.as_deref(), Some("bob"));
    }

    #[test]
    fn secrets_become_hashes_and_ids_stay() {
        let token = |id| {
            let caller = Credentials { token_id: some(id), ..Credentials::default() };
            identity(caller, 200, "GET /").token.unwrap()
        };
        assert_eq!(
            token("3bbc0252-2d5c-49fe-bd89-104e9b61770b"),
            "3bbc0252-2d5c-49fe-bd89-104e9b61770b"
        );
        assert!(is_hash(&token("sk_live_4eC39HqLyjWDarjtT1zdp7dc")));
        let key = Credentials { api_key: some("clear"), ..Credentials::default() };
        assert!(is_hash(&identity(key, 200, "GET /").token.unwrap()));
        let cookie = Credentials { cookie: some("a=1; sessionid=clear"), ..Credentials::default() };
        assert!(is_hash(&identity(cookie, 200, "GET /").more.unwrap().session.unwrap()));
        let user = Credentials {
            user: some("sk_live_4eC39HqLyjWDarjtT1zdp7dc"),
            ..Credentials::default()
        };
        assert!(is_hash(&identity(user, 200, "GET /").principal.unwrap()));
    }
}
