//! A file of 400 lines of code is a question, one of 800 needs an answer in this list.
//! (Functions over 70 lines are found by clippy's `too_many_lines`.)

use super::Report;
use crate::rust_text::RustText;
use crate::tree::Tree;

const LINES_MAX: usize = 800;

/// Files that may be longer, with the reason.
const LONGER: [(&str, &str); 0] = [];

pub(super) fn check(tree: &Tree, report: &mut Report) {
    for (path, text) in tree.files("", ".rs") {
        let lines = RustText::new(text).code_lines();
        if lines > LINES_MAX && !LONGER.iter().any(|(listed, _)| *listed == path) {
            report.add(
                path,
                0,
                "sizes",
                format!("{lines} lines of code, at most {LINES_MAX} without a listed reason"),
            );
        }
    }
    for (listed, _) in LONGER {
        let long = tree.text(listed).is_some_and(|text| RustText::new(text).code_lines() > LINES_MAX);
        if !long {
            report.add(listed, 0, "sizes", "listed as long, but it is not: remove it from the list");
        }
    }
}
