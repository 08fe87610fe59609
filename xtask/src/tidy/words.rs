//! Words that do not belong in the repository: unfinished business without an owner, and traces of one machine.

use super::Report;
use crate::tree::Tree;

/// Written apart so that this file does not break its own rule.
const NEVER: [(&str, &str); 10] = [
    (concat!("FIX", "ME"), "finish it, or open an issue and name it in a note"),
    (concat!("X", "XX"), "finish it, or open an issue and name it in a note"),
    (concat!("HA", "CK:"), "say why it must be so, in a comment"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/tmp", "/t/"), "a path of one machine"),
    (concat!("/ro", "ot/.py"), "a path of one machine"),
    (concat!("/ro", "ot/.cargo"), "a path of one machine"),
    (concat!("index", "-url"), "packages are named, registries are the machine's business"),
    (concat!("trusted", "-host"), "packages are named, registries are the machine's business"),
    (concat!("PIP_", "INDEX"), "packages are named, registries are the machine's business"),
];

pub(super) fn check(tree: &Tree, report: &mut Report) {
    for (path, text) in tree.files("", "") {
        if path == "Cargo.lock" || path.ends_with(".snap.new") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for (word, why) in NEVER {
                if stands_alone(line, word) {
                    report.add(path, number + 1, "words", format!("{word:?}: {why}"));
                }
            }
            if stands_alone(line, concat!("TO", "DO"))
                && !line.contains(concat!("TO", "DO(#"))
                && !has_page(line)
            {
                report.add(
                    path,
                    number + 1,
                    "words",
                    concat!("a TO", "DO names an issue (#12) or a design page"),
                );
            }
        }
    }
}

fn has_page(line: &str) -> bool {
    line.contains(concat!("TO", "DO(docs/design/"))
}

/// Whether `word` stands in `line` and is no part of a longer word.
fn stands_alone(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let edge = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let first = word.chars().next().is_some_and(char::is_alphanumeric);
        let last = word.chars().last().is_some_and(char::is_alphanumeric);
        (!first || edge(line[..at].chars().next_back()))
            && (!last || edge(line[at + word.len()..].chars().next()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_only_as_a_word() {
        assert!(stands_alone("// LATER: more", "LATER"));
        assert!(!stands_alone("let x = LATERAL;", "LATER"));
        assert!(stands_alone("cd /srv/x", "/srv/"));
    }
}
