//! What can be known of a copy that nobody changes: is it sound, what is in it.

use super::connect::{Header, explain, open_copy};
use crate::artifact::Facts;
use recoup_core::env::Clock;
use recoup_core::{Error, Result};
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Bounds on what a hostile or huge database can cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tables whose rows are counted.
    pub tables_max: usize,
    /// Time for counting rows, all tables together.
    pub count_max: Duration,
    /// Lines of damage kept.
    pub damage_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { tables_max: 2000, count_max: Duration::from_secs(120), damage_max: 20 }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspected {
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// What `integrity_check` found, if it found something.
    pub damage: Vec<String>,
    /// Why the check was not complete, if it was not.
    pub unchecked: Option<String>,
    /// Rows that point to rows that do not exist.
    pub foreign_key_violations: u64,
    /// Rows by table; tables that could not be counted are missing.
    pub rows: BTreeMap<String, u64>,
    /// Tables in all, without those of SQLite itself.
    pub tables: u64,
    /// Last numbers given out, by table.
    pub sequences: BTreeMap<String, i64>,
    /// Numbers of the header, by the name of their pragma.
    pub numbers: BTreeMap<&'static str, i64>,
    /// Whether it is in WAL mode.
    pub wal: bool,
    /// How many changes the header counts.
    pub change_counter: u32,
}

impl Inspected {
    /// The facts that are stored with a point.
    pub fn facts(&self) -> Facts {
        let mut facts = Map::new();
        let integrity = match (self.damage.is_empty(), &self.unchecked) {
            (false, _) => "damaged",
            (true, Some(_)) => "partly checked",
            (true, None) => "ok",
        };
        facts.insert("sha256".into(), json!(self.sha256));
        facts.insert("bytes".into(), json!(self.bytes));
        facts.insert("integrity".into(), json!(integrity));
        facts.insert("foreign_key_violations".into(), json!(self.foreign_key_violations));
        facts.insert("tables".into(), json!(self.tables));
        facts.insert("rows".into(), json!(self.rows));
        facts.insert("sequences".into(), json!(self.sequences));
        facts.insert("journal_mode".into(), json!(if self.wal { "wal" } else { "rollback" }));
        facts.insert("change_counter".into(), json!(self.change_counter));
        facts.insert("sqlite_library".into(), json!(rusqlite::version()));
        for (name, value) in &self.numbers {
            facts.insert((*name).to_owned(), Value::from(*value));
        }
        facts
    }
}

/// Inspects the database at `path`, which is never changed and gets no file beside it.
///
/// # Errors
/// `Kind::Refused` (E0514) for a journal beside it; `Kind::Corrupt` (E0515) if it is no database.
pub fn inspect(path: &Path, limits: Limits, clock: &dyn Clock) -> Result<Inspected> {
    let mut found = Inspected::default();
    (found.sha256, found.bytes) = digest(path)?;
    if found.bytes == 0 {
        // An empty file is an empty database; there is nothing to ask it.
        return Ok(found);
    }
    if let Some(header) = Header::read(path)? {
        (found.wal, found.change_counter) = (header.wal, header.change_counter);
    }
    let copy = open_copy(path)?;
    match numbers(&copy) {
        Ok(numbers) => found.numbers = numbers,
        Err(e) => return Err(explain(e, "read the copy of a database", path)),
    }
    check(&copy, limits, &mut found);
    if found.damage.is_empty() {
        count(&copy, limits, clock, &mut found);
    }
    Ok(found)
}

/// SHA-256 and size of a file.
pub(super) fn digest(path: &Path) -> Result<(String, u64)> {
    let failed = |e| Error::io("read the copy of a database", e).code("E0518");
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            return Ok((hex::encode(hash.finalize()), bytes));
        }
        hash.update(&buffer[..n]);
        bytes += n as u64;
    }
}

fn numbers(copy: &Connection) -> rusqlite::Result<BTreeMap<&'static str, i64>> {
    ["page_size", "page_count", "schema_version", "user_version", "application_id", "freelist_count"]
        .into_iter()
        .map(|name| Ok((name, copy.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?)))
        .collect()
}

/// An application may bring functions that its constraints call; without them those constraints
/// alone are left unchecked, and that is said.
fn check(copy: &Connection, limits: Limits, found: &mut Inspected) {
    let run = || -> rusqlite::Result<Vec<String>> {
        let mut statement = copy.prepare(&format!("PRAGMA integrity_check({})", limits.damage_max))?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
        lines.filter(|line| !matches!(line, Ok(text) if text == "ok")).collect()
    };
    let mut result = run();
    if let Err(error) = &result
        && !is_damage(error)
    {
        found.unchecked = Some(error.to_string());
        if copy.execute_batch("PRAGMA ignore_check_constraints = ON").is_ok() {
            result = run();
        }
    }
    match result {
        Ok(lines) => found.damage = lines,
        Err(error) if is_damage(&error) => found.damage.push(error.to_string()),
        Err(error) => found.unchecked = Some(error.to_string()),
    }
    let violations = || -> rusqlite::Result<u64> {
        let mut statement = copy.prepare("PRAGMA foreign_key_check")?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while rows.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    };
    match violations() {
        Ok(count) => found.foreign_key_violations = count,
        Err(error) if is_damage(&error) => found.damage.push(error.to_string()),
        Err(error) => {
            found.unchecked.get_or_insert_with(|| error.to_string());
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase | SystemIoFailure))
}

fn count(copy: &Connection, limits: Limits, clock: &dyn Clock, found: &mut Inspected) {
    let names = || -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
        copy.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let names = names().unwrap_or_default();
    found.tables = names.len() as u64;
    let began = clock.monotonic();
    for name in names.into_iter().take(limits.tables_max) {
        if clock.monotonic().saturating_sub(began) > limits.count_max {
            found.unchecked.get_or_insert_with(|| "counting the rows took too long".to_owned());
            break;
        }
        let sql = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
        // A table of an extension that is not loaded cannot be counted; its shadow tables are.
        if let Ok(rows) = copy.query_row(&sql, [], |row| row.get::<_, i64>(0)) {
            found.rows.insert(name, u64::try_from(rows).unwrap_or(0));
        }
    }
    let sequences = || -> rusqlite::Result<BTreeMap<String, i64>> {
        copy.prepare("SELECT name, seq FROM sqlite_sequence")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    };
    // Only databases with AUTOINCREMENT have the table.
    found.sequences = sequences().unwrap_or_default();
}
