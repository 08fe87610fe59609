//! Point against code: does the schema in the data fit the code that will read it?

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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

/// The newest migrations per component (a Django app, an Alembic branch); more than one if it has branches.
pub type Heads = BTreeMap<String, BTreeSet<String>>;

/// Compares the heads that the data of the point has with those of the code. Components that only the
/// point has are left out: they may belong to installed packages, whose code is not in the project.
/// Names that start with a number compare by it, as Django numbers them; others can only be equal or diverged.
pub fn compare(point: Option<&Heads>, code: Option<&Heads>) -> Compat {
    let (Some(point), Some(code)) = (point, code) else {
        return Compat {
            relation: Relation::Unknown,
            detail: "the migrations of the point or of the code are not known".into(),
        };
    };
    let mut differences = Vec::new();
    let (mut behind, mut ahead, mut torn) = (false, false, false);
    for (name, c) in code {
        match point.get(name) {
            Some(p) if p == c => continue,
            None if c.is_empty() => continue,
            None => behind = true,
            Some(p) => match (number(p), number(c)) {
                (Some(p), Some(c)) if p < c => behind = true,
                (Some(p), Some(c)) if p > c => ahead = true,
                _ => torn = true,
            },
        }
        differences.push(format!(
            "point has {}, code has {}",
            show(name, point.get(name)),
            show(name, Some(c))
        ));
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

fn show(name: &str, heads: Option<&BTreeSet<String>>) -> String {
    let Some(heads) = heads.filter(|h| !h.is_empty()) else { return format!("nothing of {name}") };
    let heads: Vec<String> = heads.iter().map(|h| format!("{name}.{h}")).collect();
    heads.join(" and ")
}

fn number(heads: &BTreeSet<String>) -> Option<u64> {
    let of = |m: &String| m.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    heads.iter().filter_map(of).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(items: &[(&str, &str)]) -> Heads {
        items.iter().map(|(a, b)| ((*a).to_owned(), BTreeSet::from([(*b).to_owned()]))).collect()
    }

    #[test]
    fn equal_behind_ahead_diverged_unknown() {
        let at = |p: &[(&str, &str)], c: &[(&str, &str)]| compare(Some(&heads(p)), Some(&heads(c))).relation;
        assert_eq!(at(&[("shop", "0002_a")], &[("shop", "0002_a")]), Relation::Equal);
        assert_eq!(at(&[("shop", "0002_a"), ("auth", "0012_x")], &[("shop", "0002_a")]), Relation::Equal);
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
