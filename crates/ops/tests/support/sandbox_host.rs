//! What the drill tests start in place of the recoup binary: its stages of a sandbox and nothing else.
#![allow(clippy::exit, reason = "this is a main")]

fn main() {
    let arguments = std::env::args().skip(1);
    std::process::exit(recoup_ops::sandbox::entry(arguments).unwrap_or(2));
}
