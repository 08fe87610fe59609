//! Runs: one small JSON file each, written durably, never changed.

use jiff::Timestamp;
use recoup_core::event::Outcome;
use recoup_core::{Error, Result};
use recoup_store::local::durable;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// Longest file that is read.
const RUN_BYTES_MAX: u64 = 32 << 20;

/// What ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// `recoup backup`.
    Backup,
    /// `recoup verify`.
    Verify,
    /// `recoup restore`, up to its proof.
    Restore,
    /// `recoup drill`.
    Drill,
}

impl RunKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            RunKind::Backup => "backup",
            RunKind::Verify => "verify",
            RunKind::Restore => "restore",
            RunKind::Drill => "drill",
        }
    }
}

/// A run with its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// As in `B20261122-083107-5c7e`.
    pub id: String,
    /// What ran.
    pub kind: RunKind,
    /// When it ended.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// The location it used.
    pub location: String,
    /// Full id of the point it made or read; empty if none.
    pub point: String,
    /// The sources it concerned.
    pub sources: Vec<String>,
    /// Its whole result, as `--output json` gave it.
    pub document: Value,
}

pub(super) fn write(dir: &Path, run: &Run) -> Result<()> {
    durable::create_dir_all(dir, 0o700)?;
    let text = serde_json::to_vec(run).map_err(|e| Error::bug("write a run").caused_by(e))?;
    durable::write(&dir.join(format!("{}.json", run.id)), &text, 0o600)
}

/// All runs that can be read; what cannot is skipped.
pub(super) fn read_all(dir: &Path) -> Result<Vec<Run>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list the runs", e)),
    };
    let small = |e: &std::fs::DirEntry| e.metadata().is_ok_and(|m| m.is_file() && m.len() <= RUN_BYTES_MAX);
    let texts = entries.flatten().filter(small).filter_map(|e| std::fs::read(e.path()).ok());
    Ok(texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect())
}
