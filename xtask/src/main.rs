//! House rules, generated pages, counted instructions: `cargo xtask tidy`, `docs`, `counts`.
//! It never ships, and nothing that ships knows it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for people at a terminal")]

mod counts;
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
       cargo xtask docs --check   compare them instead
       cargo xtask counts           count the instructions of the hot loops, under valgrind
       cargo xtask counts --check   fail for more than 5 % above bench/counts.toml
       cargo xtask counts --write   write bench/counts.toml";

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
        ["counts"] => counts::run(counts::Mode::Show),
        ["counts", "--check"] => counts::run(counts::Mode::Check),
        ["counts", "--write"] => counts::run(counts::Mode::Write),
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
