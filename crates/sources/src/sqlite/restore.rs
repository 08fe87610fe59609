//! Back in: checks of a restored database, who holds the live one, and the switch.
//!
//! A database is its file and what lies beside it (`-wal`, `-journal`; `-shm` is only a cache of the
//! log). A log beside the wrong file would be played into it, so the switch goes:
//! 1. nobody holds the live database open, and its lock bytes are ours
//! 2. the restored file is copied into `keep`, with owner and mode of the live one, and flushed
//! 3. both identities are recorded
//! 4. logs of the live file move into `keep`, named by its inode
//! 5. one exchange
//! 6. logs of the file that is live now, if it has any in `keep`, move back beside it
//!
//! After a crash the identities say what was done; running it again goes on from there.

use super::connect::{beside, one_at_a_time, open_copy};
use super::inspect::{Inspected, Limits, inspect};
use crate::artifact::{Check, Facts};
use crate::place::{self, Record, failed, identity, shown};
use crate::process::{Held, Holder, Holding, holders};
use crate::single::entry_of_path;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use recoup_core::env::Clock;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Tables named in one line; the rest is counted.
const NAMES_MAX: usize = 5;

/// Checks the database file `restored` against the facts of its capture.
pub(super) fn prove(restored: &Path, facts: &Facts, address: &str, clock: &dyn Clock) -> Result<Vec<Check>> {
    if !restored.is_file() {
        let message = format!("there is no file {} in the restored data", shown(restored));
        return Ok(vec![failed_check("content", "E0550", address, message)]);
    }
    let found = inspect(restored, Limits::default(), clock)?;
    Ok(vec![
        content(&found, facts, address),
        integrity(&found, address),
        foreign_keys(&found, facts, address),
        rows(&found, facts, address),
    ])
}

fn failed_check(name: &str, code: &str, address: &str, message: String) -> Check {
    let fix = "restore another point, and look for damage with `recoup verify --read-data`";
    Check::found(name, Outcome::Fail, Finding::new(code, Severity::High, address, message, fix))
}

fn content(found: &Inspected, facts: &Facts, address: &str) -> Check {
    match facts.get("sha256").and_then(Value::as_str) {
        None => Check::unknown("content", "no checksum was recorded with the capture"),
        Some(hash) if hash == found.sha256 => {
            Check::pass("content", format!("{} bytes, equal to the copy that was captured", found.bytes))
        }
        Some(_) => {
            failed_check("content", "E0550", address, "the file is not the one that was captured".to_owned())
        }
    }
}

fn integrity(found: &Inspected, address: &str) -> Check {
    match (found.damage.first(), &found.unchecked) {
        (Some(first), _) => failed_check(
            "integrity",
            "E0551",
            address,
            format!("SQLite finds damage: {}", escape(first.as_bytes())),
        ),
        (None, Some(why)) => {
            Check::unknown("integrity", format!("could not be checked fully: {}", escape(why.as_bytes())))
        }
        (None, None) => Check::pass("integrity", "integrity_check is clean"),
    }
}

fn foreign_keys(found: &Inspected, facts: &Facts, address: &str) -> Check {
    let before = facts.get("foreign_key_violations").and_then(Value::as_u64);
    match (found.foreign_key_violations, before) {
        (0, _) => Check::pass("foreign keys", "every row that is pointed to exists"),
        (now, Some(before)) if now <= before => {
            Check::pass("foreign keys", format!("{now} rows point nowhere, as they did when it was captured"))
        }
        (now, _) => failed_check(
            "foreign keys",
            "E0551",
            address,
            format!("{now} rows point to rows that do not exist"),
        ),
    }
}

fn rows(found: &Inspected, facts: &Facts, address: &str) -> Check {
    let recorded: Option<BTreeMap<&String, u64>> = facts
        .get("rows")
        .and_then(Value::as_object)
        .map(|tables| tables.iter().filter_map(|(name, n)| Some((name, n.as_u64()?))).collect());
    let Some(recorded) = recorded else {
        return Check::unknown("rows", "no row counts were recorded with the capture");
    };
    let wrong: Vec<String> = recorded
        .iter()
        .filter(|(name, count)| found.rows.get(**name) != Some(*count))
        .map(|(name, count)| {
            let now = found.rows.get(*name).map_or("none".to_owned(), u64::to_string);
            format!("{}: {now} instead of {count}", escape(name.as_bytes()))
        })
        .collect();
    if wrong.is_empty() {
        let total: u64 = recorded.values().sum();
        return Check::pass("rows", format!("{total} rows in {} tables, as captured", recorded.len()));
    }
    let more = wrong.len().saturating_sub(NAMES_MAX);
    let mut text = wrong[..wrong.len().min(NAMES_MAX)].join(", ");
    if more > 0 {
        text.push_str(&format!(", and {more} more tables"));
    }
    failed_check("rows", "E0552", address, format!("row counts differ: {text}"))
}

/// Who has the database or what lies beside it open, and who locks it.
pub(super) fn held(live: &Path) -> Result<Holding> {
    let beside: Vec<PathBuf> = super::connect::SIDECARS.iter().map(|suffix| beside(live, suffix)).collect();
    let mut what = vec![Held::File(live)];
    what.extend(beside.iter().map(|path| Held::File(path)));
    let mut holding = holders(&what)?;
    if let Some(pid) = locked_by(live)?
        && !holding.holders.iter().any(|holder| holder.pid == pid)
    {
        let command = if pid == 0 { "a process of another namespace" } else { "a process of another user" };
        holding.holders.push(Holder { pid, command: command.to_owned(), path: live.to_path_buf() });
    }
    Ok(holding)
}

/// SQLite locks bytes from here on, wherever the database ends (SQLite, os.h: PENDING_BYTE).
const LOCK_BYTES_AT: i64 = 0x4000_0000;
const LOCK_BYTES: i64 = 512;

fn lock_bytes() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: LOCK_BYTES_AT,
        l_len: LOCK_BYTES,
        l_pid: 0,
    }
}

/// The process that locks the database, 0 if it cannot be named.
fn locked_by(live: &Path) -> Result<Option<u32>> {
    let _guard = one_at_a_time();
    let file = match File::options().read(true).write(true).open(live) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("ask for the locks of a database", live, e)),
    };
    let mut lock = lock_bytes();
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))
        .map_err(|e| failed("ask for the locks of a database", live, e.into()))?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    Ok(Some(u32::try_from(lock.l_pid).unwrap_or(0)))
}

/// Keeps every SQLite out until it is dropped.
fn lock_out(live: &Path) -> Result<Option<File>> {
    let file = match File::options().read(true).write(true).open(live) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("lock the live database", live, e)),
    };
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&lock_bytes())) {
        Ok(_) => Ok(Some(file)),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => {
            Err(Error::new(Kind::Refused, "switch a database that is in use")
                .with("live data", shown(live))
                .code("E0540")
                .effect("nothing was changed"))
        }
        Err(e) => Err(failed("lock the live database", live, e.into())),
    }
}

/// The live database and the directory its other self is kept in.
pub(super) struct Switch<'a> {
    live: &'a Path,
    keep: &'a Path,
    other: PathBuf,
}

impl<'a> Switch<'a> {
    pub(super) fn new(live: &'a Path, keep: &'a Path) -> Self {
        let name = live.file_name().unwrap_or(std::ffi::OsStr::new("database"));
        Switch { live, keep, other: keep.join(name) }
    }

    fn record_path(&self) -> PathBuf {
        self.keep.join("switch.json")
    }

    /// Puts the database file `restored` in place of the live one.
    pub(super) fn forward(&self, restored: &Path) -> Result<()> {
        place::same_file_system(self.live, self.keep)?;
        let mut record = Record::read(&self.record_path())?;
        if let Some(record) = &record {
            self.settle()?;
            match identity(self.live)? {
                now if now == Some(record.new) => return Ok(()),
                now if now == record.old => {}
                _ => return Err(place::neither(self.live)),
            }
        }
        place::refuse_holders(&held(self.live)?, self.live)?;
        if record.as_ref().map(|r| r.new) != identity(&self.other)? {
            record = None;
        }
        if record.is_none() {
            self.stage(restored)?;
        }
        self.exchange()
    }

    /// Puts the kept database back.
    pub(super) fn back(&self) -> Result<()> {
        let Some(record) = Record::read(&self.record_path())? else {
            return Err(Error::new(Kind::NotFound, "switch back to data that was not kept")
                .with("kept data", shown(self.keep))
                .code("E0542")
                .effect("nothing was changed"));
        };
        self.settle()?;
        match identity(self.live)? {
            now if now == record.old => Ok(()),
            now if now == Some(record.new) => {
                place::refuse_holders(&held(self.live)?, self.live)?;
                self.exchange()
            }
            _ => Err(place::neither(self.live)),
        }
    }

    fn stage(&self, restored: &Path) -> Result<()> {
        // Nothing but one clean database file may go live; this only looks.
        drop(open_copy(restored)?);
        place::create_dir(self.keep)?;
        place::remove_staged(&self.other)?;
        let part = beside(&self.other, ".part");
        place::remove_staged(&part)?;
        let copied = |e| failed("copy the restored database beside the live one", &part, e);
        std::fs::copy(restored, &part).map_err(copied)?;
        let like = if identity(self.live)?.is_some() { self.live } else { restored };
        let entry = entry_of_path(like)?;
        let file = File::options().write(true).open(&part).map_err(copied)?;
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (rustix::fs::Uid::from_raw(entry.uid), rustix::fs::Gid::from_raw(entry.gid));
            rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(|e| copied(e.into()))?;
        }
        file.set_permissions(std::fs::Permissions::from_mode(entry.mode)).map_err(copied)?;
        file.sync_all().map_err(copied)?;
        place::rename(&part, &self.other)?;
        let new = identity(&self.other)?.ok_or_else(|| Error::bug("find the copy that was just made"))?;
        Record { old: identity(self.live)?, new }.write(&self.record_path())
    }

    fn exchange(&self) -> Result<()> {
        let _guard = one_at_a_time();
        let lock = lock_out(self.live)?;
        self.park()?;
        place::swap(self.live, &self.other)?;
        drop(lock);
        self.settle()
    }

    /// Where a log of the database with this identity is kept.
    fn parked(&self, suffix: &str, of: Option<(u64, u64)>) -> PathBuf {
        let inode = of.map_or("gone".to_owned(), |(_, inode)| inode.to_string());
        self.keep.join(format!("{inode}{suffix}"))
    }

    fn park(&self) -> Result<()> {
        let of = identity(self.live)?;
        place::remove_file(&beside(self.live, "-shm"))?;
        for suffix in ["-wal", "-journal"] {
            let log = beside(self.live, suffix);
            if identity(&log)?.is_some() {
                let parked = self.parked(suffix, of);
                place::remove_staged(&parked)?;
                place::rename(&log, &parked)?;
            }
        }
        Ok(())
    }

    /// Brings the logs of the file that is live now back beside it.
    fn settle(&self) -> Result<()> {
        let of = identity(self.live)?;
        if of.is_none() {
            return Ok(());
        }
        for suffix in ["-wal", "-journal"] {
            let (parked, log) = (self.parked(suffix, of), beside(self.live, suffix));
            if identity(&parked)?.is_some() && identity(&log)?.is_none() {
                place::rename(&parked, &log)?;
            }
        }
        Ok(())
    }
}
