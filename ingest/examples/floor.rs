//! The floor of reading JSON access logs: lines are split and their twelve fields parsed with
//! sonic-rs, and nothing is done with them. `cargo xtask bench` runs it beside `replay`.
//!
//! Owns: that measurement. Never: anything that the product uses.
#![expect(clippy::print_stdout, reason = "an example that says what it counted")]

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};

#[path = "../benches/parse/twelve.rs"]
mod twelve;

use twelve::Line;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: floor FILE")?;
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut lines, mut weight, mut line) = (0_u64, 0_u64, Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        weight = weight.wrapping_add(sonic_rs::from_slice::<Line<'_>>(&line)?.weight());
        lines += 1;
        line.clear();
    }
    println!("{lines} lines, weight {weight}");
    Ok(())
}
