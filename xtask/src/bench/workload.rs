//! Access logs to measure with: many ordinary callers and a few planted attackers.
//!
//! Owns: the content of the file. Never: time of the machine; the same wish gives the same bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::clock::Moment;
use crate::random::Random;
use crate::trouble::Trouble;

/// Requests in a second of event time.
const PER_SECOND: u64 = 2_000;
const CALLERS: u64 = 20_000;
/// 2026-11-20T08:00:00Z.
const START: Moment = Moment(1_795_161_600_000);

const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 \
     Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
     Version/18.1 Safari/605.1.15",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
];

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// nginx combined.
    Combined,
    /// nginx with a JSON log format of twelve fields.
    Json,
}

impl Format {
    /// Its name on the page.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Combined => "combined",
            Self::Json => "JSON",
        }
    }
}

/// How unevenly callers ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callers {
    /// Nearly half of all requests are of one caller, a sixth of the next, and so on: the model
    /// for which figures were set.
    Few,
    /// A fourteenth are of one caller, and sixteen times as many callers are seen in a minute.
    Many,
}

/// A file to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    /// How many lines.
    pub(super) lines: u64,
    /// How they are written.
    pub(super) format: Format,
    /// Who asks how often.
    pub(super) callers: Callers,
    /// Chooses everything else.
    pub(super) seed: u64,
}

/// One request.
struct Request {
    at_ms: i64,
    address: String,
    user: Option<String>,
    method: &'static str,
    target: String,
    status: u16,
    bytes: u64,
    agent: &'static str,
}

impl Workload {
    /// Its name on the page.
    pub(super) fn name(self) -> String {
        let format = self.format.name();
        match self.callers {
            Callers::Few => format.to_owned(),
            Callers::Many => format!("{format}, many callers"),
        }
    }

    /// The file in a folder; made where it is not there yet.
    pub(super) fn file(self, folder: &Path) -> Result<PathBuf, Trouble> {
        let Self { lines, seed, .. } = self;
        let callers = match self.callers {
            Callers::Few => "few",
            Callers::Many => "many",
        };
        let name = format!("{}-{callers}-{lines}-{seed}.log", self.format.name());
        let (path, draft) = (folder.join(&name), folder.join(format!("{name}.part")));
        if path.exists() {
            return Ok(path);
        }
        let trouble = |e: std::io::Error| Trouble::io("write", &draft, &e);
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&draft).map_err(trouble)?);
        self.write(&mut out).and_then(|()| out.flush()).map_err(trouble)?;
        std::fs::rename(&draft, &path).map_err(trouble)?;
        Ok(path)
    }

    fn write(self, out: &mut impl Write) -> std::io::Result<()> {
        let mut random = Random::new(self.seed);
        for number in 0..self.lines {
            let request = request(&mut random, number, self.callers);
            let line = match self.format {
                Format::Combined => request.combined(),
                Format::Json => request.json(&mut random),
            };
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

/// Eight in a thousand requests are hostile.
fn request(random: &mut Random, number: u64, callers: Callers) -> Request {
    let at_ms = i64::try_from(number * 1000 / PER_SECOND).unwrap_or(i64::MAX);
    let hostile = |address: String, user: Option<String>, target: String, status: u16| Request {
        at_ms,
        address,
        user,
        method: if status == 401 { "POST" } else { "GET" },
        target,
        status,
        bytes: 150,
        agent: AGENTS[3],
    };
    match random.below(1000) {
        0..4 => {
            let (address, account) = (1 + random.below(19), random.below(5_000));
            hostile(
                format!("203.0.113.{address}"),
                Some(format!("acct{account}")),
                "/v1/login".to_owned(),
                401,
            )
        }
        4..6 => {
            let (address, page) = (1 + random.below(5), random.below(1 << 24));
            hostile(format!("198.51.100.{address}"), None, format!("/{page:06x}.php"), 404)
        }
        6..8 => {
            let address = 1 + random.below(3);
            let target = format!("/v1/users/{}", 100_000 + number);
            hostile(format!("192.0.2.{address}"), Some("mallory".to_owned()), target, 200)
        }
        _ => {
            let caller = match callers {
                Callers::Few => foremost(random, CALLERS),
                Callers::Many => popular(random, CALLERS),
            };
            ordinary(random, at_ms, caller)
        }
    }
}

fn ordinary(random: &mut Random, at_ms: i64, caller: u64) -> Request {
    let id = random.below(5_000);
    let (method, target) = match random.below(64) {
        0..22 => ("GET", format!("/v1/users/{id}")),
        22..32 => ("GET", format!("/v1/users/{id}/orders")),
        32..39 => ("POST", "/v1/orders".to_owned()),
        39..45 => ("GET", format!("/v1/products/{id}")),
        45..51 => ("GET", format!("/v1/search?q=item{id}")),
        51..55 => ("POST", "/v1/login".to_owned()),
        55..60 => ("GET", "/healthz".to_owned()),
        _ => ("PUT", format!("/v1/cart/{id}")),
    };
    let status = match random.below(1000) {
        0..935 => 200,
        935..965 => 201,
        965..986 => 404,
        986..996 => 401,
        _ => 500,
    };
    let agent = match caller % 4 {
        0 => AGENTS[0],
        1 => AGENTS[1],
        2 => AGENTS[2],
        _ => AGENTS[3],
    };
    Request {
        at_ms,
        address: format!("10.{}.{}.{}", caller / 250 / 250, caller / 250 % 250, 1 + caller % 250),
        user: Some(format!("user{caller}")),
        method,
        target,
        status,
        bytes: 200 + random.below(4_800),
        agent,
    }
}

/// As one over the number is drawn to the power of 1/0.9 (Pareto).
fn foremost(random: &mut Random, count: u64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "a share of one")]
    let share = ((random.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1")]
    let number = share.powf(-1.0 / 0.9) as u64;
    number.min(count) - 1
}

/// A few callers ask often and most seldom: the number of one is about as likely as one over it
/// (Zipf), since the logarithm is even.
fn popular(random: &mut Random, count: u64) -> u64 {
    let digits = random.below(count.ilog2().into()); // an octave, each as likely as the next
    let octave = 1_u64 << digits;
    (octave + random.below(octave)).min(count) - 1
}

impl Request {
    fn combined(&self) -> String {
        let Self { address, method, target, status, bytes, agent, .. } = self;
        let (user, time) = (self.user.as_deref().unwrap_or("-"), START.plus_ms(self.at_ms).clf());
        format!(
            "{address} - {user} [{time}] \"{method} {target} HTTP/1.1\" {status} {bytes} \"-\" \
             \"{agent}\"\n"
        )
    }

    /// None of these values has a character that JSON would escape.
    fn json(&self, random: &mut Random) -> String {
        let Self { address, method, target, status, bytes, agent, .. } = self;
        let (user, time) =
            (self.user.as_deref().unwrap_or_default(), START.plus_ms(self.at_ms).rfc3339());
        let (took, id) = (random.below(100), [random.bits(), random.bits()]);
        let [high, low] = id;
        format!(
            "{{\"time\":\"{time}\",\"remote_addr\":\"{address}\",\"request_method\":\"{method}\",\
             \"request_uri\":\"{target}\",\"status\":{status},\"body_bytes_sent\":{bytes},\
             \"request_time\":0.{took:03},\"http_user_agent\":\"{agent}\",\
             \"remote_user\":\"{user}\",\"host\":\"api.example.com\",\
             \"request_id\":\"{high:016x}{low:016x}\",\"server_protocol\":\"HTTP/1.1\"}}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Callers, Format, Workload, foremost, popular};
    use crate::random::Random;

    fn text(format: Format, lines: u64) -> String {
        let mut bytes = Vec::new();
        Workload { lines, format, callers: Callers::Few, seed: 7 }.write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_come_at_the_same_bytes_each_time_and_two_thousand_a_second() {
        let lines = text(Format::Combined, 4_001);
        assert_eq!(lines, text(Format::Combined, 4_001));
        let first = lines.lines().next().unwrap();
        assert!(first.contains("[20/Nov/2026:08:00:00 +0000]"), "{first}");
        let last = lines.lines().last().unwrap();
        assert!(last.contains("[20/Nov/2026:08:00:02 +0000]"), "{last}");
    }

    #[test]
    fn both_formats_tell_the_same_story() {
        let json = text(Format::Json, 200);
        for line in json.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value.as_object().unwrap().len(), 12);
        }
        let bytes = json.len() / 200;
        assert!((350..450).contains(&bytes), "{bytes}");
    }

    #[test]
    fn planted_attackers_are_there_and_ordinary_callers_are_uneven() {
        let lines = text(Format::Combined, 50_000);
        let failed = lines.lines().filter(|line| line.starts_with("203.0.113.")).count();
        assert!((100..400).contains(&failed), "{failed}");
        let counts = |draw: fn(&mut Random, u64) -> u64| {
            let (mut random, mut counts) = (Random::new(1), BTreeMap::<u64, u64>::new());
            for _ in 0..10_000 {
                *counts.entry(draw(&mut random, 20_000)).or_default() += 1;
            }
            assert!(counts.keys().all(|caller| *caller < 20_000));
            counts
        };
        let (many, few) = (counts(popular), counts(foremost));
        assert!(many[&0] > 300 && many.len() > 1_000, "{} {}", many[&0], many.len());
        // 1 - 2^-0.9 = 0.464 of all, and 2^-0.9 - 3^-0.9 = 0.164.
        assert!((4_400..4_900).contains(&few[&0]), "{}", few[&0]);
        assert!((1_500..1_800).contains(&few[&1]), "{}", few[&1]);
        assert!(few.len() > 100 && few.len() < many.len() / 4, "{}", few.len());
    }
}
