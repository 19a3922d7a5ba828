//! Rules and traffic at random, through both states and the definition.
//!
//! A case is a rule over a stretch of traffic: disorder within the lateness and beyond it, quiet
//! and straggling partitions, gaps, absent and hostile values, one to many events at a time, kills.
//! Of every case the closed episodes in panes must be those over rows; of one stretch in twenty,
//! also those of the definition, which asks a query for every window.
//!
//! A failure names its two numbers: `check(rules, traffic)` with them repeats it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use schemas::{BatchBuilder, Event, EventTime, Verdict};

use super::{ClosedEpisode, History, closed};
use crate::plan::{CompiledRule, State, Table, compile};
use crate::rule::{Lists, Settings, SourceFile, load};
use crate::ruleset::Ruleset;
use crate::run::{RunSettings, Runner};
use crate::watermark::Guard;

/// Sets of rules, rules in a set, stretches of traffic for each set: 10,000 cases.
const SETS: u64 = 50;
const RULES: u64 = 10;
const STRETCHES: u64 = 20;

const LATENESS_MS: i64 = 10_000;

/// Numbers that look random (splitmix64, Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn of(numbers: [u64; 2]) -> Self {
        let [high, low] = numbers;
        Self(high.wrapping_mul(0x9e37_79b9) ^ low.wrapping_mul(0x85eb_ca6b) ^ 0x7469_6465)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn span(&mut self, bound: i64) -> i64 {
        i64::try_from(self.below(u64::try_from(bound).unwrap())).unwrap()
    }

    fn place(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    fn partition(&mut self, bound: u32) -> u32 {
        u32::try_from(self.below(bound.into())).unwrap()
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn of_these<'t, T: ?Sized>(&mut self, these: &[&'t T]) -> &'t T {
        these[self.place(these.len())]
    }

    /// Some of these, at least so many, each once.
    fn some_of<'t>(&mut self, these: &[&'t str], least: u64, most: u64) -> Vec<&'t str> {
        let mut left = these.to_vec();
        let wanted = least + self.below(most - least + 1);
        (0..wanted).map(|_| left.swap_remove(self.place(left.len()))).collect()
    }
}

const FILTERS: &[&str] = &[
    "status >= 400",
    "status IN (401, 403)",
    "NOT (status = 500)",
    "method = 'POST'",
    "path LIKE '/v1/%'",
    "path LIKE '%admin%'",
    "account IS NOT NULL",
    "coalesce(account, 'nobody') <> 'a1'",
    "response_bytes > 100",
    "(status = 401 OR response_bytes > 300)",
    "lower(user_agent) LIKE 'scan%'",
    "cidr_match(client_ip, '192.0.2.0/31')",
    "array_has(attack_class, 'xss')",
    "(duration_us IS NULL OR duration_us < 5000)",
    "principal NOT IN ('p0', '\u{1F512}')",
    "first_seen('1m', client_ip, path)",
];

const KEYS: &[&str] =
    &["client_ip", "principal", "client_ip, service", "account, status", "path", "client_ip, path"];

const VALUES: &[&str] = &[
    "count(*)",
    "count(account)",
    "count(DISTINCT account)",
    "count(DISTINCT path)",
    "count(DISTINCT status)",
    "sum(response_bytes)",
    "min(status)",
    "max(response_bytes)",
    "avg(response_bytes)",
    "avg(status)",
    "bool_or(status = 500)",
    "bool_and(status >= 400)",
    "max(path)",
    "min(user_agent)",
    "min(event_time)",
    "count(*) FILTER (WHERE status = 401)",
    "sum(CASE WHEN status >= 400 THEN 1 ELSE 0 END)",
    "count(DISTINCT account) FILTER (WHERE method = 'POST')",
    "sequence(event_time, status = 401, method = 'POST', status = 200)",
];

/// Some that stay true once they are, some that do not.
const BARS: &[&str] = &[
    "count(*) >= 2",
    "count(*) > 3",
    "4 <= count(*)",
    "count(DISTINCT account) >= 2",
    "count(DISTINCT path) > 2",
    "sum(response_bytes) > 700",
    "max(response_bytes) >= 500",
    "min(status) <= 200",
    "bool_or(status = 500)",
    "bool_and(status >= 400)",
    "bool_and(status >= 400) = false",
    "count(*) < 4",
    "avg(status) > 350",
    "count(*) FILTER (WHERE status = 401) >= 2",
    "count(*) FILTER (WHERE status = 401) * 2 > count(*)",
    "sum(response_bytes) / count(*) > 200",
    "sequence(event_time, status >= 400, status = 200) >= 2",
    "sequence(event_time, status = 200, path = '/admin', method = 'GET') FILTER (WHERE account <> '') > 2",
];

/// Head and query of a rule.
fn rule(dice: &mut Dice) -> (String, String) {
    let window = dice.of_these(&["20s 10s", "30s 10s", "40s 20s", "60s 10s", "60s 30s", "30s 30s"]);
    let (window, slide) = window.split_once(' ').unwrap();
    let rearm = dice.of_these(&["0s", "10s", "25s", "60s"]);
    let head = format!("window: {window}\nslide: {slide}\nrearm: {rearm}");
    let filters = dice.some_of(FILTERS, 0, 3);
    let values = dice.some_of(VALUES, 1, 3);
    let key = dice.of_these(KEYS);
    let filter = filters.join(" AND ");
    let filter = if filter.is_empty() { filter } else { format!("WHERE {filter} ") };
    let named: Vec<String> =
        values.iter().enumerate().map(|(n, value)| format!("{value} AS v{n}")).collect();
    let bars = dice.some_of(BARS, 0, 2);
    let joint = dice.of_these(&[" AND ", " OR "]);
    let having =
        if bars.is_empty() { String::new() } else { format!(" HAVING {}", bars.join(joint)) };
    let values = named.join(", ");
    (head, format!("SELECT {key}, {values} FROM events {filter}GROUP BY {key}{having}"))
}

const TESTS: &str = "tests:\n  - {name: a, events: [], episodes: [{}]}\n  \
                     - {name: b, events: [], episodes: []}\n";

fn rules(set: u64) -> Vec<CompiledRule> {
    let file = |number: u64| {
        let (head, sql) = rule(&mut Dice::of([set, number]));
        let sql = format!("sql: |\n  {sql}\n");
        let text = format!("title: r{number}\nseverity: low\nmode: live\n{head}\n{sql}{TESTS}");
        SourceFile { path: format!("x/r{number}.yml"), text }
    };
    let files: Vec<SourceFile> = (0..RULES).map(file).collect();
    let (loaded, problems) = load(&files, &Settings::default());
    assert!(problems.is_empty(), "set {set}: {problems:?}");
    let (compiled, problems) = compile(&loaded, &Lists::default());
    let said: Vec<String> = problems.iter().map(|problem| problem.render(false)).collect();
    assert_eq!(compiled.len(), files.len(), "set {set}: {}", said.join("\n"));
    compiled
}

fn event(dice: &mut Dice, at: i64, number: usize) -> Event<'static> {
    let account = ["a0", "a1", "a2", "", "\u{202e}a'; DROP", "a1\u{0}"];
    let path = ["/v1/a", "/v1/b", "/admin", "/v1/admin/x", "/", "/\u{fffd}%00"];
    let agent = ["curl/8", "Scanner 1", "SCAN", ""];
    let maybe = |dice: &mut Dice, value: &str| (!dice.one_in(7)).then(|| value.to_owned().into());
    Event {
        event_id: Some(format!("e{:04}", number * 7_919 % 10_000).into()),
        event_time: Some(EventTime(at)),
        client_ip: Some(
            dice.of_these(&["192.0.2.0", "192.0.2.1", "192.0.2.2", "2001:db8::1"]).into(),
        ),
        principal: Some(dice.of_these(&["p0", "p1", "\u{1F512}"]).into())
            .filter(|_| !dice.one_in(4)),
        account: {
            let one = dice.of_these(&account);
            maybe(dice, one)
        },
        service: Some(dice.of_these(&["shop", "pay"]).into()),
        method: {
            let one = dice.of_these(&["GET", "POST"]);
            maybe(dice, one)
        },
        path: {
            let one = dice.of_these(&path);
            maybe(dice, one)
        },
        user_agent: {
            let one = dice.of_these(&agent);
            maybe(dice, one)
        },
        status: (!dice.one_in(9)).then(|| [200, 401, 401, 403, 500][dice.place(5)]),
        response_bytes: (!dice.one_in(6)).then(|| {
            let most = [600, 20, 20, 700][dice.place(4)];
            dice.span(most)
        }),
        duration_us: dice.one_in(2).then(|| dice.span(10_000)),
        attack_class: dice.one_in(3).then(|| vec![dice.of_these(&["xss", "sqli"]).into()]),
        ..Event::default()
    }
}

/// What happens to a runner.
enum Move {
    Hand(u32, RecordBatch),
    Quiet(u32, EventTime),
    KeepUp(u32),
    Restart,
}

/// A stretch of traffic over some partitions.
fn traffic(dice: &mut Dice) -> (u32, Vec<Move>) {
    let partitions = 1 + dice.partition(3);
    let mut at = dice.span(800_000) - 400_000;
    let count = 1 + dice.place(50);
    let late = dice.one_in(3);
    let mut arrivals: Vec<(i64, u32, Event<'static>)> = Vec::new();
    for number in 0..count {
        at += match dice.below(12) {
            0 => dice.span(150_000),
            1..4 => dice.span(20_000),
            _ => dice.span(2_500),
        };
        let most = if late && dice.one_in(2) { 5 * LATENESS_MS } else { LATENESS_MS };
        let delay = if dice.one_in(2) { 0 } else { dice.span(most) };
        let partition = dice.partition(partitions);
        arrivals.push((at + delay, partition, event(dice, at, number)));
    }
    arrivals.sort_by_key(|(arrival, ..)| *arrival);
    let rows = [1, 2, 7, 100][dice.place(4)];
    let mut moves = Vec::new();
    let mut hand: Vec<Event<'static>> = Vec::new();
    let mut of = 0;
    for (arrival, partition, event) in arrivals {
        if (partition != of || hand.len() >= rows) && !hand.is_empty() {
            moves.push(Move::Hand(of, batch(&std::mem::take(&mut hand))));
            match dice.below(16) {
                0 => {
                    let of = dice.partition(partitions);
                    moves.push(Move::Quiet(of, EventTime(arrival)));
                }
                1 => {
                    moves.push(Move::KeepUp(dice.partition(partitions)));
                }
                2 | 3 => moves.push(Move::Restart),
                _ => {}
            }
        }
        of = partition;
        hand.push(event);
    }
    moves.push(Move::Hand(of, batch(&hand)));
    (partitions, moves)
}

fn batch(events: &[Event<'static>]) -> RecordBatch {
    let mut builder = BatchBuilder::default();
    events.iter().for_each(|event| builder.push(event));
    builder.finish().unwrap()
}

/// What was said, and which rows of which hand were not late.
fn play(rules: &Arc<Ruleset>, partitions: u32, moves: &[Move]) -> (Vec<Verdict>, Vec<RecordBatch>) {
    let mut settings = RunSettings::over(partitions);
    settings.map.guard = Guard::Off;
    settings.map.lateness_ms = LATENESS_MS;
    let mut runner = Runner::new(Arc::clone(rules), settings).unwrap();
    let (mut said, mut accepted) = (Vec::new(), Vec::new());
    for step in moves {
        let fed = match step {
            Move::Hand(partition, hand) => {
                let fed = runner.feed(*partition, hand).unwrap();
                let late: Vec<usize> = fed.late.iter().filter_map(|late| late.row).collect();
                let on_time = (0..hand.num_rows()).filter(|row| !late.contains(row));
                accepted.extend(on_time.map(|row| hand.slice(row, 1)));
                fed
            }
            Move::Quiet(partition, now) => runner.quiet(*partition, *now).unwrap(),
            Move::KeepUp(partition) => runner.keep_up(*partition, 60_000).unwrap(),
            Move::Restart => {
                if runner.is_settled() {
                    runner.restart().unwrap();
                }
                continue;
            }
        };
        assert_eq!(fed.failures, []);
        said.extend(fed.verdicts);
    }
    said.extend(runner.end().unwrap().verdicts);
    (said, accepted)
}

fn differ(found: &[ClosedEpisode], wanted: &[ClosedEpisode]) -> Option<String> {
    let only = |these: &[ClosedEpisode], those: &[ClosedEpisode]| -> Vec<String> {
        let only = these.iter().filter(|one| !those.contains(one)).take(3);
        only.map(|one| format!("  {one:?}")).collect()
    };
    let (more, less) = (only(found, wanted).join("\n"), only(wanted, found).join("\n"));
    (found != wanted).then(|| format!("only found:\n{more}\nonly wanted:\n{less}\n"))
}

/// Both states of one set of rules.
struct Both {
    set: u64,
    panes: Arc<Ruleset>,
    rows: Arc<Ruleset>,
}

impl Both {
    fn of(set: u64) -> Self {
        let rows = rules(set).into_iter().map(CompiledRule::into_rows).collect();
        Self {
            set,
            panes: Arc::new(Ruleset::new(rules(set)).unwrap()),
            rows: Arc::new(Ruleset::new(rows).unwrap()),
        }
    }

    /// Runs one stretch; says what differed. Counts episodes, late events, and episodes of rules that
    /// ask the past.
    fn check(&self, stretch: u64, seen: &mut [usize; 3]) -> Option<String> {
        let set = self.set;
        let (partitions, moves) = traffic(&mut Dice::of([set + 1_000, stretch]));
        let (by_panes, accepted) = play(&self.panes, partitions, &moves);
        let came = |step: &Move| if let Move::Hand(_, hand) = step { hand.num_rows() } else { 0 };
        seen[1] += moves.iter().map(came).sum::<usize>() - accepted.len();
        let (by_rows, _) = play(&self.rows, partitions, &moves);
        let (by_panes, by_rows) = (ClosedEpisode::all(&by_panes), ClosedEpisode::all(&by_rows));
        seen[0] += by_panes.len();
        let asks = |episode: &&ClosedEpisode| {
            self.panes.rules().any(|rule| rule.id() == episode.rule && rule.asks_the_past())
        };
        seen[2] += by_panes.iter().filter(asks).count();
        let wrong = |what: &str, differs: String| {
            format!("{what}: repeat with check({set}, {stretch})\n{differs}")
        };
        if let Some(differs) = differ(&by_panes, &by_rows) {
            return Some(wrong("panes against rows", differs));
        }
        if stretch > 0 || accepted.is_empty() {
            return None;
        }
        let rows = concat_batches(&accepted[0].schema(), &accepted).unwrap();
        let at = accepted.iter().map(|row| schemas::event_at(row, 0).event_time.unwrap().millis());
        let history = History { table: Table::Events, at: at.collect(), batch: rows };
        let defined = closed(&self.rows, &Lists::default(), &[history]).unwrap();
        differ(&by_panes, &defined).map(|differs| wrong("panes against the definition", differs))
    }
}

#[track_caller]
fn check_sets(sets: std::ops::Range<u64>) {
    let (mut in_panes, mut seen, mut wrong) = (0, [0; 3], Vec::new());
    for set in sets.clone() {
        let both = Both::of(set);
        in_panes += both.panes.rules().filter(|rule| rule.state == State::Panes).count();
        wrong.extend((0..STRETCHES).filter_map(|stretch| both.check(stretch, &mut seen)));
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong[..wrong.len().min(3)].join("\n"));
    // The cases are worth something: most rules are kept in panes and fire, events come late, and
    // some are the first of theirs.
    let [episodes, late, firsts] = seen;
    assert!(in_panes > 200 && episodes > 5_000 && late > 300, "{in_panes} {episodes} {late}");
    assert!(firsts > 100, "{firsts}");
}

// Two halves, so that they run beside each other.

#[test]
fn generated_rules_over_generated_traffic_give_the_same_episodes_in_either_state() {
    check_sets(0..SETS / 2);
}

#[test]
fn and_so_do_the_others() {
    check_sets(SETS / 2..SETS);
}
