//! Requests to targets over HTTP.
//!
//! Owns: the client, its limits, and which answers are worth another try.
//! Never: what is asked; follows a redirect, which could carry a secret elsewhere.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Url, header};
use runtime::config::Span;

use super::Trouble;
use crate::config::SettingsError;

/// Bytes kept of an answer: an error page, or a page of one issue with its notes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Characters of an answer that a person is shown.
const SHOWN_MAX: usize = 400;

const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What a server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    retry_after: Option<Duration>,
    pub(crate) body: String,
}

/// A client for one target.
pub(crate) fn client(timeout: Span) -> Result<Client, SettingsError> {
    // Only the first call of a process installs it; what is there already does as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .timeout(timeout.as_duration())
        .connect_timeout(timeout.as_duration().min(CONNECT_MAX))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| SettingsError::value("target", format!("no HTTP client: {error}")))
}

/// The address in a setting.
pub(crate) fn url(key: &str, text: &str) -> Result<Url, SettingsError> {
    let example = "write for instance https://host/path";
    let url = Url::parse(text).map_err(|error| {
        SettingsError::value(key, format!("`{text}` is no address: {error}; {example}"))
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(SettingsError::value(key, format!("`{text}` is no web address; {example}")));
    }
    Ok(url)
}

/// Sends, and reads the answer whole.
pub(crate) async fn send(request: RequestBuilder) -> Result<Answer, Trouble> {
    let mut response = request.send().await.map_err(|error| network(&error))?;
    let text = |name| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let location = text(header::LOCATION);
    let retry_after = text(header::RETRY_AFTER).and_then(|value| seconds(&value));
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| network(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Trouble::Park {
                detail: format!("the answer ({status}) has more than {ANSWER_BYTES_MAX} bytes"),
            });
        }
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status, location, retry_after, body })
}

/// `Retry-After` in its form of seconds (RFC 9110, 10.2.3). With a date our own wait holds.
fn seconds(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

fn network(error: &reqwest::Error) -> Trouble {
    // The address may hold a secret, and the setting names it anyway.
    let bare =
        if error.is_timeout() { "no answer in time" } else { "no connection or a broken one" };
    let cause = std::error::Error::source(error).map(|source| {
        let mut last = source;
        while let Some(next) = last.source() {
            last = next;
        }
        last.to_string()
    });
    Trouble::again(match cause {
        Some(cause) => format!("{bare}: {cause}"),
        None => bare.to_owned(),
    })
}

impl Answer {
    /// The answer, where it is a success.
    pub(crate) fn success(self) -> Result<Self, Trouble> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.trouble()) }
    }

    /// What to do about an answer that is no success: 408, 429 and 5xx are worth another try.
    pub(crate) fn trouble(&self) -> Trouble {
        let shown: String = self
            .body
            .chars()
            .map(|character| if character.is_control() { ' ' } else { character })
            .take(SHOWN_MAX)
            .collect();
        let detail = format!("answered {}: {}", self.status, shown.trim());
        match self.status {
            408 | 429 | 503 => Trouble::Again { detail, after: self.retry_after, away: true },
            500..=599 => Trouble::Again { detail, after: self.retry_after, away: false },
            _ => Trouble::Park { detail },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Answer, seconds, url};
    use crate::target::Trouble;

    fn answer(status: u16) -> Answer {
        let retry_after = Some(Duration::from_secs(7));
        Answer { status, location: None, retry_after, body: "a\nb".into() }
    }

    #[test]
    fn only_some_answers_are_worth_another_try() {
        assert!(answer(204).success().is_ok());
        for status in [408, 429, 500, 502, 503, 504] {
            let Trouble::Again { after, .. } = answer(status).trouble() else {
                panic!("{status} parks")
            };
            assert_eq!(after, Some(Duration::from_secs(7)));
        }
        for status in [301, 400, 401, 403, 404, 409, 410, 422] {
            let detail = format!("answered {status}: a b");
            assert_eq!(answer(status).success().unwrap_err(), Trouble::Park { detail });
        }
    }

    #[test]
    fn an_address_must_be_one_of_the_web() {
        assert!(url("target.url", "http://127.0.0.1:1/x").is_ok());
        for text in ["127.0.0.1", "ftp://host/", "http://", "file:///etc/passwd"] {
            assert!(url("target.url", text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_are_read_and_dates_are_left_to_our_own_wait() {
        assert_eq!(seconds(" 30 "), Some(Duration::from_secs(30)));
        assert_eq!(seconds("Fri, 20 Nov 2026 08:00:00 GMT"), None);
    }
}
