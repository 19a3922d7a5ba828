//! Writes the scene to the log file, faster than it happened.
//!
//! Owns: what has been written so far. Never: the scene.
//!
//! The scene's clock starts so far in the past that its last request happens when it is written:
//! no line is ever ahead of the machine's clock.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::scene::Scene;
use super::traffic::{CALM_MS, DEPLOY_MS, LENGTH_MS, Request, Traffic};
use crate::clock::{Moment, Stopwatch};
use crate::http;
use crate::trouble::Trouble;

/// How far the scene is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// It goes on.
    On,
    /// The deploy went live at this time.
    Deployed(Moment),
    /// Everything has happened.
    Over,
}

/// A scene being written.
pub(super) struct Pace<'a> {
    rest: std::iter::Peekable<std::slice::Iter<'a, Request>>,
    scene: &'a Scene,
    start: Moment,
    speed: i64,
    watch: Stopwatch,
    file: File,
    path: PathBuf,
    deployed: bool,
}

impl<'a> Pace<'a> {
    /// Starts the scene's clock.
    pub(super) fn start(
        traffic: &'a Traffic,
        scene: &'a Scene,
        speed: u32,
    ) -> Result<Self, Trouble> {
        let path = scene.log();
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|e| Trouble::io("write", &path, &e))?;
        let speed = i64::from(speed);
        Ok(Self {
            rest: traffic.requests.iter().peekable(),
            scene,
            start: Moment::now().plus_ms((LENGTH_MS + CALM_MS) / speed - LENGTH_MS - CALM_MS),
            speed,
            watch: Stopwatch::start(),
            file,
            path,
            deployed: false,
        })
    }

    /// Writes what has happened by now.
    pub(super) fn step(&mut self) -> Result<Beat, Trouble> {
        let real_ms = i64::try_from(self.watch.elapsed().as_millis()).unwrap_or(i64::MAX);
        let now_ms = real_ms.saturating_mul(self.speed);
        let deploys = !self.deployed && now_ms >= DEPLOY_MS;
        if deploys {
            self.deployed = true;
            self.deploy()?;
        }
        let (text, done) = due(&mut self.rest, self.start, now_ms);
        self.file.write_all(text.as_bytes()).map_err(|e| Trouble::io("write", &self.path, &e))?;
        Ok(match (deploys, done) {
            (true, _) => Beat::Deployed(self.start.plus_ms(DEPLOY_MS)),
            (false, true) => Beat::Over,
            (false, false) => Beat::On,
        })
    }

    /// Tells the pipeline of the deploy, as a release job would.
    fn deploy(&self) -> Result<(), Trouble> {
        let event = json!({
            "service": "shop", "environment": "production", "deploy_id": "d2",
            "deployed_at": self.start.plus_ms(DEPLOY_MS).rfc3339(), "commit": "bbb222",
            "change_id": "481", "owner": "team-shop",
        })
        .to_string();
        let post = http::Request {
            method: "POST",
            path: "/v1/deploys",
            headers: &[("Content-Type", "application/json")],
            body: &event,
        };
        let answer = post.send(self.scene.admin)?;
        if answer.status < 300 {
            return Ok(());
        }
        let (status, body) = (answer.status, answer.body);
        Err(Trouble::dependency(format!("the deploy was refused with {status}: {body}")))
    }
}

/// The lines up to a time, and whether none is left.
fn due(
    rest: &mut std::iter::Peekable<std::slice::Iter<'_, Request>>,
    start: Moment,
    now_ms: i64,
) -> (String, bool) {
    let mut text = String::new();
    while let Some(request) = rest.next_if(|request| request.at_ms <= now_ms) {
        text.push_str(&request.combined(start));
    }
    (text, rest.peek().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::traffic::{CALM_MS, LENGTH_MS, Traffic};
    use super::due;
    use crate::clock::Moment;

    #[test]
    fn each_line_is_written_once_and_when_it_is_due() {
        let traffic = Traffic::make(7);
        let mut rest = traffic.requests.iter().peekable();
        let (first, done) = due(&mut rest, Moment(0), 60_000);
        assert!(!done && first.contains("[01/Jan/1970:00:00:"));
        assert!(!first.contains("[01/Jan/1970:00:02:"));
        let (second, done) = due(&mut rest, Moment(0), LENGTH_MS + CALM_MS);
        assert!(done);
        assert_eq!(first.lines().count() + second.lines().count(), traffic.requests.len());
    }
}
