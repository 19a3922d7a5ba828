//! The text of a ticket: what, where, since when, who, evidence, what was done, what to do, how to
//! undo, and how to say "false positive".
//!
//! Owns: the words, in Markdown and Textile.
//! Never: lets a value from a log be read as markup: log lines and names come from attackers.

mod markup;

use schemas::{Action, EventTime, Order, OutcomeState, Verdict, VerdictKind};
use serde_json::Value;

use crate::ask::{action_name, enforces};
use crate::config::Markup;
use crate::ledger::{Entry, Message, Phase};
use markup::{Page, plain};

/// Log lines in a ticket.
const LINES_MAX: usize = 5;

/// Redmine's limit on a subject is 255 characters.
const SUBJECT_CHARS_MAX: usize = 200;

/// A new ticket.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) subject: String,
    pub(super) body: String,
}

/// The key of an episode's ticket in every tracker.
pub(super) fn key(verdict_id: &str) -> String {
    format!("tidegate-{verdict_id}")
}

/// What a ticket or note of this order ends with.
pub(super) fn mark(order: &Order) -> String {
    format!("({} revision {})", key(&order.verdict_id), order.revision)
}

/// Whether no earlier revision of the episode went to this target.
pub(super) fn is_first(message: &Message) -> bool {
    let order = &message.entry.order;
    !message.siblings.iter().any(|other| {
        other.order.action == Action::Ticket
            && other.order.target == order.target
            && other.order.revision < order.revision
    })
}

/// Whether the episode is over by this message's verdict.
pub(super) fn closes(message: &Message) -> bool {
    message.verdict.as_ref().is_some_and(|verdict| verdict.kind == VerdictKind::Closed)
}

/// The text of a new ticket.
pub(super) fn create(message: &Message, markup: Markup) -> Ticket {
    let order = &message.entry.order;
    let mut page = Page::new(markup);
    let Some(verdict) = message.verdict.as_deref() else {
        page.text(&format!("Rule {} fired; its verdict is no longer kept.", plain(&order.rule)));
        page.text(&mark(order));
        return Ticket { subject: plain(&order.rule), body: page.finish() };
    };
    page.text(&plain(&verdict.title));
    if let Some(why) = &verdict.why {
        page.text(&plain(why));
    }
    place(&mut page, verdict);
    who(&mut page, verdict, message.earlier);
    evidence(&mut page, verdict);
    done(&mut page, message);
    approval(&mut page, message);
    if let Some(now_what) = &verdict.now_what {
        page.heading("What to do now");
        page.text(&plain(now_what));
    }
    undo(&mut page, message);
    page.text(&mark(order));
    Ticket { subject: subject(verdict), body: page.finish() }
}

/// The text of a note on a ticket that is there.
pub(super) fn note(message: &Message, markup: Markup) -> String {
    let order = &message.entry.order;
    let mut page = Page::new(markup);
    if let Some(verdict) = message.verdict.as_deref() {
        let until = verdict.last_event;
        page.text(&match verdict.kind {
            VerdictKind::Opened | VerdictKind::Updated => format!("It goes on; last seen {until}."),
            VerdictKind::Closed => format!("It is over; last seen {until}. The totals:"),
            VerdictKind::Merged => format!(
                "It turned out to be part of {}.",
                plain(&key(verdict.into.as_deref().unwrap_or("another episode")))
            ),
        });
        values(&mut page, verdict);
        done(&mut page, message);
        approval(&mut page, message);
    }
    page.text(&mark(order));
    page.finish()
}

fn subject(verdict: &Verdict) -> String {
    let severity = format!("{:?}", verdict.severity).to_lowercase();
    let whom: Vec<String> = verdict.key.values().map(|value| plain(&bare(value))).collect();
    let mut subject = format!("[{severity}] {}", plain(&verdict.title));
    if !whom.is_empty() {
        subject = format!("{subject}: {}", whom.join(", "));
    }
    subject.chars().take(SUBJECT_CHARS_MAX).collect()
}

fn place(page: &mut Page, verdict: &Verdict) {
    page.heading("Where and since when");
    page.item("rule", &format!("{} ({})", verdict.rule, verdict.rule_version));
    page.item("service", &verdict.service.join(", "));
    page.item("route", &verdict.route.join(", "));
    if let Some(deploy) = &verdict.deploy {
        let age = deploy.age_s.map(|seconds| format!(", {seconds} s before the first event"));
        page.item("deploy", &format!("{}{}", deploy.id, age.unwrap_or_default()));
        page.item("commit", deploy.commit.as_deref().unwrap_or_default());
        page.item("change", deploy.change.as_deref().unwrap_or_default());
        page.item("owner", deploy.owner.as_deref().unwrap_or_default());
    }
    let counts: Vec<String> =
        verdict.deploys.iter().map(|(id, events)| format!("{id}: {}", bare(events))).collect();
    page.item("events by deploy", &counts.join(", "));
    page.item("first event", &verdict.first_event.to_string());
    page.item("last event so far", &verdict.last_event.to_string());
    page.item("not known", &verdict.context_missing.join(", "));
}

fn who(page: &mut Page, verdict: &Verdict, earlier: usize) {
    page.heading("Who");
    for (kind, value) in &verdict.subject {
        page.item(kind, &bare(value));
    }
    for (name, value) in verdict.key.iter().filter(|(name, _)| !verdict.subject.contains_key(*name))
    {
        page.item(name, &bare(value));
    }
    page.text(&match earlier {
        0 => "Not seen before, as far as the ledger goes back.".to_owned(),
        1 => "Seen in one earlier episode.".to_owned(),
        more => format!("Seen in {more} earlier episodes."),
    });
}

fn evidence(page: &mut Page, verdict: &Verdict) {
    page.heading("Evidence");
    values(page, verdict);
    if verdict.degraded {
        page.text("The numbers are estimates: state was shed.");
    }
    let lines: Vec<&str> =
        verdict.events.iter().filter_map(|event| event.line.as_deref()).take(LINES_MAX).collect();
    if !lines.is_empty() {
        page.code(&lines);
    }
}

fn values(page: &mut Page, verdict: &Verdict) {
    for (name, value) in &verdict.values {
        page.item(name, &bare(value));
    }
}

fn done(page: &mut Page, message: &Message) {
    let acting: Vec<&Entry> =
        message.siblings.iter().filter(|entry| enforces(entry.order.action)).collect();
    page.heading("What was done");
    if acting.is_empty() {
        page.text("Nothing but this ticket.");
    }
    for entry in acting {
        page.item(action_name(entry.order.action), &did(entry));
        for note in &entry.order.notes {
            page.item(&note.guard, &note.reason);
        }
    }
}

/// What became of an order, in one line.
fn did(entry: &Entry) -> String {
    let order = &entry.order;
    let whom = order.subject.as_ref().map(|subject| format!("{} {}", subject.kind, subject.value));
    let whom = whom.unwrap_or_default();
    let until = order.expires_at.map(|at: EventTime| format!(" until {at}")).unwrap_or_default();
    let by = format!("by {}", order.target);
    match entry.phase {
        Phase::Finished(OutcomeState::Refused) => ended(entry, &whom, &by),
        _ if order.dry_run => format!("{whom} {by}: a dry run, nothing was carried out"),
        Phase::Waiting => {
            format!("{whom} {by}: waits for a person's approval (order {})", order.id)
        }
        Phase::Pending => format!("{whom} {by}{until}: about to begin (order {})", order.id),
        Phase::Standing => format!("{whom} {by}{until} (order {})", order.id),
        Phase::Releasing => format!("{whom} {by}: being undone"),
        Phase::Finished(_) => ended(entry, &whom, &by),
    }
}

fn ended(entry: &Entry, whom: &str, by: &str) -> String {
    let detail = entry.detail.as_deref().map(|detail| format!(": {detail}"));
    format!("{whom} {by}: {}{}", entry.phase.name(), detail.unwrap_or_default())
}

/// How to agree to what waits for a person, or to refuse it.
fn approval(page: &mut Page, message: &Message) {
    let waiting = message.siblings.iter().filter(|entry| entry.phase == Phase::Waiting);
    let commands: Vec<String> = waiting
        .flat_map(|entry| {
            let id = &entry.order.id;
            [
                format!("tidegate blocks approve {id}"),
                format!("tidegate blocks refuse {id} --reason \"…\""),
            ]
        })
        .collect();
    if commands.is_empty() {
        return;
    }
    page.heading("Waits for a person");
    page.text(
        "Nothing is carried out until somebody agrees; without an answer in time (approval.expires \
         of the policy) it is refused.",
    );
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    page.code(&commands);
}

fn undo(page: &mut Page, message: &Message) {
    let standing: Vec<&Entry> = message
        .siblings
        .iter()
        .filter(|entry| enforces(entry.order.action) && !entry.order.dry_run)
        .filter(|entry| !entry.is_finished() && entry.phase != Phase::Waiting)
        .collect();
    if !standing.is_empty() {
        page.heading("How to undo it");
        let commands: Vec<String> = standing
            .iter()
            .map(|entry| format!("tidegate blocks release --order {}", entry.order.id))
            .collect();
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        page.code(&commands);
    }
    page.heading("A false positive?");
    page.text(&format!(
        "Release with --reason \"false positive\": the caller is then not blocked again for anything \
         before that, by no rule, and no later block lasts longer for it. If it will happen again, put \
         the caller on the never_block list of the policy, or change the rule \
         (rules/{}.yml) and add a test with these lines.",
        plain(&message.entry.order.rule)
    ));
}

fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
