//! A Debian of its own in a folder, from where this machine gets its packages.
//!
//! Owns: which release and which mirror. Never: what is installed into it.

use std::path::Path;
use std::process::Command;

use crate::packages::{self, DEBOOTSTRAP};
use crate::place;
use crate::process::output;
use crate::trouble::Trouble;

/// Makes the smallest one. Takes root.
pub(crate) fn bootstrap(root: &Path) -> Result<(), Trouble> {
    let absent = packages::install(&[DEBOOTSTRAP])?;
    if !absent.is_empty() {
        return Err(Trouble::dependency(packages::plea(&absent)));
    }
    let mut bootstrap = Command::new("debootstrap");
    // It lies in a folder of root's programs, and so do those that it starts.
    bootstrap.env("PATH", place::program_path());
    bootstrap.args(["--variant=minbase", &release()?]).arg(root).arg(mirror()?);
    output(&mut bootstrap).map(drop)
}

/// The code name of this machine's Debian.
fn release() -> Result<String, Trouble> {
    let text = place::read(Path::new("/etc/os-release"))?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| Trouble::dependency("/etc/os-release has no VERSION_CODENAME"))
}

/// Where this machine gets its packages.
fn mirror() -> Result<String, Trouble> {
    let mut ask = Command::new("apt-get");
    ask.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
    let all = output(&mut ask)?;
    let main = all.lines().find(|uri| !uri.contains("security"));
    main.map(str::to_owned).ok_or_else(|| {
        Trouble::dependency("apt knows no mirror; name one in /etc/apt/sources.list.d")
    })
}
