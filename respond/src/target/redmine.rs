//! Redmine: one issue for each episode.
//!
//! Owns: the requests, and that an issue or a note is written once even when an answer gets lost.
//! Never: trusts an empty answer of a server that does not know us: with a wrong key Redmine
//! answers 200 and an empty list, so the key is tried first.
//!
//! The key `tidegate-<verdict id>` stands in a custom field. It is looked up before an issue is
//! created, and each note ends with its revision, which is looked for before the note is added: so
//! what a lost answer left behind is found, after a crash too.

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Client, Method, RequestBuilder, Url};
use serde_json::{Value, json};
use tracing::info;

use super::http::{self, Answer};
use super::{Told, Trouble, ticket};
use crate::config::{RedmineConfig, SettingsError};
use crate::ledger::Message;

/// The wait after the key was refused: a person has to change it.
const KEY_REFUSED_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Redmine {
    client: Client,
    url: Url,
    config: RedmineConfig,
    /// Whether the server has told who we are.
    known: AtomicBool,
}

impl Redmine {
    pub(super) fn new(config: &RedmineConfig) -> Result<Self, SettingsError> {
        let mut url = http::url("target.url", &config.url)?;
        // A path without a slash at its end would be replaced when another is joined to it.
        let path = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        if config.project.is_empty() {
            let message = "write the identifier of the project, as in its address";
            return Err(SettingsError::value("target.project", message));
        }
        let client = http::client(config.timeout)?;
        Ok(Self { client, url, config: config.clone(), known: AtomicBool::new(false) })
    }

    pub(super) async fn tell(&self, message: &Message) -> Result<Told, Trouble> {
        self.introduce().await?;
        let key = ticket::key(&message.entry.order.verdict_id);
        let found = match &message.remote_id {
            Some(id) => Some(id.clone()),
            None => self.find(&key).await?,
        };
        let Some(id) = found else { return self.create(message, &key).await };
        if message.remote_id.is_none() && ticket::is_first(message) {
            let detail = Some("was there already, from a try whose answer got lost".to_owned());
            return Ok(Told { remote_id: Some(id), detail });
        }
        self.add_note(message, &id).await
    }

    /// Makes sure that the server knows the key.
    async fn introduce(&self) -> Result<(), Trouble> {
        if self.known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let answer = self.ask(Method::GET, "users/current.json", &[]).await?;
        if matches!(answer.status, 401 | 403) {
            return Err(Trouble::Again {
                detail: format!(
                    "Redmine does not know the key ({}); check `target.key` and that its REST API is on",
                    answer.status
                ),
                after: Some(KEY_REFUSED_WAIT),
                away: true,
            });
        }
        let user = json_of(&answer.success()?)?;
        if !user.pointer("/user/id").is_some_and(Value::is_number) {
            return Err(Trouble::again("Redmine did not say who we are; is this its address?"));
        }
        self.known.store(true, Ordering::Relaxed);
        info!(url = %self.url, "Redmine knows us");
        Ok(())
    }

    /// The number of the issue with our key. Closed ones count too.
    async fn find(&self, key: &str) -> Result<Option<String>, Trouble> {
        let field = format!("cf_{}", self.config.key_field_id);
        let query = [
            ("project_id", self.config.project.as_str()),
            ("status_id", "*"),
            (&field, key),
            ("limit", "1"),
        ];
        let list = json_of(&self.ask(Method::GET, "issues.json", &query).await?.success()?)?;
        let Some(issue) = list.pointer("/issues/0") else { return Ok(None) };
        let fields = issue.get("custom_fields").and_then(Value::as_array);
        let is_ours = fields.into_iter().flatten().any(|field| {
            field.get("id").and_then(Value::as_u64) == Some(self.config.key_field_id)
                && field.get("value").and_then(Value::as_str) == Some(key)
        });
        if !is_ours {
            // Redmine leaves out a filter that it does not know, and then lists every issue.
            return Err(Trouble::Park {
                detail: format!(
                    "custom field {} cannot be searched: mark it as filter and searchable, for this \
                     project and tracker",
                    self.config.key_field_id
                ),
            });
        }
        Ok(issue.get("id").map(Value::to_string))
    }

    async fn create(&self, message: &Message, key: &str) -> Result<Told, Trouble> {
        let text = ticket::create(message, self.config.markup);
        let mut issue = json!({
            "project_id": self.config.project,
            "tracker_id": self.config.tracker_id,
            "subject": text.subject,
            "description": text.body,
            "custom_fields": [{"id": self.config.key_field_id, "value": key}],
        });
        if let (Some(priority), Some(fields)) = (self.config.priority_id, issue.as_object_mut()) {
            fields.insert("priority_id".to_owned(), priority.into());
        }
        let request =
            self.request(Method::POST, "issues.json", &[])?.json(&json!({"issue": issue}));
        let answer = self.heard(http::send(request).await?).success()?;
        let from_body = serde_json::from_str::<Value>(&answer.body).ok();
        let from_body = from_body.and_then(|body| body.pointer("/issue/id").map(Value::to_string));
        let from_location = || {
            let location = answer.location.as_deref()?;
            let id = location.trim_end_matches(".json").rsplit('/').next()?;
            id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.to_owned())
        };
        match from_body.or_else(from_location) {
            Some(id) => Ok(Told { remote_id: Some(id), detail: None }),
            None => Err(Trouble::again("created, but without a number; it is looked up")),
        }
    }

    async fn add_note(&self, message: &Message, id: &str) -> Result<Told, Trouble> {
        let path = format!("issues/{id}.json");
        let mark = ticket::mark(&message.entry.order);
        let answer = self.ask(Method::GET, &path, &[("include", "journals")]).await?;
        let issue = json_of(&answer.success()?)?;
        let notes = issue.pointer("/issue/journals").and_then(Value::as_array);
        let is_there = notes.into_iter().flatten().any(|note| {
            note.get("notes").and_then(Value::as_str).is_some_and(|text| text.contains(&mark))
        });
        let told = |detail| Ok(Told { remote_id: Some(id.to_owned()), detail });
        if is_there {
            return told(Some("was there already, from a try whose answer got lost".to_owned()));
        }
        let mut update = json!({"notes": ticket::note(message, self.config.markup)});
        if let (true, Some(status), Some(fields)) =
            (ticket::closes(message), self.config.closed_status_id, update.as_object_mut())
        {
            fields.insert("status_id".to_owned(), status.into());
        }
        let request = self.request(Method::PUT, &path, &[])?.json(&json!({"issue": update}));
        self.heard(http::send(request).await?).success()?;
        told(None)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Answer, Trouble> {
        Ok(self.heard(http::send(self.request(method, path, query)?).await?))
    }

    /// A server that refuses us once is asked again who we are.
    fn heard(&self, answer: Answer) -> Answer {
        if matches!(answer.status, 401 | 403) {
            self.known.store(false, Ordering::Relaxed);
        }
        answer
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<RequestBuilder, Trouble> {
        let mut url = self
            .url
            .join(path)
            .map_err(|error| Trouble::Park { detail: format!("`{path}`: {error}") })?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.client.request(method, url).header("x-redmine-api-key", self.config.key.expose()))
    }
}

fn json_of(answer: &Answer) -> Result<Value, Trouble> {
    serde_json::from_str(&answer.body).map_err(|error| {
        Trouble::again(format!("answered {} without JSON: {error}", answer.status))
    })
}
