//! Every parser of repository content against its corpus and against random changes of it. A slice by
//! default; `RECOUP_TEST_FULL=1` tries a hundred times as many. `RECOUP_TEST_SEED` replays a run.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use recoup_testkit::memory_use::{peak_bytes, reset_peak};
use recoup_testkit::parsers::{TARGETS, corpus, mutate, shown};
use recoup_testkit::tree::seed;

/// Inputs in a slice.
const INPUTS: u64 = 4000;
/// What any number of inputs may add to the memory of the process: the limits of the test are 1 MiB.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

fn fuzz(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let mut seeds = corpus(name);
    assert!(!seeds.is_empty() || name == "sealed", "no corpus for {name}");
    seeds.push(Vec::new());
    reset_peak();
    let before = peak_bytes();
    let try_one = |input: &[u8]| {
        let tried = std::panic::catch_unwind(|| target(input));
        tried.unwrap_or_else(|_| panic!("{name} broke a promise with this input: {}", shown(input)))
    };
    let mut taken = seeds.iter().filter(|input| try_one(input)).count() as u64;
    let mut random = StdRng::seed_from_u64(seed());
    let inputs = if std::env::var_os("RECOUP_TEST_FULL").is_some() { 100 * INPUTS } else { INPUTS };
    for _ in 0..inputs {
        let one = random.random_range(0..seeds.len());
        let other = random.random_range(0..seeds.len());
        let input = mutate(&mut random, &seeds[one], &seeds[other]);
        let accepted = try_one(&input);
        taken += u64::from(accepted);
        // What was taken is changed further now and then, so that changes add up.
        if accepted && random.random_range(0..20) == 0 && input.len() < 20_000 {
            seeds.push(input);
        }
    }
    // A target that refuses nearly everything tests nothing.
    eprintln!("{name}: {taken} of {inputs} taken");
    assert!(taken >= inputs / 20 || name == "sealed", "{name}: only {taken} of {inputs} inputs were taken");
    let grown = peak_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{name}: {} MiB", grown >> 20);
}

#[test]
fn config() {
    fuzz("config");
}

#[test]
fn keyfile() {
    fuzz("keyfile");
}

#[test]
fn unpacked() {
    fuzz("unpacked");
}

#[test]
fn snapshot() {
    fuzz("snapshot");
}

#[test]
fn index() {
    fuzz("index");
}

#[test]
fn tree() {
    fuzz("tree");
}

#[test]
fn pack_header() {
    fuzz("pack_header");
}

#[test]
fn lockfile() {
    fuzz("lockfile");
}

#[test]
fn blob() {
    fuzz("blob");
}

#[test]
fn sealed() {
    fuzz("sealed");
}

#[test]
fn every_target_has_a_test() {
    let text = include_str!("fuzz.rs");
    for (name, _) in TARGETS {
        assert!(text.contains(&format!("fuzz(\"{name}\");")), "{name}");
    }
}

/// Half a document is an error for every parser and never a panic, wherever it was cut.
#[test]
fn trap_25_documents_cut_anywhere_are_refused() {
    for (name, target) in TARGETS {
        for whole in corpus(name).iter().filter(|bytes| bytes.len() < 10_000) {
            let taken = (0..whole.len()).filter(|cut| target(&whole[..*cut])).count();
            // A header cut between two entries is a shorter header, a shorter blob is another blob.
            let may = matches!(*name, "pack_header" | "blob" | "unpacked");
            // A line feed at the end is not part of the document.
            let whitespace = whole.iter().rev().take_while(|b| b.is_ascii_whitespace()).count();
            assert!(may || taken <= whitespace, "{name}: {taken} cuts are taken");
        }
    }
}
