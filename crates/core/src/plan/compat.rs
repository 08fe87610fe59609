//! Point against code: does the schema in the data fit the code that will read it?

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the point stands to the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// Same migrations.
    Equal,
    /// The code has newer migrations: run them after the restore.
    Behind,
    /// The point has migrations that the code does not know: use newer code.
    Ahead,
    /// Each has what the other lacks.
    Diverged,
    /// One of the two sides is not known.
    #[default]
    Unknown,
}

/// The relation with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compat {
    /// The answer.
    pub relation: Relation,
    /// One line for people, as in `point has shop.0041, code has shop.0042`.
    pub detail: String,
}

/// Compares the newest migration per component (a Django app, an Alembic branch). Names that start
/// with a number compare by it, as Django numbers them; others can only be equal or diverged.
pub fn compare(point: Option<&BTreeMap<String, String>>, code: Option<&BTreeMap<String, String>>) -> Compat {
    let (Some(point), Some(code)) = (point, code) else {
        return Compat {
            relation: Relation::Unknown,
            detail: "the migrations of the point or of the code are not known".into(),
        };
    };
    let mut differences = Vec::new();
    let (mut behind, mut ahead, mut torn) = (false, false, false);
    for name in point.keys().chain(code.keys().filter(|k| !point.contains_key(*k))) {
        let (p, c) = (point.get(name), code.get(name));
        match (p, c) {
            (Some(p), Some(c)) if p == c => continue,
            (Some(p), Some(c)) => match (number(p), number(c)) {
                (Some(p), Some(c)) if p < c => behind = true,
                (Some(p), Some(c)) if p > c => ahead = true,
                _ => torn = true,
            },
            (None, _) => behind = true,
            (_, None) => ahead = true,
        }
        let show = |m: Option<&String>| m.map_or("nothing".to_owned(), |m| format!("{name}.{m}"));
        differences.push(format!("point has {}, code has {}", show(p), show(c)));
    }
    let relation = match (torn || (behind && ahead), behind, ahead) {
        (true, ..) => Relation::Diverged,
        (_, true, _) => Relation::Behind,
        (.., true) => Relation::Ahead,
        _ => Relation::Equal,
    };
    let detail = if differences.is_empty() { "same migrations".into() } else { differences.join("; ") };
    Compat { relation, detail }
}

fn number(migration: &str) -> Option<u64> {
    let digits: String = migration.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(items: &[(&str, &str)]) -> BTreeMap<String, String> {
        items.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn equal_behind_ahead_diverged_unknown() {
        let at = |p: &[(&str, &str)], c: &[(&str, &str)]| compare(Some(&heads(p)), Some(&heads(c))).relation;
        assert_eq!(at(&[("shop", "0002_a")], &[("shop", "0002_a")]), Relation::Equal);
        assert_eq!(at(&[("shop", "0002_a")], &[("shop", "0003_b")]), Relation::Behind);
        assert_eq!(at(&[("shop", "0004_c")], &[("shop", "0003_b")]), Relation::Ahead);
        assert_eq!(at(&[("shop", "0003_c")], &[("shop", "0003_b")]), Relation::Diverged);
        assert_eq!(
            at(&[("a", "0001_x"), ("b", "0002_x")], &[("a", "0002_x"), ("b", "0001_x")]),
            Relation::Diverged
        );
        assert_eq!(at(&[], &[("new", "0001_x")]), Relation::Behind);
        assert_eq!(at(&[("x", "ab12")], &[("x", "cd34")]), Relation::Diverged);
        assert_eq!(compare(None, Some(&heads(&[]))).relation, Relation::Unknown);
    }
}
