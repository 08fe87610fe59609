//! What a run did, and what it noticed.

use super::Captured;
use crate::audit::{Reported, Told};
use crate::point::Stage;
use crate::session::Session;
use jiff::Timestamp;
use recoup_core::Error;
use recoup_core::audit::Details;
use recoup_core::audit::words::{Hex, Name};
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_sources::Position;
use serde::Serialize;

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct BackupReport {
    /// Name of the run.
    pub run: String,
    /// Full id of the point; none if it does not count.
    pub point: Option<String>,
    /// Name of the point for people.
    pub name: Option<String>,
    /// The moment it stands for.
    pub time: Option<Timestamp>,
    /// The sources.
    pub sources: Vec<SourceReport>,
    /// The locations.
    pub locations: Vec<LocationReport>,
    /// What took how long.
    pub stages: Vec<Stage>,
    /// Paths that could not be stored.
    pub errors: Vec<PathError>,
    /// Whether the repository was made by this run.
    pub initialized: bool,
    /// As a whole.
    pub seconds: f64,
    /// How it ended.
    #[serde(skip)]
    pub outcome: Outcome,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// One source in a run.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// `APP/NAME`.
    pub address: String,
    /// Kind of source.
    pub kind: String,
    /// Full id of its snapshot, if the point was written.
    pub snapshot: Option<String>,
    /// Where in its history it stood.
    pub position: Option<Position>,
    /// Content in bytes.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
    /// New content, plain.
    pub bytes_added: u64,
    /// New content, as stored in packs.
    pub bytes_stored: u64,
    /// How long it took.
    pub seconds: f64,
    /// Whether everything was captured.
    pub complete: bool,
    /// Why that is known, or why not.
    pub proof: String,
}

/// One location in a run.
#[derive(Clone, Debug, Serialize)]
pub struct LocationReport {
    /// Its name.
    pub name: String,
    /// Whether the point is durable and verified there.
    pub durable: bool,
    /// Objects that are missing there.
    pub lag_objects: u64,
    /// Age of the newest point there, if it is behind.
    pub lag_seconds: u64,
}

/// A path that could not be stored.
#[derive(Clone, Debug, Serialize)]
pub struct PathError {
    /// `APP/SOURCE/PATH`, escaped.
    pub path: String,
    /// Why.
    pub error: String,
}

impl Reported for BackupReport {
    fn told(&self) -> Told {
        let durable = self.locations.iter().filter(|l| l.durable);
        let proven: Vec<String> = durable.map(|l| l.name.clone()).collect();
        let details = Details {
            sources: self.sources.iter().map(|s| Name::of(&s.address)).collect(),
            locations: proven.iter().map(|name| Name::of(name)).collect(),
            point: self.point.as_deref().and_then(Hex::of),
            bytes: Some(self.sources.iter().map(|s| s.bytes).sum()),
            ..Details::default()
        };
        Told { run: self.run.clone(), outcome: self.outcome, details, proven }
    }

    fn findings(&mut self) -> &mut Vec<Finding> {
        &mut self.findings
    }
}

pub(super) fn report_of(captured: &Captured, seconds: f64) -> SourceReport {
    let record = &captured.record;
    SourceReport {
        address: record.address.clone(),
        kind: record.kind.clone(),
        snapshot: None,
        position: record.position.clone(),
        bytes: record.bytes,
        files: record.files,
        bytes_added: captured.bytes_added,
        bytes_stored: captured.bytes_stored,
        seconds,
        complete: record.complete,
        proof: captured.proof.clone(),
    }
}

pub(super) fn failed_report(
    session: &Session,
    name: &str,
    address: &str,
    seconds: f64,
    error: &Error,
) -> SourceReport {
    let kind = session.config().sources.get(name).map_or("", |s| s.driver.kind());
    SourceReport {
        address: address.to_owned(),
        kind: kind.to_owned(),
        snapshot: None,
        position: None,
        bytes: 0,
        files: 0,
        bytes_added: 0,
        bytes_stored: 0,
        seconds,
        complete: false,
        proof: error.to_string(),
    }
}

pub(super) fn incomplete(address: &str, why: &str) -> Finding {
    Finding::new(
        "E0651",
        Severity::High,
        address,
        format!("not captured completely: {why}"),
        "mend this and run `recoup backup` again; no point is listed for this run",
    )
}

pub(super) fn unreadable(address: &str, errors: u64, shown: &[PathError]) -> Finding {
    let first = shown.iter().find(|e| e.path.starts_with(address));
    let first = first.map_or_else(String::new, |e| format!(", the first {}: {}", e.path, e.error));
    Finding::new(
        "E0653",
        Severity::Warning,
        address,
        format!("{errors} paths could not be read{first}"),
        "let the user that runs recoup read them, or leave them out with a reason",
    )
}

pub(super) fn changing(address: &str, count: usize, first: &str) -> Finding {
    Finding::new(
        "E0654",
        Severity::Warning,
        address,
        format!("{count} files changed whenever they were read, the first {first}"),
        "what is stored of them may be a mixture of two states; capture them as a database, or stop the writer",
    )
}

pub(super) fn unreached(place: &str, error: &Error) -> Finding {
    Finding::new(
        "R0116",
        Severity::High,
        format!("location {place}"),
        format!("not up to date: {error}"),
        "see that the location can be reached; the next run brings it up to date",
    )
}
