//! A consistent copy of a live database through SQLite's online backup.
//!
//! In WAL mode a read transaction fixes one moment and the copy is made under it: writers go on. In
//! rollback mode a reader and a committing writer shut each other out, so the copy goes in small
//! steps that let writers in between. SQLite begins again by itself when one did write; after a
//! limited number of such restarts one read lock is taken, for a declared longest time, and if that
//! is not enough the capture fails by name.

use super::config::SqliteConfig;
use super::connect::{beside, explain, one_at_a_time, open_live};
use super::inspect::{Limits, inspect};
use crate::artifact::{Facts, Proof, Settle, TreeCounts};
use crate::position::Position;
use recoup_core::env::Clock;
use recoup_core::event::{Finding, Severity};
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Pages copied at once under a held transaction, and between two looks at the clock.
const HELD_PAGES: i32 = 1024;

/// Between two steps a waiting writer gets this long to take its lock.
const PAUSE: Duration = Duration::from_millis(1);

/// How a copy was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Whether the database was in WAL mode.
    pub wal: bool,
    /// How often SQLite began again because somebody wrote.
    pub restarts: u32,
    /// How long writers were kept waiting by the lock, if it was taken.
    pub locked: Option<Duration>,
}

/// Copies the live database `from` into the new file `to`.
///
/// # Errors
/// `Kind::Locked` (E0511) if somebody else locks it for too long, `Kind::TimedOut` (E0512) if the
/// declared longest lock was not enough, `Kind::Refused` (E0513) for a hot journal, `Kind::Corrupt`
/// (E0515), or as the operating system says (E0518).
pub fn copy(from: &Path, to: &Path, config: &SqliteConfig, clock: &dyn Clock) -> Result<Copied> {
    let _guard = one_at_a_time();
    let source = open_live(from, config.lock_max.0)?;
    let failed = |e| explain(e, "read the live database", from);
    let mode: String = source.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
    let mut target = open_new(to)?;
    let mut copied = Copied { wal: mode == "wal", ..Copied::default() };
    let done = if copied.wal {
        hold(&source).map_err(failed)?;
        all(&source, &mut target, None, clock).map_err(failed)?
    } else if in_steps(&source, &mut target, config, &mut copied).map_err(failed)? {
        true
    } else {
        // What the steps have written is no database, and without a journal it cannot be taken back.
        drop(target);
        crate::place::remove_file(to)?;
        target = open_new(to)?;
        let began = clock.monotonic();
        hold(&source).map_err(failed)?;
        let done = all(&source, &mut target, Some(config.lock_max.0), clock).map_err(failed)?;
        copied.locked = Some(clock.monotonic().saturating_sub(began));
        done
    };
    if !done {
        return Err(Error::new(Kind::TimedOut, "copy a database that is written all the time")
            .with("database", escape(from.as_os_str().as_bytes()))
            .with("lock_max", config.lock_max)
            .code("E0512")
            .effect("nothing was captured from it; writers were kept waiting no longer than declared"));
    }
    drop(source);
    target.close().map_err(|(_, e)| explain(e, "finish the copy of a database", to))?;
    Ok(copied)
}

/// The copy is private and thrown away if anything fails: it needs no journal and no flush.
fn open_new(to: &Path) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(to, flags)
        .and_then(|target| {
            target.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE",
            )?;
            Ok(target)
        })
        .map_err(|e| explain(e, "create the copy of a database", to))
}

/// Begins a read transaction that really reads, which is when SQLite takes the lock.
fn hold(source: &Connection) -> rusqlite::Result<()> {
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).map(drop)
}

/// Copies under a held transaction. False if `limit` passed first.
fn all(
    source: &Connection,
    target: &mut Connection,
    limit: Option<Duration>,
    clock: &dyn Clock,
) -> rusqlite::Result<bool> {
    let began = clock.monotonic();
    let backup = Backup::new(source, target)?;
    loop {
        match backup.step(HELD_PAGES)? {
            StepResult::Done => return Ok(true),
            StepResult::More => {}
            _ => return Err(busy()),
        }
        if limit.is_some_and(|limit| clock.monotonic().saturating_sub(began) > limit) {
            return Ok(false);
        }
    }
}

/// Copies in small steps. False if writers made it begin again too often.
fn in_steps(
    source: &Connection,
    target: &mut Connection,
    config: &SqliteConfig,
    copied: &mut Copied,
) -> rusqlite::Result<bool> {
    let backup = Backup::new(source, target)?;
    let pages = i32::try_from(config.step_pages.max(1)).unwrap_or(i32::MAX);
    let mut left_before = i32::MAX;
    loop {
        match backup.step(pages)? {
            StepResult::Done => return Ok(true),
            StepResult::More => {}
            _ => return Err(busy()),
        }
        let left = backup.progress().remaining;
        if left >= left_before {
            copied.restarts += 1;
            if copied.restarts > config.restarts_max {
                return Ok(false);
            }
        }
        left_before = left;
        #[allow(clippy::disallowed_methods, reason = "this loop owns the pause that lets writers in")]
        std::thread::sleep(PAUSE);
    }
}

/// The busy handler has waited as long as it may.
fn busy() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
    rusqlite::Error::SqliteFailure(code, Some("somebody else keeps it locked".to_owned()))
}

/// Where the log of a database in WAL mode stands now: its two salts name the history. The copy
/// holds at least this much.
pub(super) fn position(path: &Path) -> Option<Position> {
    use std::os::unix::fs::FileExt;
    let log = std::fs::File::open(beside(path, "-wal")).ok()?;
    let mut head = [0; 32];
    log.read_exact_at(&mut head, 0).ok()?;
    let size = log.metadata().ok()?.len();
    let page = u64::from(u32::from_be_bytes([head[8], head[9], head[10], head[11]]));
    // A frame is a header of 24 bytes and one page (SQLite file format, 4.1).
    let frames = size.saturating_sub(32) / (24 + page.max(512));
    Some(Position::new(
        format!("wal {}-{}", hex::encode(&head[16..20]), hex::encode(&head[20..24])),
        format!("frame {frames} or later"),
    ))
}

/// Checks the private copy and gathers its facts and findings.
pub(super) fn look(
    copy: &Path,
    address: &str,
    how: Copied,
    clock: &dyn Clock,
) -> Result<(Facts, Vec<Finding>)> {
    let inspected = inspect(copy, Limits::default(), clock)?;
    let mut facts = inspected.facts();
    facts.insert("restarts".into(), how.restarts.into());
    if let Some(locked) = how.locked {
        facts.insert("locked_seconds".into(), locked.as_secs_f64().into());
    }
    let mut findings = Vec::new();
    if let Some(first) = inspected.damage.first() {
        findings.push(Finding::new(
            "E0515",
            Severity::High,
            address,
            format!("the live database is damaged: {}", escape(first.as_bytes())),
            "restore the last good point, or repair it with the sqlite3 shell's .recover",
        ));
    }
    if let Some(why) = &inspected.unchecked {
        findings.push(Finding::new(
            "E0519",
            Severity::Warning,
            address,
            format!("the database could not be checked fully: {}", escape(why.as_bytes())),
            "nothing if the application brings functions or collations of its own; drills check the rest",
        ));
    }
    if inspected.foreign_key_violations > 0 {
        findings.push(Finding::new(
            "E0516",
            Severity::Warning,
            address,
            format!("{} rows point to rows that do not exist", inspected.foreign_key_violations),
            "find them with PRAGMA foreign_key_check and mend them in the application",
        ));
    }
    Ok((facts, findings))
}

/// Judges a capture: the copy was read whole, it is sound, and it is not suddenly empty.
pub(super) struct After {
    pub(super) facts: Facts,
    pub(super) previous: Option<Facts>,
    pub(super) address: String,
    pub(super) _copy: tempfile::TempDir,
}

impl Settle for After {
    fn settle(self: Box<Self>, counts: TreeCounts) -> Proof {
        let mut findings = Vec::new();
        let damaged = self.facts.get("integrity").and_then(Value::as_str) == Some("damaged");
        let emptied = self.previous.as_ref().and_then(|before| emptied(before, &self.facts));
        let why = if counts.errors > 0 || counts.files != 1 {
            Some("the private copy could not be stored".to_owned())
        } else if damaged {
            Some("the live database is damaged".to_owned())
        } else if let Some(why) = emptied {
            findings.push(Finding::new(
                "E0517",
                Severity::High,
                self.address,
                why.clone(),
                "look whether the application uses another file now; restore the last good point if the data is lost",
            ));
            Some(why)
        } else {
            None
        };
        Proof { complete: why.is_none(), why, facts: self.facts, findings }
    }
}

fn emptied(before: &Facts, now: &Facts) -> Option<String> {
    let rows = |facts: &Facts| -> u64 {
        let counts = facts.get("rows").and_then(Value::as_object);
        counts.map_or(0, |tables| tables.values().filter_map(Value::as_u64).sum())
    };
    let tables = |facts: &Facts| facts.get("tables").and_then(Value::as_u64).unwrap_or(0);
    match (tables(before), tables(now), rows(before), rows(now)) {
        (1.., 0, ..) => Some(format!("the database is empty and had {} tables before", tables(before))),
        (_, _, 1.., 0) => Some(format!("the database has no rows and had {} before", rows(before))),
        _ => None,
    }
}
