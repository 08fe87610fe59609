//! Every stable code with its explanation, offline (`recoup explain CODE`).
//!
//! `E` is an error or a broken rule, `W` a warning, `R` a finding of a drill or a restore check.
//! `cargo xtask tidy` checks that every code used in the source stands in one of these tables.

mod audit;
mod config;
mod contract;
mod drill;
mod host;
mod repo;
mod restore;
mod retention;
mod sources;
mod trust;
mod verbs;

/// One code, explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// As in `E0301`.
    pub code: &'static str,
    /// One line, no full stop.
    pub title: &'static str,
    /// What it means and how recoup found out.
    pub meaning: &'static str,
    /// What it does and does not do to the data.
    pub effect: &'static str,
    /// What to do next.
    pub next: &'static str,
}

const TABLES: [&[Code]; 11] = [
    config::CODES,
    contract::CODES,
    repo::CODES,
    verbs::CODES,
    sources::CODES,
    restore::CODES,
    retention::CODES,
    drill::CODES,
    host::CODES,
    audit::CODES,
    trust::CODES,
];

/// All codes, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static Code> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// Looks up `code`, in any case.
pub fn find(code: &str) -> Option<&'static Code> {
    all().find(|c| c.code.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_complete() {
        let mut seen = BTreeSet::new();
        for c in all() {
            assert!(seen.insert(c.code), "{} stands twice", c.code);
            for text in [c.title, c.meaning, c.effect, c.next] {
                assert!(!text.trim().is_empty(), "{} has an empty field", c.code);
            }
        }
        assert!(find("e0405").is_some());
    }
}
