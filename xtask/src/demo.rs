//! `cargo xtask demo`: the whole way, from access logs to blocks and tickets, in a minute.
//!
//! Owns: the order of events. Never: what the traffic or the configuration looks like.

mod attacks;
mod callers;
mod gateway;
mod pace;
mod paint;
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
use crate::process::{Running, output, succeeds};
use crate::trouble::Trouble;

use gateway::{Caller, Gateway};
use pace::{Beat, Pace};
use paint::{Ink, Paint};
use scene::Scene;
use score::Score;
use watch::Watch;

pub(crate) use traffic::Traffic;

/// The pipeline has said everything once it has been silent for so long.
const SILENCE: Duration = Duration::from_secs(3);
/// How long to wait for that after the last line.
const SETTLE_LIMIT: Duration = Duration::from_secs(45);
const RELOAD_LIMIT: Duration = Duration::from_secs(5);
const READY_LIMIT: Duration = Duration::from_secs(20);

/// What the command line asks for.
struct Wish {
    seed: u64,
    speed: u32,
    /// A binary that is there already; absent: it is built.
    binary: Option<PathBuf>,
}

/// Runs the demo.
pub(crate) fn run(args: &mut Args) -> Result<(), Trouble> {
    let wish = Wish {
        seed: args.parsed("--seed")?.unwrap_or(7),
        speed: args.parsed("--speed")?.unwrap_or(30),
        binary: args.option("--binary")?.map(PathBuf::from),
    };
    args.finish()?;
    if !(1..=60).contains(&wish.speed) {
        return Err(Trouble::usage(format!("--speed {}: between 1 and 60", wish.speed)));
    }
    let with_gateway = prepare()?;
    let binary = match &wish.binary {
        Some(binary) => place::program_at(binary)?,
        None => build()?,
    };
    Show::new(&binary, &wish, with_gateway)?.play()
}

/// Runs it with a binary that is built, as CI does: everything as shown, or an error.
pub(crate) fn prove(binary: &Path) -> Result<(), Trouble> {
    let wish = Wish { seed: 7, speed: 30, binary: None };
    Show::new(binary, &wish, packages::missing(&[NGINX]).is_empty())?.play()
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

/// A scene that is set, with everybody who plays in it.
struct Show {
    binary: PathBuf,
    traffic: Traffic,
    scene: Scene,
    speed: u32,
    gateway: Option<Gateway>,
    paint: Paint,
}

impl Show {
    fn new(binary: &Path, wish: &Wish, gateway: bool) -> Result<Self, Trouble> {
        let folder = place::target().join("demo");
        place::remove_folder(&folder)?;
        let folder = place::folder(&folder)?;
        let traffic = Traffic::make(wish.seed);
        let scene = Scene::set(&folder, &traffic, gateway)?;
        let gateway = if gateway { Some(Gateway::start(&scene)?) } else { None };
        let paint = Paint::for_output();
        Ok(Self { binary: binary.into(), traffic, scene, speed: wish.speed, gateway, paint })
    }

    fn play(&self) -> Result<(), Trouble> {
        let whole = Stopwatch::start();
        let mut pipeline = self.start()?;
        self.wait_ready(&mut pipeline)?;
        self.introduce();
        let mut watch = Watch::new(&self.scene.folder, self.paint);
        self.run_traffic(&mut watch, &mut pipeline)?;
        self.approve(&mut watch)?;
        let gateway = self.show_gateway()?;
        println!();
        let score = Score::of(&self.traffic.labels, watch.findings());
        for line in score.lines(self.paint) {
            println!("{line}");
        }
        println!("{} in {}", watch.counts(), spoken(whole.elapsed()));
        println!("log, tickets, configuration: {}", self.scene.folder.display());
        if !score.is_perfect() {
            return Err(Trouble::no("the demo should catch all and only the attacks"));
        }
        gateway
    }

    fn introduce(&self) {
        let (requests, speed) = (self.traffic.requests.len(), self.speed);
        println!(
            "`tidegate up` follows the access log of a shop: ten minutes, {requests} requests,"
        );
        println!("four attacks among them, played {speed} times as fast as they happened.\n");
    }

    /// Writes the traffic and tells what the pipeline says, until it has said everything.
    fn run_traffic(&self, watch: &mut Watch, pipeline: &mut Running) -> Result<(), Trouble> {
        let mut pace = Pace::start(&self.traffic, &self.scene, self.speed)?;
        loop {
            match pace.step()? {
                Beat::On => {}
                Beat::Deployed(at) => {
                    let what = "shop d2 · commit bbb222 · change 481 · by team-shop";
                    let at = at.rfc3339();
                    let time = at.get(11..19).unwrap_or_default();
                    println!("{}", watch.line(time, Ink::Plain, "deploy", what));
                }
                Beat::Over => break,
            }
            watch.show_new();
            if let Some(status) = pipeline.ended() {
                return Err(self.gone(&format!("ended with {status} in the middle")));
            }
            pause(Duration::from_millis(50));
        }
        let mut silence = Stopwatch::start();
        wait_until(SETTLE_LIMIT, || {
            if watch.show_new() {
                silence = Stopwatch::start();
            }
            silence.elapsed() > SILENCE
        });
        Ok(())
    }

    /// A guardrail holds back what could hit a good caller; here the person whom it asks says yes.
    fn approve(&self, watch: &mut Watch) -> Result<(), Trouble> {
        for order in watch.waiting().clone() {
            let path = format!("/v1/orders/{order}/approve");
            println!("\n$ curl -X POST http://{}{path}", self.scene.admin);
            let post = Request { method: "POST", path: &path, headers: &[], body: "" };
            let answer = post.send(self.scene.admin)?;
            if answer.status != 200 {
                return Err(Trouble::no(format!("{}: {}", answer.status, answer.body)));
            }
            wait_until(READY_LIMIT, || {
                watch.show_new();
                !watch.waiting().contains(&order)
            });
        }
        Ok(())
    }

    fn start(&self) -> Result<Running, Trouble> {
        let log = self.scene.folder.join("tidegate.log");
        let file = std::fs::File::create(&log).map_err(|e| Trouble::io("write", &log, &e))?;
        let copy = file.try_clone().map_err(|e| Trouble::io("write", &log, &e))?;
        let mut up = Command::new(&self.binary);
        up.args(["up", "--config", "tidegate.toml"]).current_dir(&self.scene.folder);
        up.env("PATH", place::program_path());
        Running::start(up.stdout(Stdio::from(file)).stderr(Stdio::from(copy)))
    }

    fn wait_ready(&self, pipeline: &mut Running) -> Result<(), Trouble> {
        let ready = Request { method: "GET", path: "/ready", headers: &[], body: "" };
        let mut ended = None;
        let answered = wait_until(READY_LIMIT, || {
            ended = pipeline.ended();
            ended.is_some() || ready.send(self.scene.admin).is_ok_and(|answer| answer.status == 200)
        });
        match ended {
            Some(status) => Err(self.gone(&format!("ended with {status} at its start"))),
            None if !answered => Err(self.gone("was not ready in time")),
            None => Ok(()),
        }
    }

    /// What to say when `tidegate up` is not there: the end of its log.
    fn gone(&self, what: &str) -> Trouble {
        let log = self.scene.folder.join("tidegate.log");
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last: Vec<&str> = lines.iter().skip(lines.len().saturating_sub(15)).copied().collect();
        let last = last.join("\n");
        Trouble::dependency(format!("`tidegate up` {what}; the end of its log:\n{last}"))
    }

    /// Asks the gateway as everybody, then undoes a block. The inner result says whether it
    /// answered as it should.
    fn show_gateway(&self) -> Result<Result<(), Trouble>, Trouble> {
        let Some(gateway) = &self.gateway else { return Ok(Ok(())) };
        println!("\nnginx answers");
        let callers = gateway::callers(&self.traffic);
        let mut wrong = Vec::new();
        for caller in &callers {
            let status = gateway.status_for(caller)?;
            self.show_answer(caller, status);
            if status != caller.expected {
                wrong.push(format!("{} got {status}", caller.who));
            }
        }
        if let Some(caller) = callers.iter().find(|caller| caller.expected == 403) {
            println!("\n$ tidegate blocks release {}", caller.address);
            let said = output(
                Command::new(&self.binary)
                    .args(["blocks", "release", caller.address, "--config", "tidegate.toml"])
                    .current_dir(&self.scene.folder),
            )?;
            print!("  {said}");
            // A worker of nginx that is on its way out may still answer for a moment.
            let mut status = 0;
            wait_until(RELOAD_LIMIT, || {
                status = gateway.status_for(caller).unwrap_or(0);
                status == 200
            });
            self.show_answer(caller, status);
            if status != 200 {
                wrong.push(format!("{} got {status} after the release", caller.who));
            }
        }
        if wrong.is_empty() {
            return Ok(Ok(()));
        }
        Ok(Err(Trouble::no(format!("nginx should have answered otherwise: {}", wrong.join(", ")))))
    }

    fn show_answer(&self, caller: &Caller<'_>, status: u16) {
        let ink = if status == 403 { Ink::Red } else { Ink::Green };
        let status = self.paint.on(ink, &status.to_string());
        println!("  {status}  {:<20} {}", caller.who, caller.address);
    }
}
