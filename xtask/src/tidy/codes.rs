//! Every stable code that is used is explained once, and every code that is explained is used.

use super::Report;
use crate::rust_text::RustText;
use crate::tree::Tree;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

const TABLES: &str = "crates/core/src/code/";

pub(super) fn check(tree: &Tree, report: &mut Report) {
    let mut explained: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for (path, source) in tree.files(TABLES, ".rs") {
        for (line, code) in codes(&RustText::new(source)) {
            match explained.entry(code) {
                Entry::Vacant(place) => drop(place.insert((path.to_owned(), line))),
                Entry::Occupied(first) => {
                    let (other, at) = first.get();
                    let text = format!("{} is explained at {other}:{at} already", first.key());
                    report.add(path, line, "codes", text);
                }
            }
        }
    }
    let mut used = BTreeSet::new();
    for (path, source) in tree.files("crates/", ".rs") {
        if path.starts_with(TABLES) {
            continue;
        }
        for (line, code) in codes(&RustText::new(source)) {
            if !explained.contains_key(&code) {
                report.add(path, line, "codes", format!("{code} stands in no table under {TABLES}"));
            }
            used.insert(code);
        }
    }
    for (code, (path, line)) in explained {
        if !used.contains(&code) {
            report.add(&path, line, "codes", format!("{code} is explained but nothing says it"));
        }
    }
}

/// The literals of the shipped code that are a code and nothing else.
fn codes(text: &RustText) -> Vec<(usize, String)> {
    text.literals.iter().filter(|(line, said)| !text.in_test(*line) && is_code(said)).cloned().collect()
}

fn is_code(said: &str) -> bool {
    said.len() == 5 && said.starts_with(['E', 'W', 'R']) && said[1..].bytes().all(|b| b.is_ascii_digit())
}
