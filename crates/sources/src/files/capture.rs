//! Capture of files: the walk, databases on the way, and whether what was read may count.

use super::connect::Root;
use super::walk::{CopyDatabase, Notes, Walk};
use crate::artifact::{Facts, Proof, Settle, TreeCounts};
use crate::process::open_files;
use crate::sqlite::SqliteConfig;
use crate::sqlite::capture::copy;
use crate::sqlite::inspect::{Limits, inspect};
use recoup_core::entry::{Folder, Listing};
use recoup_core::env::Clock;
use recoup_core::event::{Finding, Severity};
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Copies databases that are found among files into a private directory.
pub(super) struct LiveDatabases {
    scratch: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    open: OnceLock<HashSet<(u64, u64)>>,
    next: AtomicU64,
    failed: AtomicU64,
}

impl LiveDatabases {
    pub(super) fn new(scratch: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("files-")
            .tempdir_in(scratch)
            .map_err(|e| Error::io("make room for private copies", e).code("E0518"))?;
        Ok(LiveDatabases {
            scratch,
            clock,
            open: OnceLock::new(),
            next: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    fn copy_at(&self, from: &Path) -> Result<File> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let to = self.scratch.path().join(number.to_string());
        let config = SqliteConfig::new("");
        copy(from, &to, &config, self.clock.as_ref())?;
        let found = inspect(&to, Limits::default(), self.clock.as_ref())?;
        if let Some(first) = found.damage.first() {
            return Err(Error::new(Kind::Corrupt, "check the copy of a database")
                .with("damage", escape(first.as_bytes()))
                .code("E0515"));
        }
        let file = File::open(&to).map_err(|e| Error::io("open a private copy", e))?;
        // The open file is all that is needed; its name would only take room until the end.
        crate::place::remove_file(&to)?;
        Ok(file)
    }
}

impl CopyDatabase for LiveDatabases {
    fn is_held(&self, device: u64, inode: u64) -> bool {
        self.open.get_or_init(open_files).contains(&(device, inode))
    }

    fn copy(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<File> {
        let dir = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        let from = dir.map(|dir| dir.join(name)).map_err(|e| Error::io("find a database", e))?;
        self.copy_at(&from).map_err(|e| {
            self.failed.fetch_add(1, Ordering::Relaxed);
            Error::new(e.kind(), "copy a live database found among the files")
                .with("database", escape(from.as_os_str().as_bytes()))
                .code("E0524")
                .caused_by(e)
        })
    }
}

/// A source that is one file: a folder that holds it alone.
pub(super) struct OneFile {
    pub(super) walk: Walk,
    pub(super) path: PathBuf,
}

impl Folder for OneFile {
    fn list(&self) -> Result<Listing> {
        let items = self.walk.item(&self.path)?.into_iter().collect();
        Ok(Listing { items, problems: Vec::new() })
    }
}

/// Facts that are known before anything is read.
pub(super) fn facts_of(root: &Root) -> Facts {
    let mut facts = Facts::new();
    facts.insert("followed_link".into(), root.followed.into());
    facts.insert("mount_point".into(), root.mounted.into());
    facts
}

/// Judges a capture of files.
pub(super) struct After {
    pub(super) root: Root,
    pub(super) walk: Walk,
    pub(super) databases: Arc<LiveDatabases>,
    pub(super) previous: Option<Facts>,
    pub(super) address: String,
}

impl Settle for After {
    fn settle(self: Box<Self>, counts: TreeCounts) -> Proof {
        let notes = self.walk.notes();
        let failed = self.databases.failed.load(Ordering::Relaxed);
        let shrunk = self.previous.as_ref().and_then(|before| shrunk(before, &self.root, counts));
        let mut findings = self.noticed(&notes);
        let why = if failed > 0 {
            Some(("E0524", format!("{failed} live databases among the files could not be copied")))
        } else if counts.files == 0 && counts.errors > 0 {
            Some(("E0522", "nothing could be read".to_owned()))
        } else if !self.root.is_still_there() {
            Some(("E0553", "the folder went away or was replaced while it was read".to_owned()))
        } else {
            shrunk.map(|why| ("E0525", why))
        };
        if let Some((code, why)) = &why {
            let fix = format!("see `recoup explain {code}`");
            findings.push(Finding::new(code, Severity::High, self.address.clone(), why.clone(), fix));
        }
        let facts = facts(&self.root, &notes, counts);
        Proof { complete: why.is_none(), why: why.map(|w| w.1), facts, findings }
    }
}

impl After {
    fn noticed(&self, notes: &Notes) -> Vec<Finding> {
        let finding = |code: &str, message: String, fix: &str| {
            Finding::new(code, Severity::Info, self.address.clone(), message, fix)
        };
        let mut found = Vec::new();
        if let Some(first) = notes.databases_copied.first() {
            let n = notes.databases_copied.len();
            let message =
                format!("{n} SQLite databases among the files were captured as databases, first {first}");
            found.push(finding(
                "E0528",
                message,
                "declare each as a source of kind \"sqlite\" to have its rows counted and checked",
            ));
        }
        if let Some(first) = notes.kernel_dirs.first() {
            let message = format!("{first} holds no files but the kernel's own view, and was left empty");
            found.push(finding("E0529", message, "leave it out with `ignore`"));
        }
        found
    }
}

/// A source that had files and has none, or whose disk is not there, must not count as good (fault row 128).
fn shrunk(before: &Facts, root: &Root, counts: TreeCounts) -> Option<String> {
    let files = before.get("files").and_then(Value::as_u64).unwrap_or(0);
    let was_mounted = before.get("mount_point").and_then(Value::as_bool).unwrap_or(false);
    if files > 0 && counts.files == 0 {
        return Some(format!("the source is empty and had {files} files before"));
    }
    (was_mounted && !root.mounted)
        .then(|| "the source was a disk of its own and is not mounted now".to_owned())
}

fn facts(root: &Root, notes: &Notes, counts: TreeCounts) -> Facts {
    let mut facts = facts_of(root);
    let prefix = format!("{}/", escape(root.path.as_os_str().as_bytes()));
    let within = |path: &String| path.strip_prefix(&prefix).unwrap_or(path).to_owned();
    let mut databases: Vec<String> = notes.databases_copied.iter().map(within).collect();
    databases.sort();
    databases.dedup();
    facts.insert("files".into(), counts.files.into());
    facts.insert("bytes".into(), counts.bytes.into());
    facts.insert("errors".into(), counts.errors.into());
    facts.insert("databases".into(), json!(databases));
    facts.insert("sockets".into(), notes.sockets.into());
    facts.insert("left_out".into(), notes.excluded.into());
    facts.insert("vanished".into(), notes.vanished.into());
    facts
}
