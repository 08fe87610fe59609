//! The checks of restored data that need no application: row counts, declared questions, references.

use super::references;
use super::rows::{self, Rows};
use super::sql::Restored;
use super::subject::{NotRun, Subject, SubjectSource, address};
use crate::config::section::{Check as Declared, CheckKind};
use recoup_core::env::{Clock, Env};
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::{Error, Result};
use recoup_sources::Check;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names that one `references` check looks at.
const REFERENCES_MAX: usize = 5_000_000;

/// What the checks gave.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChecksResult {
    /// Every check, by address.
    pub checks: Vec<(String, Check)>,
    /// Checks that were not made.
    pub not_run: Vec<NotRun>,
    /// Restored rows by source and table.
    pub rows: BTreeMap<String, BTreeMap<String, u64>>,
    /// How long they took.
    pub seconds: f64,
}

impl ChecksResult {
    /// What was found.
    pub fn findings(&self) -> Vec<Finding> {
        self.checks.iter().filter_map(|(_, check)| check.finding.clone()).collect()
    }

    /// The worst outcome; checks that were not made count as unknown.
    pub fn outcome(&self) -> Outcome {
        let any = |outcome| self.checks.iter().any(|(_, c)| c.outcome == outcome);
        match (any(Outcome::Fail), any(Outcome::Unknown) || !self.not_run.is_empty()) {
            (true, _) => Outcome::Fail,
            (_, true) => Outcome::Unknown,
            _ => Outcome::Pass,
        }
    }
}

/// Makes all checks of `subject` on what was restored; nothing restored is changed.
///
/// # Errors
/// `Kind::Bug` only; a check that cannot be made is a value.
pub async fn run(subject: &Subject, env: &Env) -> Result<ChecksResult> {
    let subject = subject.clone();
    let clock = env.clock.clone();
    tokio::task::spawn_blocking(move || run_blocking(&subject, &clock))
        .await
        .map_err(|e| Error::bug("make the checks of a drill").caused_by(e))
}

fn run_blocking(subject: &Subject, clock: &Arc<dyn Clock>) -> ChecksResult {
    let start = clock.monotonic();
    let mut result = ChecksResult::default();
    for source in subject.sources.iter().filter(|s| s.is_database()) {
        let at = address(subject, &source.name);
        match count(source, clock) {
            Ok(found) => {
                let (was, before) =
                    (rows::recorded(&source.facts), source.before.as_ref().and_then(rows::recorded));
                result.checks.push((at.clone(), rows::against_recorded(&at, &found, was.as_ref())));
                let compared = rows::against_before(&at, &found, before.as_ref(), subject.rows_drop_percent);
                result.checks.extend(compared.into_iter().map(|c| (at.clone(), c)));
                result.rows.insert(source.name.clone(), found);
            }
            Err(why) => result.checks.push((at, unreadable(subject, source, &why))),
        }
    }
    for (name, declared) in &subject.checks {
        match ask(subject, name, declared, clock) {
            Ok(done) => result.checks.push(done),
            Err(reason) => result.not_run.push(NotRun { check: name.clone(), reason }),
        }
    }
    result.seconds = (clock.monotonic().saturating_sub(start)).as_secs_f64();
    result
}

fn open(source: &SubjectSource, clock: &Arc<dyn Clock>) -> Result<Restored> {
    let file = source.database().ok_or_else(|| {
        Error::new(recoup_core::Kind::NotFound, "find the restored database file")
            .with("source", &source.name)
            .code("E0711")
    })?;
    Restored::open(&file, clock.clone())
}

fn count(source: &SubjectSource, clock: &Arc<dyn Clock>) -> Result<Rows> {
    let database = open(source, clock)?;
    database.tables()?.into_iter().map(|table| Ok((table.clone(), database.count(&table)?))).collect()
}

fn unreadable(subject: &Subject, source: &SubjectSource, why: &Error) -> Check {
    let message = format!("the restored database cannot be read: {why}");
    let fix = "restore another point, and look for damage with `recoup verify --read-data`";
    let finding = Finding::new("R0201", Severity::High, address(subject, &source.name), message, fix);
    Check::found("rows", Outcome::Fail, finding)
}

/// One declared check; `Err` says why it was not made.
fn ask(
    subject: &Subject,
    name: &str,
    declared: &Declared,
    clock: &Arc<dyn Clock>,
) -> std::result::Result<(String, Check), String> {
    let restored = |source: &str| {
        let found = subject.sources.iter().find(|s| s.name == source);
        found.ok_or_else(|| format!("source `{source}` was not restored"))
    };
    match declared.kind {
        CheckKind::Sql => {
            let source = restored(declared.source.as_deref().unwrap_or_default())?;
            if !source.is_database() {
                return Err(format!("source `{}` is no database", source.name));
            }
            let sql = declared.sql.as_deref().unwrap_or_default();
            let answer = open(source, clock).and_then(|db| db.number(sql));
            Ok((address(subject, &source.name), compared(subject, name, source, declared, answer)))
        }
        CheckKind::References => {
            let (source, table, column) = parts(declared.rows.as_deref().unwrap_or_default())
                .ok_or("`rows` must be written `source:table.column`".to_owned())?;
            let (rows, files) = (restored(source)?, restored(declared.files.as_deref().unwrap_or_default())?);
            let names = open(rows, clock).and_then(|db| db.texts(table, column, REFERENCES_MAX));
            let at = address(subject, &files.name);
            let check = match names {
                Ok(names) => {
                    let dangling = references::dangling(&files.restored, &names);
                    let holds = declared.expect.holds(dangling as f64);
                    referenced(subject, name, declared, names.len(), dangling, holds)
                }
                Err(why) => Check::unknown(name, why.to_string()),
            };
            Ok((at, check))
        }
    }
}

fn compared(
    subject: &Subject,
    name: &str,
    source: &SubjectSource,
    declared: &Declared,
    answer: Result<Option<f64>>,
) -> Check {
    let expect = &declared.expect;
    match answer {
        Ok(Some(number)) if expect.holds(number) => Check::pass(name, format!("{number}, expected {expect}")),
        Ok(number) => {
            let got = number.map_or("no number".to_owned(), |n| n.to_string());
            let message = format!("check `{name}` answered {got}, expected {expect}");
            let fix = format!(
                "compare with the live data: recoup restores what was captured, so the point before may be the better one; the question stands in [check.{name}]"
            );
            let finding = Finding::new("R0206", Severity::High, address(subject, &source.name), message, fix);
            Check::found(name, Outcome::Fail, finding)
        }
        Err(why) => Check::unknown(name, why.to_string()),
    }
}

fn referenced(
    subject: &Subject,
    name: &str,
    declared: &Declared,
    names: usize,
    dangling: u64,
    holds: bool,
) -> Check {
    if holds {
        return Check::pass(
            name,
            format!("{dangling} of {names} names have no file, expected {}", declared.expect),
        );
    }
    let files = escape(declared.files.as_deref().unwrap_or_default().as_bytes());
    let rows = escape(declared.rows.as_deref().unwrap_or_default().as_bytes());
    let message = format!("{dangling} of {names} files named by {rows} are missing in {files}");
    let fix = "files must be captured after the rows that name them: make the database the `anchor` of the consistency set; or find out who deletes files that rows still name";
    let finding = Finding::new("R0207", Severity::High, address(subject, &files), message, fix);
    Check::found(name, Outcome::Fail, finding)
}

/// `source:table.column`; the table may have dots itself.
fn parts(rows: &str) -> Option<(&str, &str, &str)> {
    let (source, rest) = rows.split_once(':')?;
    let (table, column) = rest.rsplit_once('.')?;
    Some((source, table.strip_prefix("public.").or(table.strip_prefix("main.")).unwrap_or(table), column))
}
