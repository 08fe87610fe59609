//! House rules and generated pages: `cargo xtask tidy`, `cargo xtask docs`.
//! It never ships, and nothing that ships knows it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for people at a terminal")]

#[cfg(feature = "pages")]
mod pages;
mod rust_text;
mod tidy;
mod tree;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask tidy           check the rules of the house
       cargo xtask tidy --fix     the same, after rewriting the generated list in ARCHITECTURE.md
       cargo xtask docs           write docs/reference, the man page and the completions
       cargo xtask docs --check   compare them instead";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy::run(false),
        ["tidy", "--fix"] => tidy::run(true),
        #[cfg(feature = "pages")]
        ["docs"] => pages::write(),
        #[cfg(feature = "pages")]
        ["docs", "--check"] => pages::check(),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
