//! `cargo xtask demo`: the whole way, from access logs to blocks and tickets, in a minute.
//!
//! Owns: the order of events. Never: what the traffic or the configuration looks like.

mod attacks;
mod callers;
mod gateway;
mod pace;
mod scene;
mod score;
mod traffic;
mod watch;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::args::Args;
use crate::clock::{Stopwatch, pause, spoken, wait_until};
use crate::http::Request;
use crate::packages::{self, CC, MAKE, NGINX};
use crate::place;
use crate::process::{Running, succeeds};
use crate::trouble::Trouble;

use gateway::Gateway;
use pace::Pace;
use scene::Scene;
use score::Score;
use watch::Watch;

pub(crate) use traffic::Traffic;

/// How long to wait for the last verdicts after the last line.
const SETTLE: Duration = Duration::from_secs(8);
const READY_LIMIT: Duration = Duration::from_secs(20);

/// What the command line asks for.
struct Wish {
    seed: u64,
    speed: u32,
    keep: bool,
}

/// Runs the demo.
pub(crate) fn run(args: &mut Args) -> Result<(), Trouble> {
    let wish = Wish {
        seed: args.parsed("--seed")?.unwrap_or(7),
        speed: args.parsed("--speed")?.unwrap_or(30),
        keep: args.flag("--keep"),
    };
    args.finish()?;
    if !(1..=60).contains(&wish.speed) {
        return Err(Trouble::usage(format!("--speed {}: between 1 and 60", wish.speed)));
    }
    let with_gateway = prepare()?;
    let binary = build()?;
    let folder = place::target().join("demo");
    place::remove_folder(&folder)?;
    let folder = place::folder(&folder)?;
    let result = play(&binary, &folder, &wish, with_gateway);
    if wish.keep || result.is_err() {
        println!("everything it used is in {}", folder.display());
    } else {
        place::remove_folder(&folder)?;
    }
    result
}

/// Installs what is missing; says whether there is a gateway to show a block at.
fn prepare() -> Result<bool, Trouble> {
    let absent = packages::install(&[CC, MAKE, NGINX])?;
    if absent.iter().any(|need| need.package != NGINX.package) {
        return Err(Trouble::dependency(packages::plea(&absent)));
    }
    if !absent.is_empty() {
        println!(
            "{}\nwithout it the demo goes on, with blocks in a file only",
            packages::plea(&absent)
        );
    }
    Ok(absent.is_empty())
}

fn build() -> Result<PathBuf, Trouble> {
    println!("building tidegate (the first time takes minutes, later ones seconds)");
    let watch = Stopwatch::start();
    if !succeeds(&mut place::build())? {
        return Err(Trouble::no("the build failed; the errors stand above"));
    }
    println!("built in {}\n", spoken(watch.elapsed()));
    Ok(place::target().join("debug/tidegate"))
}

fn play(binary: &Path, folder: &Path, wish: &Wish, gateway: bool) -> Result<(), Trouble> {
    let traffic = Traffic::make(wish.seed);
    let scene = Scene::set(folder, &traffic, gateway)?;
    let gateway = if gateway { Some(Gateway::start(&scene)?) } else { None };
    let mut pipeline = start(binary, &scene)?;
    wait_ready(&mut pipeline, &scene)?;
    println!(
        "ten minutes of {} requests follow, {} times as fast as they happened",
        traffic.requests.len(),
        wish.speed
    );
    let mut watch = Watch::new(&scene.folder);
    let mut pace = Pace::start(&traffic, &scene, wish.speed)?;
    while pace.step()? {
        watch.show_new();
        if let Some(status) = pipeline.ended() {
            return Err(gone(&scene, &format!("ended with {status} in the middle")));
        }
        pause(Duration::from_millis(100));
    }
    wait_until(SETTLE, || {
        watch.show_new();
        false
    });
    println!();
    if let Some(gateway) = &gateway {
        gateway.show(&traffic)?;
    }
    conclude(&traffic, &watch)
}

fn start(binary: &Path, scene: &Scene) -> Result<Running, Trouble> {
    let log = scene.folder.join("tidegate.log");
    let file = std::fs::File::create(&log).map_err(|e| Trouble::io("write", &log, &e))?;
    let copy = file.try_clone().map_err(|e| Trouble::io("write", &log, &e))?;
    let mut up = Command::new(binary);
    up.args(["up", "--config", "tidegate.toml"]).current_dir(&scene.folder);
    Running::start(up.stdout(Stdio::from(file)).stderr(Stdio::from(copy)))
}

fn wait_ready(pipeline: &mut Running, scene: &Scene) -> Result<(), Trouble> {
    let ready = Request { method: "GET", path: "/ready", headers: &[], body: "" };
    let mut ended = None;
    let answered = wait_until(READY_LIMIT, || {
        ended = pipeline.ended();
        ended.is_some() || ready.send(scene.admin).is_ok_and(|answer| answer.status == 200)
    });
    match ended {
        Some(status) => Err(gone(scene, &format!("ended with {status} at its start"))),
        None if !answered => Err(gone(scene, "was not ready in time")),
        None => Ok(()),
    }
}

/// What to say when `tidegate up` is not there: the end of its log.
fn gone(scene: &Scene, what: &str) -> Trouble {
    let log = std::fs::read_to_string(scene.folder.join("tidegate.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let last: Vec<&str> = lines.iter().skip(lines.len().saturating_sub(15)).copied().collect();
    Trouble::dependency(format!("`tidegate up` {what}; the end of its log:\n{}", last.join("\n")))
}

fn conclude(traffic: &Traffic, watch: &Watch) -> Result<(), Trouble> {
    let score = Score::of(&traffic.labels, watch.findings());
    for line in score.lines() {
        println!("{line}");
    }
    println!("{} orders, {} tickets", watch.orders(), watch.tickets());
    if score.is_perfect() {
        Ok(())
    } else {
        Err(Trouble::no("the demo should catch all and only the attacks"))
    }
}
