//! Row counts: those of the restored database against those recorded at capture, and against the
//! point before.

use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_sources::{Check, Facts};
use std::collections::BTreeMap;

/// What a table may lose between two points if nothing is declared, in per cent.
const DROP_PERCENT_DEFAULT: f64 = 25.0;
/// Tables with fewer rows before are not judged: one row more or less is half of them.
const ROWS_JUDGED_MIN: u64 = 4;
/// Tables that empty themselves.
const VOLATILE: [&str; 1] = ["django_session"];
/// Names shown; the count says the rest.
const NAMES_MAX: usize = 5;

/// Rows by table.
pub(super) type Rows = BTreeMap<String, u64>;

/// The recorded counts among `facts`, if they were recorded.
pub(super) fn recorded(facts: &Facts) -> Option<Rows> {
    let tables = facts.get("rows")?.as_object()?;
    Some(tables.iter().filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect())
}

/// Restored against recorded: every table must have exactly the rows it had.
pub(super) fn against_recorded(address: &str, restored: &Rows, recorded: Option<&Rows>) -> Check {
    let name = "rows against capture";
    let Some(recorded) = recorded else {
        return Check::unknown(name, "no row counts were recorded with the point");
    };
    let wrong: Vec<String> = recorded
        .iter()
        .filter(|(table, count)| restored.get(*table) != Some(*count))
        .map(|(table, count)| {
            let now = restored.get(table).map_or("no such table".to_owned(), u64::to_string);
            format!("{} {count} recorded, {now} restored", escape(table.as_bytes()))
        })
        .collect();
    if wrong.is_empty() {
        let total: u64 = restored.values().sum();
        return Check::pass(name, format!("{} tables, {total} rows, as recorded", restored.len()));
    }
    let message = format!("the restored database differs from what was captured: {}", first_of(&wrong));
    let fix = "restore another point; if it differs too, look for damage with `recoup verify --read-data`";
    Check::found(name, Outcome::Fail, Finding::new("R0202", Severity::High, address, message, fix))
}

/// Restored against the point before: nothing may shrink by more than `drop_percent`.
pub(super) fn against_before(
    address: &str,
    restored: &Rows,
    before: Option<&Rows>,
    drop_percent: Option<f64>,
) -> Vec<Check> {
    let name = "rows against the point before";
    let Some(before) = before else {
        return vec![Check::pass(name, "this is the first point with row counts")];
    };
    let limit = drop_percent.unwrap_or(DROP_PERCENT_DEFAULT);
    let mut shrunk = Vec::new();
    let mut gone = Vec::new();
    for (table, &was) in before {
        if was < ROWS_JUDGED_MIN || VOLATILE.contains(&table.as_str()) {
            continue;
        }
        match restored.get(table) {
            None => gone.push(escape(table.as_bytes())),
            Some(&is) => {
                let lost = 100.0 * was.saturating_sub(is) as f64 / was as f64;
                if lost > limit {
                    shrunk.push(format!("{} {was} to {is} rows (-{lost:.0}%)", escape(table.as_bytes())));
                }
            }
        }
    }
    let mut checks = Vec::new();
    if !shrunk.is_empty() {
        let message = format!(
            "the point lacks rows that the point before had: {} (allowed {limit}%)",
            first_of(&shrunk)
        );
        let fix = "if the rows were deleted on purpose, raise `tolerance.rows_drop` of the drill for one run; otherwise restore the point before";
        let finding = Finding::new("R0203", Severity::High, address, message, fix);
        checks.push(Check::found(name, Outcome::Fail, finding));
    }
    if !gone.is_empty() {
        let message = format!("tables of the point before are missing: {}", first_of(&gone));
        let fix = "check that a migration dropped them on purpose";
        let finding = Finding::new("R0204", Severity::Warning, address, message, fix);
        checks.push(Check::found("tables against the point before", Outcome::Pass, finding));
    }
    if shrunk.is_empty() {
        checks.push(Check::pass(name, format!("no table lost more than {limit}% of its rows")));
    }
    checks
}

fn first_of(items: &[String]) -> String {
    let shown = items.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    match items.len().checked_sub(NAMES_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(items: &[(&str, u64)]) -> Rows {
        items.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect()
    }

    #[test]
    fn half_of_the_rows_is_found_and_a_little_is_not() {
        let before = rows(&[("orders", 1000), ("django_session", 50), ("tiny", 2), ("old", 9)]);
        let judge = |n| against_before("shop/db", &rows(&[("orders", n), ("old", 9)]), Some(&before), None);
        assert!(judge(990).iter().all(|c| c.finding.is_none()));
        let found = judge(500);
        assert_eq!(
            found[0].finding.as_ref().map(|f| (f.id.as_str(), f.severity)),
            Some(("R0203", Severity::High))
        );
        assert_eq!(found[0].outcome, Outcome::Fail);
        let strict = against_before("shop/db", &rows(&[("orders", 940)]), Some(&before), Some(5.0));
        assert_eq!(
            strict.iter().filter_map(|c| c.finding.as_ref()).map(|f| f.id.as_str()).collect::<Vec<_>>(),
            ["R0203", "R0204"]
        );
    }

    #[test]
    fn restored_rows_must_be_the_recorded_ones() {
        let recorded = rows(&[("a", 3)]);
        assert_eq!(against_recorded("s/db", &rows(&[("a", 3)]), Some(&recorded)).outcome, Outcome::Pass);
        assert_eq!(against_recorded("s/db", &rows(&[("a", 2)]), Some(&recorded)).outcome, Outcome::Fail);
        assert_eq!(against_recorded("s/db", &rows(&[]), Some(&recorded)).outcome, Outcome::Fail);
        assert_eq!(against_recorded("s/db", &rows(&[]), None).outcome, Outcome::Unknown);
    }
}
