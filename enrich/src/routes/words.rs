//! What names say about a route.
//!
//! Owns: the words for logging in and for administration. Never: what documents say outright;
//! `x-login` and `x-privileged` come before any word.

/// Words that, as a part of the last segment, mean that passwords are taken there.
const LOGIN_PARTS: [&str; 5] = ["login", "signin", "logon", "authenticate", "wplogin"];

/// Whole last segments that mean it.
const LOGIN_SEGMENTS: [&str; 9] =
    ["sign-in", "sign_in", "log-in", "log_in", "token", "session", "sessions", "auth", "oauth"];

/// Words that mean administration, as a part of a segment, a tag or a scope.
const ADMIN_PARTS: [&str; 9] = [
    "admin",
    "admins",
    "administrator",
    "administrators",
    "administration",
    "superadmin",
    "sysadmin",
    "backoffice",
    "superuser",
];

/// Endings of scripts, which do not count.
const SCRIPTS: [&str; 6] = [".php", ".asp", ".aspx", ".jsp", ".do", ".cgi"];

/// Whether a POST to a path with this last segment tries a password.
pub(super) fn is_login(segment: &str) -> bool {
    // The longest word has 14 bytes; longer segments are mostly not worth the look.
    if segment.len() > 40 || segment.len() < 4 {
        return false;
    }
    let lower = segment.to_ascii_lowercase();
    let bare = SCRIPTS.iter().find_map(|end| lower.strip_suffix(end)).unwrap_or(&lower);
    LOGIN_SEGMENTS.contains(&bare) || parts(bare).any(|part| LOGIN_PARTS.contains(&part))
}

/// Whether a segment, a tag or a scope speaks of administration.
pub(super) fn is_admin(text: &str) -> bool {
    if text.len() < 5 {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    let whole: String = parts(&lower).collect();
    parts(&lower).any(|part| ADMIN_PARTS.contains(&part)) || whole == "backoffice"
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{is_admin, is_login};

    #[test]
    fn words_for_logging_in() {
        for segment in
            ["login", "Login", "sign-in", "token", "sessions", "auth", "wp-login.php", "user-login"]
        {
            assert!(is_login(segment), "{segment}");
        }
        for segment in ["logout", "tokens", "blogindex", "authors", "me", "session-report"] {
            assert!(!is_login(segment), "{segment}");
        }
    }

    #[test]
    fn words_for_administration() {
        for text in ["admin", "Identity / Admin", "users:admin", "back-office", "api-admin"] {
            assert!(is_admin(text), "{text}");
        }
        for text in ["administer-vaccine", "badminton", "orders", "office"] {
            assert!(!is_admin(text), "{text}");
        }
    }
}
