//! A real Redmine, from Debian's packages in a folder of its own, and the suite that files issues
//! in it.
//!
//! Owns: installing, seeding, starting and stopping it. Never: what is filed; the suite does that.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clock::wait_until;
use crate::debian;
use crate::http::Request;
use crate::packages;
use crate::place;
use crate::process::{Guard, Running, output, succeeds};
use crate::trouble::Trouble;

/// Seeds, and says what the suite needs to know as `KEY=… FIELD=… CLOSED=…`. Does nothing twice.
const SEED: &str = include_str!("redmine/seed.rb");
/// Redmine without its mail, its database server or a web server.
const PACKAGES: &str = "redmine redmine-sqlite ruby-sqlite3 sqlite3 puma";
/// Where Debian puts it.
const HOME: &str = "/usr/share/redmine";
/// Debian's Ruby packages keep a gem's code elsewhere, and Bundler as of its last security update
/// takes a gem without a folder for one that is not installed: Redmine cannot be configured then.
const GEM_FOLDERS: &str = "for specs in /usr/share/rubygems-integration/*/specifications; do \
    for spec in $specs/*.gemspec; do \
    mkdir -p ${specs%/*}/gems/$(basename $spec .gemspec); done; done";
const READY_LIMIT: Duration = Duration::from_secs(120);

/// Installs what is missing, runs the suite against it, takes it down.
pub(super) fn run() -> Result<(), Trouble> {
    if !packages::is_root() {
        return Err(Trouble::dependency(
            "a Redmine of its own takes a chroot, and that takes root; or point the suite at a \
             Redmine of yours: set TIDEGATE_REDMINE_URL and TIDEGATE_REDMINE_KEY and run\n  \
             cargo test -p respond --test redmine",
        ));
    }
    let root = install()?;
    let _proc = Mounted::proc(&root)?;
    let seeded = seed(&root)?;
    let port = free_port()?;
    let mut server = start(&root, port)?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let login = Request { method: "GET", path: "/login", headers: &[], body: "" };
    let ready = wait_until(READY_LIMIT, || {
        server.ended().is_some() || login.send(address).is_ok_and(|answer| answer.status == 200)
    });
    if !ready || server.ended().is_some() {
        return Err(Trouble::dependency("Redmine did not start; what it said stands above"));
    }
    let mut test = place::cargo();
    test.args(["test", "--workspace", "--lib", "--bins", "--tests", "--examples"]);
    test.args(["a_real_redmine", "--", "--nocapture"]);
    test.env("TIDEGATE_REDMINE_URL", format!("http://{address}"));
    for (name, value) in seeded {
        test.env(format!("TIDEGATE_REDMINE_{name}"), value);
    }
    if succeeds(&mut test)? { Ok(()) } else { Err(Trouble::no("the Redmine suite failed")) }
}

/// The folder with an installed Redmine. What is installed halfway is never used.
fn install() -> Result<PathBuf, Trouble> {
    let home = place::folder(&place::cache().join("redmine"))?;
    let root = home.join("root");
    if root.join("complete").exists() {
        return Ok(root);
    }
    let draft = home.join(format!("draft-{}", std::process::id()));
    eprintln!("installing Redmine into {} (about 500 MB)", root.display());
    debian::bootstrap(&draft)?;
    copy_sources(&draft)?;
    // No service is started while packages are installed.
    let policy = draft.join("usr/sbin/policy-rc.d");
    place::write(&policy, "#!/bin/sh\nexit 101\n")?;
    output(Command::new("chmod").arg("755").arg(&policy))?;
    {
        let _proc = Mounted::proc(&draft)?;
        let line = format!(
            "apt-get -q update && {{ apt-get -q install -y --no-install-recommends {PACKAGES} || \
             {{ {GEM_FOLDERS}; dpkg --configure -a; }}; }}"
        );
        output(inside(&draft, &line).env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    place::write(&draft.join("complete"), "")?;
    place::remove_folder(&root)?;
    std::fs::rename(&draft, &root).map_err(|e| Trouble::io("move Redmine to", &root, &e))?;
    Ok(root)
}

/// The sources of this machine, so that updates of security are among them: without them some
/// packages cannot be had any more.
fn copy_sources(root: &Path) -> Result<(), Trouble> {
    let line = "for each in sources.list sources.list.d; do if [ -e /etc/apt/$each ]; then \
                rm -rf \"$0/etc/apt/$each\" && cp -r /etc/apt/$each \"$0/etc/apt/\"; fi; done";
    let line = format!("rm -f \"$0/etc/apt/sources.list\"; {line}");
    output(Command::new("sh").args(["-c", &line]).arg(root)).map(drop)
}

/// Seeds it and reads what the suite needs to know.
fn seed(root: &Path) -> Result<Vec<(String, String)>, Trouble> {
    place::write(&root.join("tmp/seed.rb"), SEED)?;
    let said = output(&mut rails(root, "ruby -S bundle exec rails runner /tmp/seed.rb"))?;
    let told = said.lines().find(|line| line.starts_with("KEY="));
    let told = told.ok_or_else(|| Trouble::dependency(format!("the seed said only:\n{said}")))?;
    let pairs = told.split(' ').filter_map(|pair| pair.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn start(root: &Path, port: u16) -> Result<Running, Trouble> {
    // Without bundler: Debian's puma is not in Redmine's bundle.
    let line = format!("exec puma -b tcp://127.0.0.1:{port} -t 1:3 -e production config.ru");
    let mut puma = rails(root, &line);
    Running::start(puma.stdout(Stdio::null()))
}

fn rails(root: &Path, line: &str) -> Command {
    let mut command = inside(root, &format!("cd {HOME} && {line}"));
    command.env("RAILS_ENV", "production").env("X_DEBIAN_SITEID", "default");
    command.env("LANG", "C.UTF-8");
    command
}

fn inside(root: &Path, line: &str) -> Command {
    let mut command = Command::new("chroot");
    command.arg(root).args(["sh", "-c", line]);
    // What this machine's user has set up for other rubies and languages.
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    command
}

fn free_port() -> Result<u16, Trouble> {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    port.map(|address| address.port())
        .map_err(|e| Trouble::dependency(format!("find a free port on 127.0.0.1: {e}")))
}

/// `/proc` inside the folder, for as long as this lives.
#[derive(Debug)]
struct Mounted {
    at: PathBuf,
    _guard: Guard,
}

impl Mounted {
    fn proc(root: &Path) -> Result<Self, Trouble> {
        let at = root.join("proc");
        output(Command::new("mount").args(["-t", "proc", "proc"]).arg(&at))?;
        let guard = Guard::arm(&format!("umount -l '{}'", at.display()))?;
        Ok(Self { at, _guard: guard })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(trouble) = output(Command::new("umount").arg("-l").arg(&self.at)) {
            eprintln!("xtask: {trouble}");
        }
    }
}
