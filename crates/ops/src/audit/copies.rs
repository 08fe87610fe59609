//! Copies of the log at locations: immutable objects, each with the lines of some records.
//!
//! ```text
//! recoup/audit/<application>/<log>/<first record>-<last record>-<start of the tree's hash after the last>.jsonl
//! ```
//!
//! The folder is the origin of the log's checkpoints. A name alone says whether an object is a copy of this log:
//! the hash in it stands for every record up to the last. Nothing is ever overwritten or deleted, so a log that
//! was rewritten stands beside what it was.

use super::file::{LogFile, lines_from, newest};
use crate::session::{Place, Session};
use bytes::Bytes;
use recoup_core::audit::Line;
use recoup_core::audit::words::Name;
use recoup_core::crypto::Signer;
use recoup_core::crypto::note::Note;
use recoup_core::event::{Finding, Severity};
use recoup_core::{Error, Kind, Result};
use recoup_store::{Key, Put, Store, StoreExt};
use std::collections::BTreeMap;
use std::path::Path;

const DIGITS: usize = 10;
const HASH_DIGITS: usize = 16;
/// Longest copy that is read: a million records. Whoever can write to the location may have put anything there.
const COPY_BYTES_MAX: u64 = 1 << 30;

/// One object: the lines of some records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Start of the hash that stands for all records up to the last.
    root: String,
    key: Key,
    bytes: u64,
}

impl Segment {
    fn parse(key: &Key, bytes: u64) -> Option<Self> {
        let mut parts = key.file_name().strip_suffix(".jsonl")?.split('-');
        let (first, last, root) = (parts.next()?, parts.next()?, parts.next()?.to_owned());
        let whole = first.len() == DIGITS && last.len() == DIGITS && root.len() == HASH_DIGITS;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (whole && parts.next().is_none() && first > 0 && first <= last).then(|| Segment {
            first,
            last,
            root,
            key: key.clone(),
            bytes,
        })
    }
}

/// Whether the location answers at all: a folder that is not there is not asked.
pub(super) fn is_reachable(place: &Place) -> bool {
    place.path.is_dir()
}

/// The objects of the log `origin` at a location, by the records they hold.
///
/// # Errors
/// As the store says.
pub(super) async fn list(store: &dyn Store, origin: &Name) -> Result<Vec<Segment>> {
    let listed = store.list_all(origin.as_str()).await?;
    let mut all: Vec<Segment> = listed.iter().filter_map(|m| Segment::parse(&m.key, m.size)).collect();
    all.sort_by_key(|segment| (segment.first, segment.last));
    Ok(all)
}

/// The lines at a location from the record `from` on, by their number. Where objects overlap and do not
/// agree, a number has several.
///
/// # Errors
/// As the store says; `Kind::Corrupt` `E0682` if there is more than any log has.
pub(super) async fn read(
    store: &dyn Store,
    segments: &[Segment],
    from: u64,
) -> Result<BTreeMap<u64, Vec<Vec<u8>>>> {
    let wanted = || segments.iter().filter(|s| s.last >= from);
    if wanted().fold(0, |bytes: u64, s| bytes.saturating_add(s.bytes)) > COPY_BYTES_MAX {
        return Err(Error::new(Kind::Corrupt, "read a copy of the audit log: it is longer than any log")
            .with("location", store.location())
            .code("E0682"));
    }
    let mut lines: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    for segment in wanted() {
        let bytes = store.get(&segment.key, None).await?;
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        for (number, line) in (segment.first..=segment.last).zip(text.split(|b| *b == b'\n')) {
            let at = lines.entry(number).or_default();
            if number >= from && !at.iter().any(|known| known == line) {
                at.push(line.to_vec());
            }
        }
    }
    Ok(lines)
}

/// Takes over what this machine lost of its log and a location has. Nothing here is an error: a log that cannot
/// be completed goes on as it is, and `audit verify` says so.
pub(super) async fn catch_up(session: &Session, log: &mut LogFile, trusted: &[Signer]) {
    for place in session.places(None).unwrap_or_default().iter().filter(|p| is_reachable(p)) {
        let store = session.store(place);
        let Ok(segments) = list(&*store, log.origin()).await else { continue };
        if segments.iter().all(|segment| segment.last <= log.size()) {
            continue;
        }
        let Ok(lines) = read(&*store, &segments, log.size() + 1).await else { continue };
        // Where several claim a number, the first that follows is taken; `audit verify` shows the others.
        let lines: Vec<Vec<u8>> = lines.into_values().filter_map(|at| at.into_iter().next()).collect();
        if log.adopt(&place.name, &lines, trusted).is_err() {
            return;
        }
    }
}

/// Copies what the reachable locations lack. A copy is begun only at the locations in `proven`, whose repository
/// was just found to be the right one: whatever disk is mounted elsewhere may belong to somebody else.
pub(super) async fn copy(session: &Session, log: &Path, origin: &Name, proven: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for place in session.places(None).unwrap_or_default().iter().filter(|p| is_reachable(p)) {
        let store = session.store(place);
        let may_begin = proven.contains(&place.name);
        match copy_to(&*store, log, origin, may_begin).await {
            Ok(None) => {}
            Ok(Some(record)) => findings.push(ahead(&place.name, record)),
            Err(error) => findings.push(not_copied(&place.name, &error)),
        }
    }
    findings
}

/// Gives a record that the location has and that this log does not lead to.
async fn copy_to(store: &dyn Store, log: &Path, origin: &Name, may_begin: bool) -> Result<Option<u64>> {
    let segments = list(store, origin).await?;
    if segments.is_empty() && !may_begin {
        return Ok(None);
    }
    let Some(size) = newest(log)? else { return Ok(None) };
    let covered = covered(log, &segments, size)?;
    let mut have = 0;
    for segment in segments.iter().filter(|s| s.last <= covered) {
        if segment.first > have + 1 {
            put(store, log, origin, have + 1, segment.first - 1).await?;
        }
        have = have.max(segment.last);
    }
    if have < size {
        put(store, log, origin, have + 1, size).await?;
    }
    Ok(segments.iter().map(|s| s.last).max().filter(|last| *last > size))
}

/// Up to which record the location has what this log has, by the hashes in the names.
fn covered(log: &Path, segments: &[Segment], size: u64) -> Result<u64> {
    let mut candidates: Vec<&Segment> = segments.iter().filter(|s| s.last <= size).collect();
    candidates.sort_by_key(|segment| std::cmp::Reverse(segment.last));
    for segment in candidates {
        let lines = lines_from(log, segment.last)?;
        if lines.first().and_then(|line| root_of(line)).is_some_and(|root| root == segment.root) {
            return Ok(segment.last);
        }
    }
    Ok(0)
}

async fn put(store: &dyn Store, log: &Path, origin: &Name, first: u64, last: u64) -> Result<()> {
    let count = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
    let lines: Vec<Vec<u8>> = lines_from(log, first)?.into_iter().take(count).collect();
    let root = lines.last().filter(|_| lines.len() == count).and_then(|line| root_of(line));
    let root =
        root.ok_or_else(|| Error::new(Kind::Corrupt, "copy the audit log: it is not whole").code("E0682"))?;
    let key = Key::new(format!("{origin}/{first:0DIGITS$}-{last:0DIGITS$}-{root}.jsonl"))?;
    let text: Vec<u8> = lines.into_iter().flat_map(|line| [line, b"\n".to_vec()]).flatten().collect();
    match store.put(&key, Bytes::from(text), Put::Create).await {
        // The name says what is in it.
        Err(e) if e.kind() == Kind::Exists => Ok(()),
        other => other,
    }
}

fn root_of(line: &[u8]) -> Option<String> {
    let line = Line::parse(line).ok()?;
    let root = Note::parse(&line.note).ok()?.checkpoint.root;
    Some(hex::encode(root)[..HASH_DIGITS].to_owned())
}

fn ahead(location: &str, record: u64) -> Finding {
    Finding::new(
        "R0132",
        Severity::High,
        format!("location {location}"),
        format!(
            "the copy of the audit log there has a record {record} that the log on this machine does not lead to"
        ),
        "`recoup audit verify` says from which record on they differ",
    )
}

fn not_copied(location: &str, error: &Error) -> Finding {
    Finding::new(
        "R0138",
        Severity::Warning,
        format!("location {location}"),
        format!("the audit log was not copied there: {error}"),
        "the next backup tries again; see whether the location takes new files",
    )
}
