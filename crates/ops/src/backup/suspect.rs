//! Whether what was just captured is what it should be (`recoup_core::suspicion`).

use super::BackupRun;
use crate::point::SourceRecord;
use crate::session::Session;
use recoup_core::event::{Finding, Severity};
use recoup_core::suspicion::{Changes, Counts, Observed, reasons};
use recoup_repo::write::TreeReport;
use recoup_sources::Facts;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes of a canary file that are looked at.
const CANARY_BYTES_MAX: u64 = 16 << 20;

impl BackupRun<'_> {
    /// The record with the reasons why the capture is suspicious, if it is. They are told, and the point is not
    /// a success: what came before it stays until somebody has looked into it.
    pub(super) fn suspected(&mut self, record: SourceRecord) -> SourceRecord {
        let session = self.session;
        let config = session.config();
        let class = config.sources.get(&record.name).and_then(|s| config.class_of(s));
        let (Some(class), Some(last)) = (class, self.last_of(&record.name)) else { return record };
        let touched: Vec<String> = record
            .canaries
            .iter()
            .filter(|(path, hash)| {
                last.canaries.get(*path).is_some_and(|before| before.is_some() && before != *hash)
            })
            .map(|(path, _)| recoup_core::name::escape(path.as_bytes()))
            .collect();
        let observed = Observed {
            now: counts(&record),
            changes: record.changes.unwrap_or_default(),
            before: counts(last),
            changes_before: last.changes,
            is_database: record.kind == "sqlite",
            same_since: self.same_since(&record),
            at: record.captured,
            canaries: &touched,
        };
        let suspect = reasons(&observed, &class.suspect);
        if let Some(finding) = suspicious(&record.address, &suspect) {
            self.distrusted = true;
            self.finding(finding);
        }
        SourceRecord { suspect, ..record }
    }

    fn last_of(&self, name: &str) -> Option<&SourceRecord> {
        self.previous.points.iter().rev().find_map(|p| p.document.source(name))
    }

    /// Since when every capture of the source was the same as this one.
    fn same_since(&self, record: &SourceRecord) -> Option<jiff::Timestamp> {
        let earlier = self.previous.points.iter().rev().filter_map(|p| p.document.source(&record.name));
        earlier.take_while(|s| is_same(s, record)).last().map(|s| s.captured)
    }
}

/// A database says itself what it holds; the times of its file may differ.
fn is_same(one: &SourceRecord, other: &SourceRecord) -> bool {
    let hash = |s: &SourceRecord| s.facts.get("sha256").cloned();
    one.tree == other.tree || (hash(one).is_some() && hash(one) == hash(other))
}

fn counts(record: &SourceRecord) -> Counts {
    Counts { files: record.files, bytes: record.bytes, rows: rows(&record.facts) }
}

/// Rows in all tables, as the driver counted them.
fn rows(facts: &Facts) -> Option<u64> {
    let tables = facts.get("rows")?.as_object()?;
    Some(tables.values().filter_map(serde_json::Value::as_u64).sum())
}

pub(super) fn changes_of(stored: &TreeReport) -> Changes {
    Changes {
        files_new: stored.files_new,
        files_changed: stored.files_changed,
        bytes_added: stored.bytes_added,
        bytes_stored: stored.bytes_stored,
    }
}

/// The canary files of a source as they are now. Links are not followed.
pub(super) fn canaries(session: &Session, name: &str) -> BTreeMap<String, Option<String>> {
    let Some(source) = session.config().sources.get(name) else { return BTreeMap::new() };
    let Ok(folder) = session.target(name) else { return BTreeMap::new() };
    source.canary.iter().map(|path| (path.clone(), hash(&folder.join(path)))).collect()
}

fn hash(path: &Path) -> Option<String> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).ok()?;
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(CANARY_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(hex::encode(Sha256::digest(&bytes)))
}

fn suspicious(address: &str, suspect: &[String]) -> Option<Finding> {
    (!suspect.is_empty()).then(|| {
        Finding::new(
            "R0120",
            Severity::High,
            address,
            format!("the capture is suspicious: {}; no point before it is deleted", suspect.join("; ")),
            "look at the live data before anything else; `recoup hold release POINT --reason ...` if it is as it \
             should be, otherwise restore the point before it",
        )
    })
}
