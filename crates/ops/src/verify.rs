//! `recoup verify`: is what is stored still whole? Structure always, every byte if asked.

use crate::attest::{self, Reading};
use crate::audit::{Reported, Told, Trail};
use crate::catalog::{Run, RunKind};
use crate::point::Stage;
use crate::points::unreadable;
use crate::session::{Place, Session};
use recoup_core::audit::words::Name;
use recoup_core::audit::{self, Details};
use recoup_core::event::{Event, Finding, Outcome, Severity};
use recoup_core::{Error, Result};
use recoup_repo::check::{CheckOptions, check};
use serde::Serialize;
use std::time::Duration;

/// What to verify.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Only this location.
    pub location: Option<String>,
    /// Read and hash every byte.
    pub read_data: bool,
}

/// What was found, at all locations.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Name of the run.
    pub run: String,
    /// Whether every byte was read.
    pub read_data: bool,
    /// Location by location.
    pub locations: Vec<LocationVerified>,
    /// What took how long.
    pub stages: Vec<Stage>,
    /// How it ended.
    #[serde(skip)]
    pub outcome: Option<Outcome>,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// What was found at one location.
#[derive(Clone, Debug, Serialize)]
pub struct LocationVerified {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Restorable points.
    pub points: u64,
    /// Packs looked at.
    pub packs: u64,
    /// Blobs in them.
    pub blobs: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// What is wrong.
    pub problems: Vec<ProblemLine>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct ProblemLine {
    /// Which object.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What needs it.
    pub affects: Vec<String>,
    /// Stable code.
    pub code: &'static str,
}

impl Reported for VerifyReport {
    fn told(&self) -> Told {
        let details = Details {
            locations: self.locations.iter().map(|l| Name::of(&l.name)).collect(),
            points: self.locations.iter().map(|l| l.points).max(),
            bytes: Some(self.locations.iter().map(|l| l.bytes_read).sum()),
            ..Details::default()
        };
        let outcome = self.outcome.unwrap_or(Outcome::Unknown);
        Told { run: self.run.clone(), outcome, details, proven: Vec::new() }
    }

    fn findings(&mut self) -> &mut Vec<Finding> {
        &mut self.findings
    }
}

/// Verifies all locations, or the one that is named.
///
/// # Errors
/// If there is no location, or no state directory. A location that cannot be read is part of the report.
pub async fn verify(session: &Session, options: &VerifyOptions) -> Result<VerifyReport> {
    let trail = Trail::new(session, audit::Event::Verify);
    let done = unrecorded(session, options).await;
    trail.end(done).await
}

async fn unrecorded(session: &Session, options: &VerifyOptions) -> Result<VerifyReport> {
    let mut report =
        VerifyReport { run: session.run_id('V'), read_data: options.read_data, ..VerifyReport::default() };
    for place in session.places(options.location.as_deref())? {
        let address = format!("location {}", place.name);
        let began = session.env().clock.monotonic();
        session.env().emit(Event::StageStart { stage: "verify".into(), address: address.clone() });
        let verified = match one(session, &place, options.read_data).await {
            Ok((verified, noticed)) => {
                report.findings.extend(noticed);
                verified
            }
            Err(error) => {
                report.findings.push(unreadable(&place.name, &error));
                not_verified(&place, &error)
            }
        };
        report.findings.extend(verified.problems.iter().map(|p| finding(&address, p)));
        let seconds = round(session.env().clock.monotonic().saturating_sub(began));
        let detail = format!(
            "{} packs, {} blobs, {} problems",
            verified.packs,
            verified.blobs,
            verified.problems.len()
        );
        let (stage, outcome) = ("verify".to_owned(), verified.outcome);
        session.env().emit(Event::StageEnd {
            stage: stage.clone(),
            address: address.clone(),
            seconds,
            outcome,
            message: detail.clone(),
        });
        report.stages.push(Stage { name: stage, address, seconds, outcome, detail });
        keep(session, &report, &place, outcome)?;
        report.locations.push(verified);
    }
    report.outcome = report.locations.iter().map(|l| l.outcome).max();
    Ok(report)
}

/// A signed history that is not what it was fails the location, as damage does.
async fn one(session: &Session, place: &Place, read_data: bool) -> Result<(LocationVerified, Vec<Finding>)> {
    let repo = session.repository(place).await?;
    let reading = if read_data { Reading::Every } else { Reading::New };
    let (listing, _) = attest::list(session, place, &repo, &mut session.catalog()?, reading).await?;
    let noticed: Vec<Finding> = listing.findings.into_iter().filter(attest::is_about_trust).collect();
    let found = check(&repo, &CheckOptions { read_data, ..CheckOptions::default() }).await?;
    let serious =
        found.problems.iter().any(|p| p.is_serious()) || noticed.iter().any(|f| f.severity == Severity::High);
    let verified = LocationVerified {
        name: place.name.clone(),
        outcome: if serious { Outcome::Fail } else { Outcome::Pass },
        points: listing.points.len() as u64,
        packs: found.packs,
        blobs: found.blobs,
        bytes_read: found.bytes_read,
        problems: found
            .problems
            .into_iter()
            .map(|p| ProblemLine { object: p.object, problem: p.problem, affects: p.affects, code: p.code })
            .collect(),
    };
    Ok((verified, noticed))
}

fn not_verified(place: &Place, _error: &Error) -> LocationVerified {
    LocationVerified {
        name: place.name.clone(),
        outcome: Outcome::Unknown,
        points: 0,
        packs: 0,
        blobs: 0,
        bytes_read: 0,
        problems: Vec::new(),
    }
}

/// One run per location, so that the ladder of each has its own evidence. Only a full reading is evidence
/// that every byte is intact; a structural one is kept for `recoup show`.
fn keep(session: &Session, report: &VerifyReport, place: &Place, outcome: Outcome) -> Result<()> {
    session.catalog()?.keep(&Run {
        id: if report.locations.is_empty() {
            report.run.clone()
        } else {
            format!("{}-{}", report.run, place.name)
        },
        kind: RunKind::Verify,
        at: session.env().now(),
        outcome,
        location: place.name.clone(),
        point: String::new(),
        sources: session.config().sources.keys().cloned().collect(),
        document: serde_json::to_value(report).unwrap_or_default(),
    })
}

fn finding(address: &str, problem: &ProblemLine) -> Finding {
    let severity = if problem.code.starts_with('E') { Severity::High } else { Severity::Info };
    let affects = match problem.affects.as_slice() {
        [] => String::new(),
        some => format!(" (needed by {})", some.iter().take(3).cloned().collect::<Vec<_>>().join(", ")),
    };
    Finding::new(
        problem.code,
        severity,
        address,
        format!("{}: {}{affects}", problem.object, problem.problem),
        format!("`recoup explain {}` says what to do", problem.code),
    )
}

fn round(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}
