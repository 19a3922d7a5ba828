use std::cmp::Ordering;

use expect_test::{Expect, expect};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use schemas::{Deploy, DeployAction, EventTime};

use super::{Current, DeployRecord, DeployState, Deploys, Served};

/// `id@time` with `env=`, `v=`, `action` behind it.
pub(crate) fn deploy(text: &str) -> Deploy {
    let mut words = text.split_whitespace();
    let (id, time) = words.next().unwrap().split_once('@').unwrap();
    let mut deploy = Deploy {
        service: "shop".to_owned(),
        environment: None,
        deploy_id: id.to_owned(),
        deployed_at: EventTime(time.parse().unwrap()),
        version: None,
        commit: None,
        change_id: None,
        repository: None,
        pipeline_run: None,
        owner: None,
        action: DeployAction::Deployed,
    };
    for word in words {
        match word.split_once('=') {
            Some(("env", env)) => deploy.environment = Some(env.to_owned()),
            Some(("v", version)) => deploy.version = Some(version.to_owned()),
            Some(("owner", owner)) => deploy.owner = Some(owner.to_owned()),
            Some((other, _)) => panic!("{other}"),
            None if word == "rolledback" => deploy.action = DeployAction::Rolledback,
            None if word == "removed" => deploy.action = DeployAction::Removed,
            None => panic!("{word}"),
        }
    }
    deploy
}

fn history(texts: &[&str]) -> Deploys {
    Deploys::new(texts.iter().map(|text| deploy(text)).collect())
}

/// Asks `time` with `env=`, `v=`, `id=` behind it; one line an answer.
#[track_caller]
fn check(deploys: &Deploys, asked: &[&str], expected: &Expect) {
    let mut lines = String::new();
    for question in asked {
        let mut words = question.split_whitespace();
        let time = EventTime(words.next().unwrap().parse().unwrap());
        let mut served = Served {
            service: "shop",
            environment: None,
            version: None,
            deploy_id: None,
            event_time: time,
        };
        for word in words {
            match word.split_once('=').unwrap() {
                ("env", env) => served.environment = Some(env),
                ("v", version) => served.version = Some(version),
                ("id", id) => served.deploy_id = Some(id),
                (other, _) => panic!("{other}"),
            }
        }
        let answer = match deploys.current(&served) {
            None => "missing".to_owned(),
            Some(Current { deploy_id, previous_deploy_id, .. }) => {
                format!("{deploy_id} after {}", previous_deploy_id.as_deref().unwrap_or("nothing"))
            }
        };
        lines.push_str(&format!("{question}: {answer}\n"));
    }
    expected.assert_eq(&lines);
}

#[test]
fn an_event_has_the_deploy_that_was_live_at_its_time() {
    check(
        &history(&["d2@20", "d1@10"]),
        &["9", "10", "19", "20", "999"],
        &expect![[r#"
            9: missing
            10: d1 after nothing
            19: d1 after nothing
            20: d2 after d1
            999: d2 after d1
        "#]],
    );
}

#[test]
fn a_canary_and_the_version_beside_it_are_told_apart_by_the_serving_instance() {
    check(
        &history(&["d1@10 v=1", "d2@20 v=2"]),
        &["25 v=1", "25 v=2", "25", "25 v=3", "15 v=2"],
        &expect![[r#"
            25 v=1: d1 after nothing
            25 v=2: d2 after d1
            25: d2 after d1
            25 v=3: missing
            15 v=2: missing
        "#]],
    );
}

#[test]
fn a_deploy_without_a_version_may_be_of_any() {
    check(
        &history(&["d1@10", "d2@20 v=2"]),
        &["25 v=1", "25 v=2"],
        &expect![[r#"
            25 v=1: d1 after nothing
            25 v=2: d2 after d1
        "#]],
    );
}

#[test]
fn a_rollback_is_an_entry_of_its_own_even_under_a_known_id() {
    check(
        &history(&["d1@10 v=1", "d2@20 v=2", "d1@30 v=1 rolledback"]),
        &["15", "25", "35", "35 v=1"],
        &expect![[r#"
            15: d1 after nothing
            25: d2 after d1
            35: d1 after d2
            35 v=1: d1 after d2
        "#]],
    );
}

#[test]
fn whoever_is_rolled_back_to_again_serves_again() {
    let deploys =
        history(&["d1@10", "d2@20", "d1@30 rolledback", "d3@40", "d1@50 owner=team rolledback"]);
    check(
        &deploys,
        &["35", "45", "55", "55 id=d1"],
        &expect![[r#"
            35: d1 after d2
            45: d3 after d1
            55: d1 after d3
            55 id=d1: d1 after d3
        "#]],
    );
    assert!(deploys.all().filter(|deploy| deploy.action == DeployAction::Rolledback).all(|back| {
        back.owner.as_deref() == Some("team") // of whichever it was told
    }));
}

#[test]
fn a_rollback_that_is_told_again_while_it_stands_changes_nothing() {
    let texts = ["d1@10", "d2@20", "d1@30 rolledback", "d1@32 rolledback", "d1@90 rolledback"];
    let deploys = history(&texts);
    assert_eq!(deploys.len(), 3);
    let at = |time| Served {
        service: "shop",
        environment: None,
        version: None,
        deploy_id: None,
        event_time: EventTime(time),
    };
    assert_eq!(deploys.current(&at(99)).unwrap().deployed_at, EventTime(30));
    // News that comes late makes one of them count, and so does a removal.
    let (deploys, _) = deploys.with_posted(vec![deploy("d3@40")], None);
    assert_eq!(deploys.current(&at(60)).unwrap().deploy_id, "d3");
    assert_eq!(deploys.current(&at(99)).unwrap().deployed_at, EventTime(90));
    let (deploys, _) = history(&texts).with_posted(vec![deploy("d1@40 removed")], None);
    assert_eq!(deploys.current(&at(60)).unwrap().deploy_id, "d2");
    assert_eq!(deploys.current(&at(99)).unwrap().deployed_at, EventTime(90));
}

#[test]
fn a_removal_ends_the_deploy_it_names_and_otherwise_all() {
    check(
        &history(&["d1@10", "d2@20", "d2@30 removed", "gone@40 removed", "d3@50"]),
        &["25", "35", "45", "55"],
        &expect![[r#"
            25: d2 after d1
            35: d1 after nothing
            45: missing
            55: d3 after d2
        "#]],
    );
}

#[test]
fn environments_are_apart_and_one_that_is_not_named_agrees_with_any() {
    check(
        &history(&["p1@10 env=prod", "s1@20 env=staging", "x@30"]),
        &["25 env=prod", "25 env=staging", "25 env=dev", "25", "35 env=prod", "35 env=dev"],
        &expect![[r#"
            25 env=prod: p1 after nothing
            25 env=staging: s1 after nothing
            25 env=dev: missing
            25: s1 after p1
            35 env=prod: x after p1
            35 env=dev: x after nothing
        "#]],
    );
}

#[test]
fn a_deploy_that_the_log_names_is_believed() {
    check(
        &history(&["d1@10", "d2@20", "d1@30 rolledback"]),
        &["25 id=d1", "35 id=d1", "25 id=d9", "5 id=d2"],
        &expect![[r#"
            25 id=d1: d1 after nothing
            35 id=d1: d1 after d2
            25 id=d9: missing
            5 id=d2: d2 after d1
        "#]],
    );
}

#[test]
fn a_repeat_changes_nothing_but_what_it_adds_and_the_earliest_time_holds() {
    let deploys = history(&["d1@10"]);
    let (deploys, added) = deploys.with_posted(vec![deploy("d1@12")], None);
    assert_eq!((added.fresh.len(), added.repeated.as_slice()), (0, ["d1".to_owned()].as_slice()));
    let (deploys, added) =
        deploys.with_posted(vec![deploy("d1@12 owner=team"), deploy("d1@8")], None);
    assert_eq!(added.fresh.len(), 2);
    let kept: Vec<&Deploy> = deploys.all().collect();
    assert_eq!(kept, [&deploy("d1@8 owner=team")]);
}

#[test]
fn posted_deploys_are_forgotten_but_for_the_last_of_a_service() {
    let (deploys, _) = Deploys::new(vec![deploy("f1@1")]).with_posted(
        vec![deploy("d1@10"), deploy("d2@20"), deploy("p1@15 env=prod")],
        Some(EventTime(100)),
    );
    let ids: Vec<&str> = deploys.all().map(|deploy| deploy.deploy_id.as_str()).collect();
    assert_eq!(ids, ["d2", "f1", "p1"]);
}

#[test]
fn other_filed_deploys_leave_the_posted_ones() {
    let (deploys, _) = history(&["f1@1"]).with_posted(vec![deploy("d1@10")], None);
    let deploys = deploys.with_filed(vec![deploy("f2@2")]);
    let ids: Vec<&str> = deploys.all().map(|deploy| deploy.deploy_id.as_str()).collect();
    assert_eq!(ids, ["d1", "f2"]);
}

/// The history at a moment, one line a deploy.
#[track_caller]
fn check_history(deploys: &Deploys, moment: i64, expected: &Expect) {
    let mut lines = String::new();
    for DeployRecord { deploy, state, until, by } in deploys.history(EventTime(moment)) {
        let environment = deploy.environment.as_deref().unwrap_or("any");
        lines.push_str(&format!("{environment} {}@{}: ", deploy.deploy_id, deploy.deployed_at.0));
        lines.push_str(state.name());
        until.into_iter().for_each(|until| lines.push_str(&format!(" at {}", until.0)));
        by.into_iter().for_each(|by| lines.push_str(&format!(" by {by}")));
        lines.push('\n');
    }
    expected.assert_eq(&lines);
}

#[test]
fn the_history_says_what_became_of_each_deploy_by_a_moment() {
    let deploys = history(&[
        "d1@10 env=prod",
        "d2@20 env=prod",
        "d3@30 env=prod",
        "d2@40 env=prod rolledback",
        "s1@15 env=staging",
        "s1@25 env=staging removed",
        "s2@50 env=staging",
    ]);
    check_history(
        &deploys,
        45,
        &expect![[r#"
            prod d2@40: serving
            prod d3@30: rolled back at 40 by d2
            prod d2@20: superseded at 30 by d3
            prod d1@10: superseded at 20 by d2
            staging s2@50: to come
            staging s1@15: removed at 25
        "#]],
    );
    check_history(
        &deploys,
        24,
        &expect![[r#"
            prod d2@40: to come
            prod d3@30: to come
            prod d2@20: serving
            prod d1@10: superseded at 20 by d2
            staging s2@50: to come
            staging s1@15: serving
        "#]],
    );
}

#[test]
fn a_deploy_of_no_environment_takes_over_in_all_and_is_taken_over_only_where_another_is() {
    check_history(
        &history(&["p1@10 env=prod", "x@20", "p2@30 env=prod"]),
        40,
        &expect![[r#"
            any x@20: serving
            prod p2@30: serving
            prod p1@10: superseded at 20 by x
        "#]],
    );
}

fn agree(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_none() || other.is_none() || one == other
}

fn kind(deploy: &Deploy) -> u8 {
    match deploy.action {
        DeployAction::Deployed | DeployAction::Upgraded => 0,
        DeployAction::Rolledback => 1,
        DeployAction::Removed => 2,
    }
}

fn later(one: &&Deploy, other: &&Deploy) -> Ordering {
    let of = |d: &Deploy| (d.deployed_at, d.deploy_id.clone(), kind(d));
    of(one).cmp(&of(other))
}

/// Whether one of these removals ended a deploy by a moment.
fn removed(deploy: &Deploy, at: EventTime, entries: &[&Deploy]) -> bool {
    entries.iter().filter(|d| kind(d) == 2).any(|r| {
        let meets = |d: &Deploy| agree(r.environment.as_deref(), d.environment.as_deref());
        let live = || entries.iter().filter(|d| kind(d) != 2);
        let names_one = live().any(|d| meets(d) && d.deploy_id == r.deploy_id);
        r.deployed_at > deploy.deployed_at
            && r.deployed_at <= at
            && meets(deploy)
            && (!names_one || r.deploy_id == deploy.deploy_id)
    })
}

/// The earliest of each (environment, id, kind) of a service, and each rollback but those that
/// repeat one before, to the same deploy, that still stands.
fn entries_by_force<'d>(deploys: &'d [Deploy], service: &str) -> Vec<&'d Deploy> {
    let of_service: Vec<&Deploy> = deploys.iter().filter(|d| d.service == service).collect();
    let of_one = |one: &Deploy, other: &Deploy| {
        one.environment == other.environment && one.deploy_id == other.deploy_id
    };
    let same = |one: &Deploy, other: &Deploy| {
        of_one(one, other)
            && kind(one) == kind(other)
            && (kind(one) != 1 || one.deployed_at == other.deployed_at)
    };
    let mut entries: Vec<&Deploy> = Vec::new();
    for deploy in &of_service {
        let earliest = of_service.iter().filter(|d| same(d, deploy)).map(|d| d.deployed_at).min();
        if Some(deploy.deployed_at) == earliest && !entries.iter().any(|d| same(d, deploy)) {
            entries.push(deploy);
        }
    }
    let stands = |first: &&Deploy, back: &&Deploy| {
        let another = entries.iter().any(|other| {
            kind(other) != 2
                && other.deploy_id != back.deploy_id
                && agree(other.environment.as_deref(), back.environment.as_deref())
                && later(first, other).is_lt()
                && later(other, back).is_lt()
        });
        !another && !removed(first, back.deployed_at, &entries)
    };
    let repeats = |back: &&Deploy| {
        let mut before = entries.iter().filter(|first| {
            kind(first) == 1 && of_one(first, back) && first.deployed_at < back.deployed_at
        });
        kind(back) == 1 && before.any(|first| stands(first, back))
    };
    entries.iter().copied().filter(|deploy| !repeats(deploy)).collect()
}

/// The definition, word by word, without any table.
pub(crate) fn by_force(
    deploys: &[Deploy],
    served: &Served<'_>,
) -> Option<(String, EventTime, Option<String>)> {
    let mut shown = entries_by_force(deploys, served.service);
    shown.retain(|d| agree(d.environment.as_deref(), served.environment));
    let live: Vec<&Deploy> = shown.iter().copied().filter(|d| kind(d) != 2).collect();
    let now = served.event_time;
    let begun = || live.iter().copied().filter(|d| d.deployed_at <= now);
    let holding = || begun().filter(|d| !removed(d, now, &shown));
    let found = if let Some(id) = served.deploy_id {
        let of_id = |d: &&Deploy| d.deploy_id == id;
        begun()
            .filter(of_id)
            .max_by(later)
            .or_else(|| live.iter().copied().filter(of_id).min_by(later))
    } else if let Some(version) = served.version {
        holding()
            .filter(|d| d.version.as_deref() == Some(version))
            .max_by(later)
            .or_else(|| holding().filter(|d| d.version.is_none()).max_by(later))
    } else {
        holding().max_by(later)
    }?;
    let before = live.iter().copied().filter(|d| later(d, &found).is_lt());
    let previous = before.filter(|d| d.deploy_id != found.deploy_id).max_by(later);
    Some((found.deploy_id.clone(), found.deployed_at, previous.map(|d| d.deploy_id.clone())))
}

const ENVIRONMENTS: [Option<&str>; 3] = [None, Some("prod"), Some("staging")];
const VERSIONS: [Option<&str>; 4] = [None, Some("1"), Some("2"), Some("3")];

fn histories() -> impl Strategy<Value = Vec<Deploy>> {
    // Two with one key and one time differ in nothing, as two deliveries of one deploy would not.
    let one = (0..6_u8, 0..40_i64, 0..3_usize, 0..2_usize, 0..8_u8);
    prop::collection::vec(one, 0..14).prop_map(|rows| {
        let rows = rows.into_iter().map(|(id, time, environment, service, action)| Deploy {
            service: ["shop", "cart"][service].to_owned(),
            environment: ENVIRONMENTS[environment].map(str::to_owned),
            version: VERSIONS[usize::from(id) % 4].map(str::to_owned),
            action: match action {
                0 => DeployAction::Removed,
                1 => DeployAction::Rolledback,
                2 => DeployAction::Upgraded,
                _ => DeployAction::Deployed,
            },
            ..deploy(&format!("d{id}@{time}"))
        });
        rows.collect()
    })
}

fn arrivals() -> impl Strategy<Value = (Vec<Deploy>, Vec<Deploy>, usize)> {
    histories().prop_flat_map(|history| {
        let shuffled = Just(history.clone()).prop_shuffle();
        let split = 0..=history.len();
        (Just(history), shuffled, split)
    })
}

proptest! {
    #[test]
    fn the_join_is_the_definition_whatever_the_order_of_arrival(
        (history, arrived, split) in arrivals(),
        asked in prop::collection::vec(
            (-1..45_i64, 0..3_usize, 0..4_usize, prop_oneof![4 => Just(None), 1 => (0..7_u8).prop_map(Some)]),
            1..12,
        ),
        twice in any::<bool>(),
    ) {
        let (first, rest) = arrived.split_at(split);
        let (mut deploys, _) = Deploys::new(first.to_vec()).with_posted(rest.to_vec(), None);
        if twice {
            let (again, added) = deploys.with_posted(arrived.clone(), None);
            prop_assert_eq!(added.fresh, Vec::new());
            deploys = again;
        }
        for (time, environment, version, id) in asked {
            let id = id.map(|id| format!("d{id}"));
            let served = Served {
                service: "shop",
                environment: ENVIRONMENTS[environment],
                version: VERSIONS[version],
                deploy_id: id.as_deref(),
                event_time: EventTime(time),
            };
            let found = deploys.current(&served).map(|c| (c.deploy_id, c.deployed_at, c.previous_deploy_id));
            prop_assert_eq!(found, by_force(&history, &served), "{:?}", served);
        }
    }
    #[test]
    fn what_serves_in_the_history_is_what_the_join_gives(
        history in histories(),
        moment in -1..45_i64,
    ) {
        let named = history.into_iter().filter(|deploy| deploy.environment.is_some()).collect();
        let deploys = Deploys::new(named);
        for environment in ["prod", "staging"] {
            let served = Served {
                service: "shop",
                environment: Some(environment),
                version: None,
                deploy_id: None,
                event_time: EventTime(moment),
            };
            let serving = deploys.history(EventTime(moment)).into_iter().filter(|record| {
                record.deploy.service == "shop"
                    && record.deploy.environment.as_deref() == Some(environment)
                    && record.state == DeployState::Serving
            });
            let serving: Vec<_> =
                serving.map(|record| (record.deploy.deploy_id, record.deploy.deployed_at)).collect();
            let joined = deploys.current(&served).map(|found| (found.deploy_id, found.deployed_at));
            prop_assert_eq!(serving, joined.into_iter().collect::<Vec<_>>());
        }
    }
}
