//! A user-visible change leaves one fragment in `changes/`: a kind, what changed, why it matters.

use super::Report;
use crate::tree::Tree;

const KINDS: [&str; 6] = ["Added", "Changed", "Fixed", "Removed", "Security", "Deprecated"];

pub(super) fn check(tree: &Tree, report: &mut Report) {
    for (path, text) in tree.files("changes/", ".md") {
        if path.ends_with("README.md") {
            continue;
        }
        let kind = text.lines().next().and_then(|line| line.split_once(": ")).map(|(kind, _)| kind);
        if !kind.is_some_and(|kind| KINDS.contains(&kind)) {
            report.add(path, 1, "fragments", format!("starts with one of {} and a colon", KINDS.join(", ")));
        }
        if text.lines().nth(1).is_some_and(|line| !line.is_empty()) || text.lines().count() < 3 {
            report.add(path, 2, "fragments", "then an empty line and at least one sentence of reason");
        }
    }
}
