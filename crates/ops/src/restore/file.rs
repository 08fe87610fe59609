//! The journal of a restore on disk: one line is appended and made durable before anything is done.
//!
//! The file is locked while a process is at it; the lock dies with the process, so a restore is alive
//! exactly as long as the lock is held.
#![allow(
    clippy::disallowed_methods,
    reason = "this module owns the journal files: append, fsync, truncate a torn end"
)]

use recoup_core::journal::{Journal, Record, StepEvent};
use recoup_core::name::escape;
use recoup_core::plan::Plan;
use recoup_core::{Error, Kind, Result};
use recoup_store::local::durable;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Longest journal that is read, in bytes. A restore of a thousand sources has some thousand lines.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// A scripted crash: the process is as good as gone at this event.
#[derive(Clone, Copy, Debug)]
pub struct Trip {
    /// How many events are still appended.
    pub after: usize,
    /// Whether the event after them is durable before the crash (else its effect, if it is an end,
    /// has taken place and nobody wrote it down).
    pub written: bool,
}

/// An open, locked journal.
#[derive(Debug)]
pub struct JournalFile {
    journal: Journal,
    file: File,
    trip: Option<Trip>,
}

impl JournalFile {
    /// Begins a journal for `plan` in the folder `dir`.
    ///
    /// # Errors
    /// `Kind::Exists` if there is one of that name.
    pub fn create(dir: &Path, plan: Plan) -> Result<Self> {
        durable::create_dir_all(dir, 0o700)?;
        let path = path_of(dir, &plan.restore)?;
        let journal = Journal::new(plan);
        durable::create(&path, journal.encode_header().as_bytes(), 0o600)?;
        let file = open(&path)?;
        lock(&file, &path)?;
        Ok(JournalFile { journal, file, trip: None })
    }

    /// Opens a journal to go on with it. A torn last line is cut off.
    ///
    /// # Errors
    /// `Kind::NotFound` `E0610`; `Kind::Locked` `E0614` while another process is at it; `Kind::Corrupt`.
    pub fn open(dir: &Path, restore: &str) -> Result<Self> {
        let path = path_of(dir, restore)?;
        let mut file = open(&path)?;
        lock(&file, &path)?;
        let (journal, whole) = read(&mut file, &path)?;
        let io = |e| Error::io("mend the journal of a restore", e).with("file", shown(&path));
        if file.metadata().map_err(io)?.len() > whole as u64 {
            file.set_len(whole as u64).map_err(io)?;
            file.sync_all().map_err(io)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(JournalFile { journal, file, trip: None })
    }

    /// Looks at a journal without locking it. The second value says whether a process is at it.
    ///
    /// # Errors
    /// As [`JournalFile::open`], but for the lock.
    pub fn peek(dir: &Path, restore: &str) -> Result<(Journal, bool)> {
        let path = path_of(dir, restore)?;
        let mut file = open(&path)?;
        let alive = match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                let _ = flock(&file, FlockOperation::Unlock);
                false
            }
            Err(_) => true,
        };
        Ok((read(&mut file, &path)?.0, alive))
    }

    /// Names of all journals in `dir`, oldest first.
    ///
    /// # Errors
    /// As the operating system says; a missing folder holds none.
    pub fn list(dir: &Path) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list the restores", e).with("folder", shown(dir))),
        };
        let name = |e: std::fs::DirEntry| e.file_name().to_str()?.strip_suffix(".journal").map(str::to_owned);
        let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
        names.sort_by(|a, b| a[1..].cmp(&b[1..]));
        Ok(names)
    }

    /// What has happened.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Sets a scripted crash, for tests.
    pub fn trip(&mut self, trip: Option<Trip>) {
        self.trip = trip;
    }

    /// Appends `record` and returns when it is durable.
    ///
    /// # Errors
    /// As the operating system says; nothing may be done on the strength of the record then.
    pub fn append(&mut self, record: Record) -> Result<()> {
        let cut = self.trip.is_some_and(|t| t.after == 0);
        if let Some(trip) = &mut self.trip {
            if cut && !trip.written {
                return Err(tripped());
            }
            trip.after = trip.after.saturating_sub(1);
        }
        let mut after = self.journal.clone();
        after.apply(record.clone())?;
        let io =
            |e| Error::io("write the journal of a restore", e).effect("nothing was done after the last line");
        self.file.write_all(Journal::encode(&record).as_bytes()).map_err(io)?;
        self.file.sync_data().map_err(io)?;
        self.journal = after;
        if cut { Err(tripped()) } else { Ok(()) }
    }

    /// Appends a bare event.
    ///
    /// # Errors
    /// As [`JournalFile::append`].
    pub fn note(&mut self, at: jiff::Timestamp, step: u32, event: StepEvent) -> Result<()> {
        self.append(Record::new(at, step, event))
    }
}

impl Drop for JournalFile {
    /// A child that is just being started may still share the open file; the lock must not wait for it.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn tripped() -> Error {
    Error::new(Kind::Interrupted, "go on after a scripted crash")
}

fn path_of(dir: &Path, restore: &str) -> Result<PathBuf> {
    let fits = restore.len() > 1
        && restore.len() < 64
        && restore.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fits { Ok(dir.join(format!("{restore}.journal"))) } else { Err(no_such(restore)) }
}

fn no_such(restore: &str) -> Error {
    Error::new(Kind::NotFound, "find the restore")
        .with("restore", escape(restore.as_bytes()))
        .code("E0610")
        .hint("`recoup status` lists the restores that are not finished")
}

fn open(path: &Path) -> Result<File> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    OpenOptions::new().read(true).append(true).open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => no_such(&name),
        _ => Error::io("open the journal of a restore", e).with("file", shown(path)),
    })
}

fn lock(file: &File, path: &Path) -> Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
        Error::new(Kind::Locked, "go on with the restore: another process is at it")
            .with("journal", shown(path))
            .code("E0614")
            .effect("this command changed nothing")
            .caused_by(e)
    })
}

fn read(file: &mut File, path: &Path) -> Result<(Journal, usize)> {
    let io = |e| Error::io("read the journal of a restore", e).with("file", shown(path));
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    file.take(JOURNAL_BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    Journal::parse(&bytes)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}
