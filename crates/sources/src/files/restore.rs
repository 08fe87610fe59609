//! Back in: checks of restored files, and the switch of the live directory by one exchange.
//!
//! The restored directory becomes `keep` first: by a rename on the same file system, else by a copy
//! that is flushed. One exchange then makes it live and leaves the old one in `keep`. Which is which
//! stands in a record beside `keep`, so that a switch that crashed can be run again.

pub use super::beneath::{Beneath, BeneathOptions, Durability, Overwrite, RestoreNotes};

use super::walk::{Options, Walk};
use crate::artifact::{Check, Facts, TreeCounts};
use crate::place::{self, Record, identity, refuse_holders, shown};
use crate::process::Holding;
use crate::sqlite::inspect::{Limits, inspect};
use recoup_core::entry::{Body, Folder, Target};
use recoup_core::env::Clock;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::TreePath;
use recoup_core::{Error, Kind, Result};
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Checks restored files against the facts of their capture.
pub(super) fn prove(restored: &Path, facts: &Facts, address: &str, clock: &dyn Clock) -> Result<Vec<Check>> {
    let (_, folder) = Walk::new(Options::default()).folder(restored)?;
    let found = count(folder)?;
    let number = |name: &str| facts.get(name).and_then(Value::as_u64);
    let mut checks = vec![match (number("files"), number("bytes")) {
        (Some(files), Some(bytes)) if (files, bytes) == (found.files, found.bytes) => {
            Check::pass("files", format!("{files} files, {bytes} bytes, as captured"))
        }
        (Some(files), Some(bytes)) => {
            let message =
                format!("{} files with {} bytes instead of {files} with {bytes}", found.files, found.bytes);
            failed("files", "E0550", address, message)
        }
        _ => Check::unknown("files", "their number was not recorded with the capture"),
    }];
    let names = facts.get("databases").and_then(Value::as_array);
    for name in names.into_iter().flatten().filter_map(Value::as_str) {
        checks.push(database(restored, name, address, clock));
    }
    Ok(checks)
}

fn failed(name: &str, code: &str, address: &str, message: String) -> Check {
    let fix = "restore another point, and look for damage with `recoup verify --read-data`";
    Check::found(name, Outcome::Fail, Finding::new(code, Severity::High, address, message, fix))
}

fn database(restored: &Path, name: &str, address: &str, clock: &dyn Clock) -> Check {
    let label = format!("database {name}");
    match inspect(&restored.join(name), Limits::default(), clock) {
        Ok(found) if found.damage.is_empty() => {
            Check::pass(&label, format!("{} tables, sound", found.tables))
        }
        Ok(found) => {
            let first =
                found.damage.first().map(|d| recoup_core::name::escape(d.as_bytes())).unwrap_or_default();
            failed(&label, "E0551", address, format!("{name} is damaged: {first}"))
        }
        Err(error) => Check::unknown(&label, error.to_string()),
    }
}

/// Files and their bytes as a capture counts them: every name of a file counts.
fn count(folder: Box<dyn Folder>) -> Result<TreeCounts> {
    let mut counts = TreeCounts::default();
    let mut todo = vec![folder];
    while let Some(folder) = todo.pop() {
        let listing = folder.list()?;
        counts.errors += listing.problems.len() as u64;
        for item in listing.items {
            match item.body {
                Body::Folder(below) => todo.push(below),
                Body::File(_) => {
                    counts.files += 1;
                    counts.bytes += item.entry.size;
                }
                Body::None => {}
            }
        }
    }
    Ok(counts)
}

/// The live directory or file and what it is exchanged with.
pub(super) struct Switch<'a> {
    live: &'a Path,
    keep: &'a Path,
    record: PathBuf,
}

impl<'a> Switch<'a> {
    pub(super) fn new(live: &'a Path, keep: &'a Path) -> Self {
        let mut record = keep.as_os_str().to_owned();
        record.push(".switch.json");
        Switch { live, keep, record: record.into() }
    }

    /// Puts `restored` in place of the live data. `holders` is asked just before.
    pub(super) fn forward(&self, restored: &Path, holders: impl FnOnce() -> Result<Holding>) -> Result<()> {
        place::same_file_system(self.live, self.keep)?;
        let record = Record::read(&self.record)?;
        if let Some(record) = &record {
            match identity(self.live)? {
                now if now == Some(record.new) => return Ok(()),
                now if now == record.old => {}
                _ => return Err(place::neither(self.live)),
            }
        }
        refuse_holders(&holders()?, self.live)?;
        match record {
            Some(record) if identity(self.keep)? == Some(record.new) => {}
            Some(record) if identity(restored)? == Some(record.new) => place::rename(restored, self.keep)?,
            _ => self.stage(restored)?,
        }
        self.look_like_live()?;
        place::swap(self.live, self.keep)
    }

    /// Puts the kept data back.
    pub(super) fn back(&self, holders: impl FnOnce() -> Result<Holding>) -> Result<()> {
        let Some(record) = Record::read(&self.record)? else {
            return Err(Error::new(Kind::NotFound, "switch back to data that was not kept")
                .with("kept data", shown(self.keep))
                .code("E0542")
                .effect("nothing was changed"));
        };
        match identity(self.live)? {
            now if now == record.old => Ok(()),
            now if now == Some(record.new) => {
                refuse_holders(&holders()?, self.live)?;
                place::swap(self.live, self.keep)
            }
            _ => Err(place::neither(self.live)),
        }
    }

    fn stage(&self, restored: &Path) -> Result<()> {
        if identity(self.keep)?.is_some() {
            return Err(Error::new(Kind::Exists, "keep the live data where something is already")
                .with("kept data", shown(self.keep))
                .code("E0545")
                .effect("nothing was changed"));
        }
        let new = identity(restored)?.ok_or_else(|| {
            Error::new(Kind::NotFound, "switch to restored data that is not there")
                .with("restored data", shown(restored))
                .code("E0542")
                .effect("nothing was changed")
        })?;
        let above = place::parent(self.keep);
        if !above.exists() {
            place::create_dir(above)?;
        }
        let old = identity(self.live)?;
        let device = std::fs::metadata(above)
            .map_err(|e| place::failed("look at the place for old data", above, e))?
            .dev();
        if new.0 == device {
            Record { old, new }.write(&self.record)?;
            return place::rename(restored, self.keep);
        }
        let part = self.copy(restored)?;
        let new = identity(&part)?.ok_or_else(|| Error::bug("find the copy that was just made"))?;
        Record { old, new }.write(&self.record)?;
        place::rename(&part, self.keep)
    }

    /// Copies to the file system of the live data; nothing is withheld a second time.
    fn copy(&self, restored: &Path) -> Result<PathBuf> {
        let mut part = self.keep.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        place::remove_staged(&part)?;
        let walk = Walk::new(Options::default());
        if restored.is_dir() {
            let (entry, folder) = walk.folder(restored)?;
            let target =
                Beneath::open(&part, BeneathOptions { allow_special: true, ..BeneathOptions::default() })?;
            let counts = crate::pour::pour(folder.as_ref(), &target)?;
            target.finish_dir(&TreePath::root(), &entry)?;
            target.finish_all()?;
            if counts.errors > 0 {
                return Err(Error::new(Kind::Unavailable, "copy the restored data beside the live data")
                    .with("paths that failed", counts.errors)
                    .code("E0544")
                    .effect("the live data was not changed"));
            }
        } else {
            let copied = |e| place::failed("copy the restored file beside the live one", &part, e);
            std::fs::copy(restored, &part).map_err(copied)?;
            File::open(&part).and_then(|f| f.sync_all()).map_err(copied)?;
        }
        Ok(part)
    }

    /// Owner and mode of the root are those the running application was set up with.
    fn look_like_live(&self) -> Result<()> {
        let Ok(live) = std::fs::symlink_metadata(self.live) else { return Ok(()) };
        let to = File::open(self.keep).map_err(|e| place::failed("open the restored data", self.keep, e))?;
        let set = || -> std::io::Result<()> {
            if rustix::process::geteuid().is_root() {
                let (uid, gid) =
                    (rustix::fs::Uid::from_raw(live.uid()), rustix::fs::Gid::from_raw(live.gid()));
                rustix::fs::fchown(&to, Some(uid), Some(gid))?;
            }
            to.set_permissions(std::fs::Permissions::from_mode(live.mode() & 0o7777))?;
            to.sync_all()
        };
        set().map_err(|e| place::failed("give the restored data its owner and mode", self.keep, e))
    }
}
