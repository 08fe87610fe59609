//! Every driver has the same files; a missing file is a missing ability. One suite proves them all.

use super::Report;
use crate::tree::Tree;
use std::collections::BTreeSet;

const FILES: [&str; 5] = ["README.md", "config.rs", "connect.rs", "capture.rs", "restore.rs"];
const HOME: &str = "crates/sources/src/";

pub(super) fn check(tree: &Tree, report: &mut Report) {
    let drivers: BTreeSet<&str> = tree
        .files(HOME, "/config.rs")
        .chain(tree.files(HOME, "/capture.rs"))
        .filter_map(|(path, _)| path.trim_start_matches(HOME).split_once('/').map(|(name, _)| name))
        .collect();
    let suite: String =
        tree.files("crates/sources/", ".rs").filter(|(path, _)| suite_file(path)).map(|(_, t)| t).collect();
    for driver in drivers {
        let folder = format!("{HOME}{driver}");
        for file in FILES {
            if tree.text(&format!("{folder}/{file}")).is_none() {
                report.add(&folder, 0, "drivers", format!("{file} is missing"));
            }
        }
        if !suite.contains(driver) {
            report.add(&folder, 0, "drivers", "not named in the conformance tests");
        }
    }
}

fn suite_file(path: &str) -> bool {
    path.ends_with("conformance.rs") || path.starts_with("crates/sources/tests/")
}
