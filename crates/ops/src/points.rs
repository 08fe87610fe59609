//! `recoup points` and `recoup show`: what can be restored, from where, and how well that is known.

use crate::attest::{self, Reading};
use crate::catalog::{Catalog, Run, RunKind};
use crate::point::{self, Document, Point};
use crate::restore::{self, RestoreReport};
use crate::session::{Place, Session};
use jiff::Timestamp;
use recoup_core::attest::Hold;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::ladder::Rung;
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use recoup_sources::Position;
use serde::Serialize;
use std::collections::BTreeMap;

/// Runs looked at for proofs of points.
const RUNS_MAX: usize = 1000;

/// All points of all locations.
#[derive(Clone, Debug, Serialize)]
pub struct PointsReport {
    /// Oldest first.
    pub points: Vec<PointLine>,
    /// What moments each source can be restored to.
    pub windows: Vec<Window>,
    /// How sure that is.
    #[serde(skip)]
    pub outcome: Outcome,
    /// What did not count, and why.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// One point.
#[derive(Clone, Debug, Serialize)]
pub struct PointLine {
    /// Full id.
    pub id: String,
    /// As in `shop@2026-11-22T08:31:07Z`.
    pub name: String,
    /// The moment it stands for.
    pub time: Timestamp,
    /// The application.
    pub application: String,
    /// Content in bytes.
    pub bytes: u64,
    /// Its sources.
    pub sources: Vec<PointSource>,
    /// Names of the locations that hold it whole.
    pub locations: Vec<String>,
    /// The highest rung that was proven with this very point.
    pub ladder: Rung,
    /// Whether a signer answers for it; none if the application signs nothing.
    pub attested: Option<bool>,
    /// Why it must not be deleted.
    pub held: Vec<Hold>,
    /// Why its capture is suspicious, as long as nobody has looked into it.
    pub suspicions: Vec<String>,
}

/// One source of a point.
#[derive(Clone, Debug, Serialize)]
pub struct PointSource {
    /// `APP/NAME`.
    pub address: String,
    /// Full id of the snapshot.
    pub snapshot: String,
    /// Where in its history it stood.
    pub position: Option<Position>,
    /// Content in bytes.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
}

/// The moments a source can be restored to at a location. Between two points nothing can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// `APP/NAME`.
    pub address: String,
    /// Name of the location.
    pub location: String,
    /// The first point.
    pub from: Timestamp,
    /// The last point.
    pub to: Timestamp,
    /// Where two points lie further apart than the class allows.
    pub gaps: Vec<Gap>,
}

/// A stretch without points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The point before it.
    pub from: Timestamp,
    /// The point after it.
    pub to: Timestamp,
}

/// What is known of one location.
pub(crate) struct AtLocation {
    pub(crate) place: Place,
    pub(crate) points: Vec<Point>,
    /// Points that nobody answers for.
    pub(crate) unattested: Vec<Point>,
    /// Id of the repository.
    pub(crate) repository: Option<String>,
    /// Why nothing is known.
    pub(crate) error: Option<Error>,
}

/// Asks every location for its points. A location that does not answer is a finding, never silence.
///
/// # Errors
/// If there is no location, or no state directory.
pub(crate) async fn survey(
    session: &Session,
    named: Option<&str>,
) -> Result<(Vec<AtLocation>, Vec<Finding>)> {
    let mut catalog = session.catalog()?;
    let mut all = Vec::new();
    let mut findings = Vec::new();
    for place in session.places(named)? {
        let mut at =
            AtLocation { place, points: Vec::new(), unattested: Vec::new(), repository: None, error: None };
        match listed(session, &at.place, &mut catalog).await {
            Ok((id, listing)) => {
                findings.extend(listing.findings);
                at.points = listing.points;
                at.unattested = listing.unattested;
                at.repository = Some(id);
            }
            // No repository yet is an answer: there are no points.
            Err(e) if e.stable_code() == Some("E0410") => {}
            Err(e) => {
                findings.push(unreadable(&at.place.name, &e));
                at.error = Some(e);
            }
        }
        all.push(at);
    }
    Ok((all, findings))
}

async fn listed(session: &Session, place: &Place, catalog: &mut Catalog) -> Result<(String, point::Listing)> {
    let repo = session.repository(place).await?;
    let (listing, _) = attest::list(session, place, &repo, catalog, Reading::New).await?;
    Ok((repo.id().to_owned(), listing))
}

/// Lists the points of all locations, or of the one that is named.
///
/// # Errors
/// If there is no location, or no state directory.
pub async fn points(session: &Session, location: Option<&str>) -> Result<PointsReport> {
    let (all, findings) = survey(session, location).await?;
    let proofs = proofs(&session.catalog()?)?;
    let mut lines: BTreeMap<(Timestamp, String), PointLine> = BTreeMap::new();
    let mut windows = Vec::new();
    for at in &all {
        for point in at.points.iter().chain(&at.unattested) {
            let line = lines
                .entry((point.document.time, point.id.clone()))
                .or_insert_with(|| line(point, proofs.get(&point.id).copied()));
            // One location that answers for it is enough to tell it from a forged one.
            line.attested = line.attested.max(point.attested);
            line.locations.push(at.place.name.clone());
        }
        for name in session.config().sources.keys() {
            windows.extend(window(session, at, name));
        }
    }
    let unknown = all.iter().any(|at| at.error.is_some());
    Ok(PointsReport {
        points: lines.into_values().collect(),
        windows,
        outcome: if unknown { Outcome::Unknown } else { Outcome::Pass },
        findings,
    })
}

fn line(point: &Point, proven: Option<Rung>) -> PointLine {
    let source = |s: &point::SourceRecord| PointSource {
        address: s.address.clone(),
        snapshot: point.snapshots.get(&s.name).map(ToString::to_string).unwrap_or_default(),
        position: s.position.clone(),
        bytes: s.bytes,
        files: s.files,
    };
    PointLine {
        id: point.id.clone(),
        name: point.name(),
        time: point.document.time,
        application: point.document.application.clone(),
        bytes: point.document.bytes(),
        sources: point.document.sources.iter().map(source).collect(),
        locations: Vec::new(),
        ladder: proven.unwrap_or(Rung::Stored).max(Rung::Stored),
        attested: point.attested,
        held: point.held.clone(),
        suspicions: point.suspicions(),
    }
}

fn window(session: &Session, at: &AtLocation, name: &str) -> Option<Window> {
    let times: Vec<Timestamp> =
        at.points.iter().filter_map(|p| p.document.source(name)).map(|s| s.captured).collect();
    let class = session.config().sources.get(name).and_then(|s| session.config().class_of(s));
    let allowed =
        class.and_then(|c| c.rpo).map_or(i64::MAX, |s| i64::try_from(s.as_secs()).unwrap_or(i64::MAX));
    let far = |pair: &&[Timestamp]| pair[1].as_second() - pair[0].as_second() > allowed;
    Some(Window {
        address: session.config().address(name),
        location: at.place.name.clone(),
        from: *times.first()?,
        to: *times.last()?,
        gaps: times.windows(2).filter(far).map(|pair| Gap { from: pair[0], to: pair[1] }).collect(),
    })
}

/// The highest rung that a passed run proved, by point.
fn proofs(catalog: &Catalog) -> Result<BTreeMap<String, Rung>> {
    let mut best: BTreeMap<String, Rung> = BTreeMap::new();
    for kind in [RunKind::Restore, RunKind::Drill] {
        for run in catalog.runs(kind, RUNS_MAX)?.into_iter().filter(|r| r.outcome == Outcome::Pass) {
            let rung = rung_of(&run);
            let slot = best.entry(run.point).or_insert(rung);
            *slot = rung.max(*slot);
        }
    }
    Ok(best)
}

/// The rung that a passed run speaks of.
pub(crate) fn rung_of(run: &Run) -> Rung {
    match run.kind {
        RunKind::Backup => Rung::Stored,
        RunKind::Verify => Rung::Intact,
        RunKind::Restore => Rung::Rehydrated,
        RunKind::Drill if run.document["level"] == "application" => Rung::ApplicationProven,
        RunKind::Drill => Rung::Rehydrated,
    }
}

pub(crate) fn unreadable(place: &str, error: &Error) -> Finding {
    Finding::new(
        "R0116",
        Severity::High,
        format!("location {place}"),
        format!("cannot be read: {error}"),
        "see that it is mounted and that the password file is there; `recoup doctor` names the cause",
    )
}

/// What `recoup show` found.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "shows", rename_all = "lowercase")]
pub enum Shown {
    /// A point.
    Point {
        /// Its line in the list.
        #[serde(flatten)]
        line: Box<PointLine>,
        /// Everything that is known about it.
        document: Box<Document>,
    },
    /// A backup, a verification or a drill.
    Run {
        /// Its result, as it was given then.
        run: Box<Run>,
    },
    /// A restore.
    Restore {
        /// Where it stands now.
        #[serde(flatten)]
        report: Box<RestoreReport>,
    },
}

/// Shows a run by its name, a restore by its name, or a point by whatever means one.
///
/// # Errors
/// `Kind::NotFound` if it is none of these.
pub async fn show(session: &Session, what: &str, location: Option<&str>) -> Result<Shown> {
    match restore::look(session, what) {
        Ok(report) => return Ok(Shown::Restore { report: Box::new(report) }),
        Err(e) if e.kind() == Kind::NotFound => {}
        Err(e) => return Err(e),
    }
    if let Some(run) = session.catalog()?.run(what)? {
        return Ok(Shown::Run { run: Box::new(run) });
    }
    let moment = session.moment(Some(what))?;
    let (all, _) = survey(session, location).await?;
    let proofs = proofs(&session.catalog()?)?;
    let mut missing = None;
    for at in &all {
        match point::find_with(&at.points, &at.unattested, &moment) {
            Ok(found) => {
                let mut line = line(found, proofs.get(&found.id).copied());
                let holds = |a: &&AtLocation| a.points.iter().chain(&a.unattested).any(|p| p.id == found.id);
                line.locations = all.iter().filter(holds).map(|a| a.place.name.clone()).collect();
                return Ok(Shown::Point { line: Box::new(line), document: Box::new(found.document.clone()) });
            }
            Err(e) => missing = Some(e),
        }
    }
    let shown = escape(what.as_bytes());
    Err(missing.unwrap_or_else(|| Error::new(Kind::NotFound, format!("find {shown}")).code("E0601")))
}
