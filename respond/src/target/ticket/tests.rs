#![expect(clippy::needless_pass_by_value, reason = "values are made in place")]

use expect_test::{Expect, expect, expect_file};
use schemas::{Action, EventTime, GuardNote, Order, OutcomeState, Subject, VerdictKind};

use super::{create, is_first, note};
use crate::config::Markup;
use crate::fixture::verdict;
use crate::ledger::{Entry, Message, MessageKind, Phase};

fn entry(action: Action, revision: u32, phase: Phase) -> Entry {
    let blocks = action == Action::Block;
    let order = Order {
        id: format!("{action:?}-{revision}").to_lowercase(),
        verdict_id: "0192".into(),
        revision,
        rule: "auth/credential-stuffing".into(),
        action,
        subject: blocks.then(|| Subject { kind: "ip".into(), value: "203.0.113.9".into() }),
        target: if blocks { "nginx".into() } else { "tracker".into() },
        decided_at: EventTime(1_800_000_000_000),
        expires_at: blocks.then_some(EventTime(1_800_001_800_000)),
        dry_run: false,
        needs_approval: false,
        notes: Vec::new(),
    };
    Entry {
        order,
        phase,
        attempt: 1,
        remote_id: None,
        detail: None,
        changed_at: EventTime(1_800_000_000_000),
        asked: None,
        undo: false,
        undo_asked_at: None,
    }
}

fn message(revision: u32, phase: Phase) -> Message {
    let ticket = entry(Action::Ticket, revision, Phase::Pending);
    Message {
        entry: ticket.clone(),
        kind: MessageKind::Apply,
        verdict: Some(Box::new(verdict("0192", revision))),
        siblings: vec![entry(Action::Block, 1, phase), ticket],
        remote_id: None,
        earlier: 2,
        still: Vec::new(),
    }
}

#[test]
fn a_ticket_says_all_that_a_person_needs() {
    let ticket = create(&message(1, Phase::Standing), Markup::Markdown);
    let whole = format!("# {}\n\n{}\n", ticket.subject, ticket.body);
    expect_file!["ticket.md"].assert_eq(&whole);
}

#[test]
fn the_same_in_textile() {
    let ticket = create(&message(1, Phase::Standing), Markup::Textile);
    expect_file!["ticket.textile"].assert_eq(&format!("{}\n", ticket.body));
}

#[track_caller]
fn check_note(kind: VerdictKind, phase: Phase, expected: Expect) {
    let mut message = message(3, phase);
    let verdict = message.verdict.as_mut().unwrap();
    verdict.kind = kind;
    verdict.into = (kind == VerdictKind::Merged).then(|| "0193".into());
    expected.assert_eq(&note(&message, Markup::Markdown));
}

#[test]
fn a_note_says_what_is_new() {
    check_note(
        VerdictKind::Updated,
        Phase::Standing,
        expect![[r#"
        It goes on; last seen 2027-01-15T08:00:57.000Z.

        - accounts: `10`
        - failures: `20`

        ## What was done

        - block: `ip 203.0.113.9 by nginx until 2027-01-15T08:30:00.000Z (order block-1)`

        (tidegate-0192 revision 3)"#]],
    );
    check_note(
        VerdictKind::Closed,
        Phase::Finished(OutcomeState::Expired),
        expect![[r#"
        It is over; last seen 2027-01-15T08:00:57.000Z. The totals:

        - accounts: `10`
        - failures: `20`

        ## What was done

        - block: `ip 203.0.113.9 by nginx: expired`

        (tidegate-0192 revision 3)"#]],
    );
    check_note(
        VerdictKind::Merged,
        Phase::Waiting,
        expect![[r#"
            It turned out to be part of tidegate-0193.

            - accounts: `10`
            - failures: `20`

            ## What was done

            - block: `ip 203.0.113.9 by nginx: waits for a person's approval (order block-1)`

            ## Waits for a person

            Nothing is carried out until somebody agrees; without an answer in time (approval.expires of the policy) it is refused.

            ```
            tidegate blocks approve block-1
            tidegate blocks refuse block-1 --reason "…"
            ```

            (tidegate-0192 revision 3)"#]],
    );
}

#[test]
fn what_waits_says_how_to_decide_and_not_how_to_undo() {
    let text = create(&message(1, Phase::Waiting), Markup::Markdown).body;
    let (_, rest) = text.split_once("## Waits for a person").unwrap();
    let commands = "```\ntidegate blocks approve block-1\n\
                    tidegate blocks refuse block-1 --reason \"…\"\n```";
    assert!(rest.contains(commands) && !text.contains("How to undo it"), "{text}");
}

#[test]
fn an_order_that_was_refused_says_why_also_in_a_dry_run() {
    let mut message = message(1, Phase::Finished(OutcomeState::Refused));
    let block = &mut message.siblings[0];
    (block.order.dry_run, block.detail) = (true, Some("its time was over".into()));
    let text = create(&message, Markup::Markdown).body;
    assert!(text.contains("ip 203.0.113.9 by nginx: refused: its time was over"), "{text}");
}

#[test]
fn a_dry_run_says_that_nothing_was_carried_out() {
    let mut message = message(1, Phase::Standing);
    let block = &mut message.siblings[0];
    block.order.dry_run = true;
    block.order.notes.push(GuardNote { guard: "dry_run".into(), reason: "it is on".into() });
    let text = create(&message, Markup::Markdown).body;
    assert!(
        text.contains("a dry run, nothing was carried out") && !text.contains("undo"),
        "{text}"
    );
}

#[test]
fn a_hostile_verdict_stays_inside_its_quotes() {
    let mut message = message(1, Phase::Standing);
    let verdict = message.verdict.as_mut().unwrap();
    verdict.key.insert("account".into(), "```\n# fake heading\n[x](javascript:y)".into());
    verdict.events[0].line = Some("``` <script>\n## fake".into());
    let text = create(&message, Markup::Markdown).body;
    let outside = text.lines().filter(|line| line.starts_with("# ") || line.contains("<script"));
    assert_eq!(outside.count(), 0, "{text}");
}

#[test]
fn only_the_lowest_revision_is_the_first() {
    let mut later = message(2, Phase::Standing);
    assert!(is_first(&later));
    later.siblings.push(entry(Action::Ticket, 1, Phase::Finished(OutcomeState::Done)));
    assert!(!is_first(&later));
}
