//! The log on this machine: `audit/log.jsonl` in the state directory, written line by line and never changed.
//!
//! A lock lets processes append one after the other. Beside the log lies `edge.json`, the edge of its hash tree:
//! a cache that is believed only if it leads to the hash in the last line, and made anew from the log
//! otherwise. A line that a crash cut off is dropped: whoever wrote it was not told that it was written,
//! so nothing was done on its strength. A log that cannot be gone on with is put aside, never deleted.
#![allow(
    clippy::disallowed_methods,
    reason = "this module owns the lock of the audit log, and the wait for it"
)]

use crate::env::since_start_of_machine;
use crate::session::Session;
use recoup_core::audit::words::{Hex, Name};
use recoup_core::audit::{Details, End, Event, Line, LogChange, Phase, Record, SCHEMA};
use recoup_core::crypto::note::Note;
use recoup_core::crypto::tree::Tree;
use recoup_core::crypto::{Signer, SigningKey};
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use recoup_sources::process::boot_id;
use recoup_store::local::durable;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest log that is read as a whole: a million records.
const LOG_BYTES_MAX: u64 = 1 << 30;
/// A record has less than two kilobytes; what is read backwards begins with some of them.
const BLOCK_BYTES: u64 = 64 << 10;
/// Appending takes milliseconds; a location that is asked for lost records may take longer.
const WAIT: Duration = Duration::from_millis(25);
const WAITS_MAX: u32 = 1200;

/// Room for a host name in the name of a log.
const HOST_CHARS_MAX: usize = 40;

/// What is to be recorded; the rest of a record is the same for all.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) event: Event,
    pub(super) phase: Option<Phase>,
    pub(super) of: Option<u64>,
    pub(super) run: Option<Name>,
    pub(super) outcome: Option<Outcome>,
    pub(super) details: Details,
}

impl Draft {
    pub(super) fn new(event: Event, details: Details) -> Self {
        Draft { event, phase: None, of: None, run: None, outcome: None, details }
    }
}

/// The folder of the log.
pub(super) fn folder(session: &Session) -> PathBuf {
    session.state().join("audit")
}

/// The log itself.
pub(super) fn path(session: &Session) -> PathBuf {
    folder(session).join("log.jsonl")
}

/// The log, locked, at its end.
#[derive(Debug)]
pub(super) struct LogFile {
    lock: File,
    path: PathBuf,
    edge: PathBuf,
    end: End,
    /// The configuration that the newest record names.
    configuration: Option<Hex>,
    /// What happened to the log since its last record.
    changes: Vec<Details>,
}

impl LogFile {
    /// Opens the log to append to it. What a crash left is put right first.
    ///
    /// # Errors
    /// `Kind::Locked` `E0681` if another process does not let go of it; else as the file system says.
    pub(super) async fn open(session: &Session) -> Result<Self> {
        let folder = folder(session);
        durable::create_dir_all(&folder, 0o700)?;
        let lock = lock(&folder.join("lock")).await?;
        let end = End { origin: origin(session), tree: Tree::default() };
        let (path, edge) = (path(session), folder.join("edge.json"));
        let mut log = LogFile { lock, path, edge, end, configuration: None, changes: Vec::new() };
        if !log.go_on()? {
            let stamp = session.env().now().strftime("%Y%m%dT%H%M%SZ");
            durable::rename(
                &log.path,
                &folder.join(format!("put-aside-{stamp}-{}.jsonl", session.run_id('L'))),
            )?;
            log.changed(LogChange::PutAside, None, None);
        }
        Ok(log)
    }

    /// The name of the log: the origin of its checkpoints, and the folder of its copies.
    pub(super) fn origin(&self) -> &Name {
        &self.end.origin
    }

    /// How many records it has.
    pub(super) fn size(&self) -> u64 {
        self.end.tree.size()
    }

    /// Finds the end of the log. False if what is there cannot be gone on with.
    fn go_on(&mut self) -> Result<bool> {
        let length = match std::fs::metadata(&self.path) {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(e) => return Err(failed("look at the audit log", &self.path, e)),
        };
        let end = backwards(&self.path, |bytes| bytes.iter().filter(|b| **b == b'\n').count() > 1)?;
        let whole = end.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let torn = end.len() - whole;
        let last =
            end[..whole].strip_suffix(b"\n").and_then(|lines| lines.split(|b| *b == b'\n').next_back());
        if let Some(last) = last {
            let Some((end, configuration)) = self.end_at(last) else { return Ok(false) };
            (self.end, self.configuration) = (end, configuration);
        }
        if torn > 0 {
            durable::cut(&self.path, length - torn as u64)?;
            self.changed(LogChange::CutOff, Some(self.end.next()), None);
        }
        Ok(true)
    }

    /// Where the log goes on after the line `last`, if all that is before it is what its checkpoint says.
    fn end_at(&self, last: &[u8]) -> Option<(End, Option<Hex>)> {
        let line = Line::parse(last).ok()?;
        let said = Note::parse(&line.note).ok()?.checkpoint;
        let is_it =
            |tree: &Tree| tree.size() == line.number && said.size == line.number && tree.root() == said.root;
        let kept = std::fs::read(&self.edge).ok().and_then(|text| Tree::decode(&text).ok());
        let tree = kept.filter(is_it).or_else(|| tree_of(&self.path).filter(is_it))?;
        let origin = Name::try_from(line.log.clone()).ok().filter(|log| log.as_str() == said.origin)?;
        Some((End { origin, tree }, line.record().and_then(|record| record.configuration)))
    }

    fn changed(&mut self, what: LogChange, record: Option<u64>, location: Option<&str>) {
        let locations = location.map(Name::of).into_iter().collect();
        self.changes.push(Details { log: Some(what), record, locations, ..Details::default() });
    }

    /// Takes over records that the copy at `location` has and this log lost: as far as each follows from the one
    /// before it and, if anybody is trusted, up to the last that they signed.
    ///
    /// # Errors
    /// As the file system says.
    pub(super) fn adopt(&mut self, location: &str, lines: &[Vec<u8>], trusted: &[Signer]) -> Result<()> {
        let mut end = self.end.clone();
        let (mut taken, mut text) = (None, Vec::new());
        for found in lines {
            let Ok(line) = Line::parse(found) else { break };
            let Ok(note) = Note::parse(&line.note) else { break };
            end.tree.push(line.hashed.as_bytes());
            let said = &note.checkpoint;
            let fits =
                line.number == end.tree.size() && said.size == line.number && said.root == end.tree.root();
            if !fits || line.log != end.origin.as_str() || said.origin != line.log {
                break;
            }
            text.extend_from_slice(found);
            text.push(b'\n');
            let configuration = line.record().and_then(|record| record.configuration);
            if trusted.is_empty() || note.signer(trusted).is_some() {
                taken = Some((end.clone(), configuration, text.len()));
            }
        }
        let Some((end, configuration, bytes)) = taken else { return Ok(()) };
        durable::append(&self.path, &text[..bytes], 0o600)?;
        let first = self.end.next();
        (self.end, self.configuration) = (end, configuration);
        self.changed(LogChange::Rebuilt, Some(first), Some(location));
        Ok(())
    }

    /// Appends a record, with those that say what became of the log and the configuration before it. Gives its
    /// number.
    ///
    /// # Errors
    /// As the file system says; nothing may be done on the strength of the record then.
    pub(super) fn append(
        &mut self,
        session: &Session,
        draft: Draft,
        key: Option<&SigningKey>,
    ) -> Result<u64> {
        if self.size() == 0 {
            self.changed(LogChange::Begun, None, None);
        }
        let mut drafts: Vec<Draft> =
            self.changes.drain(..).map(|details| Draft::new(Event::Log, details)).collect();
        let now = Hex::of(&session.loaded().digest);
        if self.configuration.is_some() && self.configuration != now {
            let details = Details { before: self.configuration.clone(), ..Details::default() };
            drafts.push(Draft::new(Event::Configuration, details));
        }
        drafts.push(draft);
        let (mut end, mut text) = (self.end.clone(), String::new());
        for draft in drafts {
            let record = record(session, &end, now.clone(), draft);
            text.push_str(&end.append(&record, key)?);
        }
        durable::append(&self.path, text.as_bytes(), 0o600)?;
        (self.end, self.configuration) = (end, now);
        // It is a cache: without it the next append reads the whole log.
        let _kept = durable::write(&self.edge, self.end.tree.encode().as_bytes(), 0o600);
        Ok(self.size())
    }
}

impl Drop for LogFile {
    /// A child that is just being started may still share the open file; the lock must not wait for it.
    fn drop(&mut self) {
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

fn record(session: &Session, end: &End, configuration: Option<Hex>, draft: Draft) -> Record {
    let host = &session.env().host;
    let milliseconds = since_start_of_machine().as_millis();
    Record {
        schema: SCHEMA.to_owned(),
        log: end.origin.clone(),
        number: end.next(),
        time: session.env().now(),
        monotonic_ms: u64::try_from(milliseconds).unwrap_or(u64::MAX),
        boot: boot_id().map(|id| Name::of(&id)),
        actor: Name::of(&format!("{}@{}", host.username, host.hostname)),
        uid: host.uid,
        host: Name::of(&host.hostname),
        application: Name::of(session.app()),
        event: draft.event,
        phase: draft.phase,
        of: draft.of,
        run: draft.run,
        outcome: draft.outcome,
        configuration,
        details: draft.details,
    }
}

/// The name of the log that this state directory begins. Another machine, another user and another state
/// directory have logs of their own, so that no two of them go on with one; who lost the directory
/// finds the copies under the same name again.
pub(super) fn origin(session: &Session) -> Name {
    let host = &session.env().host;
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    let named: String = host.hostname.chars().take(HOST_CHARS_MAX).map(fits).collect();
    let hash = Sha256::new()
        .chain_update(std::fs::read("/etc/machine-id").unwrap_or_default())
        .chain_update([0])
        .chain_update(host.uid.to_be_bytes())
        .chain_update(session.state().as_os_str().as_encoded_bytes())
        .finalize();
    Name::of(&format!("recoup/audit/{}/{named}-{}", session.app(), hex::encode(&hash[..4])))
}

async fn lock(path: &Path) -> Result<File> {
    let options = || std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = options().map_err(|e| failed("open the lock of the audit log", path, e))?;
    for _ in 0..WAITS_MAX {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(WAIT).await,
            Err(e) => return Err(failed("lock the audit log", path, e.into())),
        }
    }
    Err(Error::new(Kind::Locked, "write the audit log: another process does not let go of it")
        .with("lock", escape(path.as_os_str().as_encoded_bytes()))
        .code("E0681"))
}

/// The hash tree of all whole lines of a log; `None` if one of them is no record.
fn tree_of(path: &Path) -> Option<Tree> {
    let mut lines = BufReader::new(File::open(path).ok()?).take(LOG_BYTES_MAX);
    let (mut tree, mut line) = (Tree::default(), Vec::new());
    loop {
        line.clear();
        lines.read_until(b'\n', &mut line).ok()?;
        let Some(whole) = line.strip_suffix(b"\n") else { return Some(tree) };
        tree.push(Line::parse(whole).ok()?.hashed.as_bytes());
    }
}

/// The end of a file, as much of it as `enough` wants; all of it if that is never enough.
fn backwards(path: &Path, enough: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
    let io = |e| failed("read the audit log", path, e);
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut wanted = BLOCK_BYTES;
    loop {
        let start = length.saturating_sub(wanted);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start)).map_err(io)?;
        (&file).take(length - start).read_to_end(&mut bytes).map_err(io)?;
        if start == 0 || enough(&bytes) {
            return Ok(bytes);
        }
        if wanted >= LOG_BYTES_MAX {
            return Err(Error::new(Kind::Corrupt, "read the audit log: it is longer than any log")
                .with("file", escape(path.as_os_str().as_encoded_bytes()))
                .code("E0682"));
        }
        wanted *= 4;
    }
}

/// The whole lines of the log from the record `number` on.
///
/// # Errors
/// As the file system says.
pub(super) fn lines_from(path: &Path, number: u64) -> Result<Vec<Vec<u8>>> {
    let first_whole = |bytes: &[u8]| {
        let after = bytes.iter().position(|b| *b == b'\n')? + 1;
        let line = bytes[after..].split(|b| *b == b'\n').next()?;
        Line::parse(line).ok().map(|line| line.number)
    };
    let bytes = backwards(path, |bytes| first_whole(bytes).is_some_and(|first| first <= number))?;
    let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    // After the last line end comes nothing, or what a writer has not finished.
    lines.pop();
    let wanted = |line: &&[u8]| Line::parse(line).is_ok_and(|line| line.number >= number);
    Ok(lines.into_iter().filter(wanted).map(<[u8]>::to_vec).collect())
}

/// The newest whole record of the log.
fn newest_line(path: &Path) -> Result<Option<Line>> {
    let bytes = backwards(path, |bytes| bytes.iter().filter(|b| **b == b'\n').count() > 1)?;
    let mut lines = bytes.split(|b| *b == b'\n').rev().skip(1);
    Ok(lines.next().and_then(|line| Line::parse(line).ok()))
}

/// Its number.
///
/// # Errors
/// As the file system says.
pub(super) fn newest(path: &Path) -> Result<Option<u64>> {
    Ok(newest_line(path)?.map(|line| line.number))
}

/// The name of the log in the file `path`, by its newest record.
pub(super) fn origin_in(path: &Path) -> Option<Name> {
    Name::try_from(newest_line(path).ok()??.log).ok()
}

/// The text of a log in the file `path`.
///
/// # Errors
/// `Kind::NotFound` `E0682` if there is none; else as the file system says.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let shown = || escape(path.as_os_str().as_encoded_bytes());
    let file = File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::new(Kind::NotFound, "read the audit log: there is none")
            .with("file", shown())
            .code("E0682")
            .hint("the first backup begins it"),
        _ => failed("read the audit log", path, e),
    })?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes).map_err(|e| failed("read the audit log", path, e))?;
    Ok(bytes)
}

/// Waits until nobody is appending; a log that cannot be locked is read as it is.
pub(super) async fn settled(session: &Session) {
    if let Ok(file) = lock(&folder(session).join("lock")).await {
        let _ = flock(&file, FlockOperation::Unlock);
    }
}

fn failed(doing: &str, path: &Path, cause: std::io::Error) -> Error {
    Error::io(doing, cause).with("file", escape(path.as_os_str().as_encoded_bytes()))
}
