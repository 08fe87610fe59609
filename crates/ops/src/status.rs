//! `recoup status`: is the promise kept, and how do we know? Everything is measured now; what cannot be
//! found out is said, and never shown as kept.

use crate::attest;
use crate::catalog::{Catalog, Run, RunKind};
use crate::keychain;
use crate::keys::record::Complaint;
use crate::points::{AtLocation, rung_of, survey};
use crate::restore::{self, JournalFile};
use crate::session::Session;
use jiff::Timestamp;
use recoup_core::Result;
use recoup_core::canonical::short;
use recoup_core::class::Class;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::journal::State;
use recoup_core::ladder::{Evidence, Ladder, Rung, climb};
use recoup_core::units::Span;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Runs looked at for evidence.
const RUNS_MAX: usize = 500;

/// Whether the contract is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Contract {
    /// All of it, with evidence.
    #[serde(rename = "met")]
    Met,
    /// Something is missed.
    #[serde(rename = "not met")]
    NotMet,
    /// Something could not be found out.
    #[serde(rename = "unknown")]
    Unknown,
}

/// The state of the promise.
#[derive(Clone, Debug, Serialize)]
pub struct StatusReport {
    /// The application.
    pub application: String,
    /// Now.
    pub time: Timestamp,
    /// Kept, missed, or not known.
    pub contract: Contract,
    /// The newest point of any location.
    pub latest: Option<String>,
    /// Source by source.
    pub sources: Vec<SourceStatus>,
    /// Declared or found, and in no point.
    pub unprotected: Vec<String>,
    /// Restores that are not finished.
    pub restores: Vec<Waiting>,
    /// What can be done next, the likeliest first.
    pub next: Vec<String>,
    /// How it is.
    #[serde(skip)]
    pub outcome: Outcome,
    /// Why the contract is not met or not known, and what else was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// One source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceStatus {
    /// `APP/NAME`.
    pub address: String,
    /// Its class.
    pub class: String,
    /// How much work would be lost now, by location.
    pub rpo: Vec<Rpo>,
    /// How long a restore takes.
    pub rto: Rto,
    /// Copies there are and must be.
    pub copies: Copies,
    /// What is proven, by location.
    pub ladder: Vec<LadderLine>,
    /// Whether the proofs that the class asks for are there and young enough.
    pub proofs: Outcome,
}

/// Recovery point objective, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Rpo {
    /// Name of the location.
    pub location: String,
    /// Age of the newest point there; none if there is no point, or nobody knows.
    pub seconds: Option<u64>,
    /// What the class allows.
    pub target: Option<u64>,
    /// Whether it is kept.
    pub outcome: Outcome,
}

/// Recovery time objective, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Rto {
    /// Seconds that the last good drill took.
    pub proven: Option<f64>,
    /// Seconds expected for today's volume.
    pub predicted: Option<f64>,
    /// What the class allows.
    pub target: Option<u64>,
    /// Whether it is kept.
    pub outcome: Outcome,
}

/// Copies, production included.
#[derive(Clone, Debug, Serialize)]
pub struct Copies {
    /// With the newest point.
    pub have: u32,
    /// What the class asks.
    pub want: u32,
    /// Failure domains that the copies outside production span.
    pub domains: u32,
    /// What the class asks.
    pub domains_want: u32,
    /// Whether it is kept.
    pub outcome: Outcome,
}

/// What is proven at one location.
#[derive(Clone, Debug, Serialize)]
pub struct LadderLine {
    /// Name of the location.
    pub location: String,
    /// The highest rung that holds, as in `A5`.
    pub level: Rung,
    /// The word for it.
    pub word: &'static str,
    /// Age of its evidence.
    pub age_seconds: Option<u64>,
    /// The lowest rung that is broken.
    pub broken: Option<Rung>,
}

/// A restore that is not finished.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// Its name.
    pub restore: String,
    /// Where it stands.
    pub state: State,
    /// What can be done.
    pub next: Vec<String>,
}

/// Measures everything.
///
/// # Errors
/// If there is no location, or no state directory.
pub async fn status(session: &Session) -> Result<StatusReport> {
    let (locations, mut findings) = survey(session, None).await?;
    let catalog = session.catalog()?;
    let known = Known {
        session,
        now: session.env().now(),
        locations: &locations,
        drills: catalog.runs(RunKind::Drill, RUNS_MAX)?,
        evidence: evidence_runs(&catalog)?,
    };
    let mut sources = Vec::new();
    let mut unprotected = Vec::new();
    for name in session.config().capture_order() {
        let source = known.source(name, &mut findings);
        if locations.iter().all(|at| at.error.is_none() && newest(at, name).is_none()) {
            unprotected.push(source.address.clone());
        }
        sources.push(source);
    }
    let restores = waiting(session, &mut findings);
    kit(session, &locations, &mut findings).await?;
    findings.extend(suspicious(&locations));
    let is_distrusted = |f: &Finding| attest::is_about_trust(f) && f.severity == Severity::High;
    let contract = match findings.iter().any(is_distrusted) {
        // What a location shows can only be counted on if its history is what it was.
        true => Contract::NotMet,
        false => contract(&sources),
    };
    Ok(StatusReport {
        application: session.app().to_owned(),
        time: known.now,
        contract,
        latest: locations
            .iter()
            .filter_map(|at| at.points.last())
            .max_by_key(|p| p.document.time)
            .map(|p| p.name()),
        next: next(&sources, &restores, &unprotected),
        sources,
        unprotected,
        restores,
        outcome: match contract {
            Contract::Met => Outcome::Pass,
            Contract::NotMet => Outcome::Fail,
            Contract::Unknown => Outcome::Unknown,
        },
        findings,
    })
}

/// The newest point that is suspicious and that nobody has looked into.
fn suspicious(locations: &[AtLocation]) -> Option<Finding> {
    let points = locations.iter().flat_map(|at| &at.points);
    let point = points.filter(|p| !p.suspicions().is_empty()).max_by_key(|p| p.document.time)?;
    let (name, id) = (point.name(), short(&point.id));
    Some(Finding::new(
        "R0120",
        Severity::High,
        &point.document.application,
        format!(
            "{name} ({id}) is suspicious: {}; no point before it is deleted",
            point.suspicions().join("; ")
        ),
        format!(
            "look at the data; then `recoup hold release {id} --reason ...`, or restore the point before it"
        ),
    ))
}

struct Known<'a> {
    session: &'a Session,
    now: Timestamp,
    locations: &'a [AtLocation],
    drills: Vec<Run>,
    evidence: Vec<Run>,
}

impl Known<'_> {
    fn source(&self, name: &str, findings: &mut Vec<Finding>) -> SourceStatus {
        let config = self.session.config();
        let address = config.address(name);
        let class = config.sources.get(name).and_then(|s| config.class_of(s)).cloned().unwrap_or_default();
        let rpo: Vec<Rpo> = self.locations.iter().map(|at| self.rpo(at, name, &class)).collect();
        if rpo.iter().all(|r| r.outcome == Outcome::Fail) {
            findings.push(missed_rpo(&address, &rpo));
        }
        let rto = self.rto(name, &class);
        if rto.outcome != Outcome::Pass {
            findings.push(missed_rto(&address, &rto));
        }
        let copies = self.copies(name, &class);
        if copies.outcome == Outcome::Fail {
            findings.push(missed_copies(&address, &copies));
        }
        let ladders: Vec<(String, Ladder)> =
            self.locations.iter().map(|at| (at.place.name.clone(), self.ladder(at, name))).collect();
        let (old, proofs) = old_proofs(&address, &ladders, &class);
        findings.extend(old);
        let ladder = ladders.into_iter().map(|(location, l)| LadderLine {
            location,
            level: l.level,
            word: l.level.word(),
            age_seconds: l.age_seconds,
            broken: l.broken,
        });
        SourceStatus { address, class: class.name, rpo, rto, copies, ladder: ladder.collect(), proofs }
    }

    fn rpo(&self, at: &AtLocation, name: &str, class: &Class) -> Rpo {
        let seconds = newest(at, name).map(|captured| age(self.now, captured));
        let target = class.rpo.map(Span::as_secs);
        let outcome = match (at.error.is_some(), seconds, target) {
            (true, ..) => Outcome::Unknown,
            (_, None, _) => Outcome::Fail,
            (_, Some(seconds), Some(target)) if seconds > target => Outcome::Fail,
            _ => Outcome::Pass,
        };
        Rpo { location: at.place.name.clone(), seconds, target, outcome }
    }

    /// The newest drill of the source that gave a time decides.
    fn rto(&self, name: &str, class: &Class) -> Rto {
        let target = class.rto.map(Span::as_secs);
        let timed = self.drills.iter().find(|r| {
            r.outcome == Outcome::Pass
                && r.sources.iter().any(|s| s == name)
                && r.document["rto_seconds"].is_f64()
        });
        let proven = timed.and_then(|r| r.document["rto_seconds"].as_f64());
        let outcome = match (proven, target) {
            (_, None) => Outcome::Pass,
            (None, Some(_)) => Outcome::Unknown,
            (Some(proven), Some(target)) if proven > target as f64 => Outcome::Fail,
            _ => Outcome::Pass,
        };
        Rto { proven, predicted: timed.and_then(|run| self.predict(run)), target, outcome }
    }

    /// The time of the drill, scaled to the size of the newest point.
    fn predict(&self, run: &Run) -> Option<f64> {
        let proven = run.document["rto_seconds"].as_f64()?;
        let points = || self.locations.iter().flat_map(|at| at.points.iter());
        let drilled = points().find(|p| p.id == run.point)?.document.bytes().max(1);
        let today = points().max_by_key(|p| p.document.time)?.document.bytes();
        Some((proven * (today as f64 / drilled as f64).max(1.0) * 10.0).round() / 10.0)
    }

    fn copies(&self, name: &str, class: &Class) -> Copies {
        let latest = self.locations.iter().filter_map(|at| newest(at, name)).max();
        let holds = |at: &&AtLocation| latest.is_some() && newest(at, name) == latest;
        let with: Vec<&AtLocation> = self.locations.iter().filter(holds).collect();
        let domain = |at: &&AtLocation| {
            at.place.section.failure_domain.clone().unwrap_or_else(|| at.place.name.clone())
        };
        let domains: BTreeSet<String> = with.iter().map(domain).filter(|d| d != "production").collect();
        let have = 1 + u32::try_from(with.len()).unwrap_or(u32::MAX - 1);
        let domains = u32::try_from(domains.len()).unwrap_or(u32::MAX);
        let kept = have >= class.copies && domains >= class.failure_domains;
        let unknown = self.locations.iter().any(|at| at.error.is_some());
        let outcome = match (kept, unknown) {
            (true, _) => Outcome::Pass,
            (false, true) => Outcome::Unknown,
            (false, false) => Outcome::Fail,
        };
        Copies { have, want: class.copies, domains, domains_want: class.failure_domains, outcome }
    }

    fn ladder(&self, at: &AtLocation, name: &str) -> Ladder {
        let mut evidence = Vec::new();
        if let Some(point) = at.points.iter().rev().find(|p| p.document.source(name).is_some()) {
            for rung in [Rung::Captured, Rung::Stored] {
                let by = format!("point {}", point.name());
                evidence.push(Evidence { rung, outcome: Outcome::Pass, at: point.document.finished, by });
            }
        }
        for run in self
            .evidence
            .iter()
            .filter(|r| r.location == at.place.name && r.sources.iter().any(|s| s == name))
        {
            let by = format!("{} {}", run.kind.word(), run.id);
            evidence.push(Evidence { rung: rung_of(run), outcome: run.outcome, at: run.at, by });
        }
        climb(&evidence, self.now)
    }
}

/// Runs that say something about a rung: full readings, restores, drills.
fn evidence_runs(catalog: &Catalog) -> Result<Vec<Run>> {
    let mut runs = catalog.runs(RunKind::Verify, RUNS_MAX)?;
    // A structural check can break the rung but not climb it.
    runs.retain(|r| r.document["read_data"] == true || r.outcome == Outcome::Fail);
    runs.extend(catalog.runs(RunKind::Restore, RUNS_MAX)?);
    runs.extend(catalog.runs(RunKind::Drill, RUNS_MAX)?);
    Ok(runs)
}

/// When the newest capture of a source at a location began.
fn newest(at: &AtLocation, name: &str) -> Option<Timestamp> {
    at.points.iter().filter_map(|p| p.document.source(name)).map(|s| s.captured).max()
}

fn age(now: Timestamp, then: Timestamp) -> u64 {
    u64::try_from(now.as_second() - then.as_second()).unwrap_or(0)
}

fn contract(sources: &[SourceStatus]) -> Contract {
    let mut worst = Contract::Met;
    for source in sources {
        // One location that keeps the rpo is enough; none that is known to is not.
        let rpo = source.rpo.iter().map(|r| r.outcome);
        let rpo = if rpo.clone().any(|o| o == Outcome::Pass) {
            Outcome::Pass
        } else {
            rpo.max().unwrap_or(Outcome::Fail)
        };
        let rpo = if source.rpo.iter().any(|r| r.outcome == Outcome::Unknown) && rpo == Outcome::Fail {
            Outcome::Unknown
        } else {
            rpo
        };
        for outcome in [rpo, source.rto.outcome, source.copies.outcome, source.proofs] {
            worst = match (worst, outcome) {
                (Contract::NotMet, _) | (_, Outcome::Fail | Outcome::Refused | Outcome::Partial) => {
                    Contract::NotMet
                }
                (_, Outcome::Unknown) => Contract::Unknown,
                (held, Outcome::Pass) => held,
            };
        }
    }
    worst
}

fn next(sources: &[SourceStatus], restores: &[Waiting], unprotected: &[String]) -> Vec<String> {
    let mut next: Vec<String> = restores
        .iter()
        .filter(|w| matches!(w.state, State::Stuck | State::Interrupted))
        .flat_map(|w| w.next.clone())
        .collect();
    let missed = |s: &SourceStatus| s.rpo.iter().all(|r| r.outcome == Outcome::Fail);
    if !unprotected.is_empty() || sources.iter().any(missed) {
        next.push("recoup backup".into());
    }
    if sources.iter().any(|s| s.rto.outcome != Outcome::Pass) {
        next.push("recoup drill".into());
    }
    if sources.iter().any(|s| s.ladder.iter().any(|l| l.broken == Some(Rung::Intact))) {
        next.push("recoup verify --read-data".into());
    }
    next
}

fn waiting(session: &Session, findings: &mut Vec<Finding>) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    for name in JournalFile::list(&session.journals()).unwrap_or_default() {
        let report = match restore::look(session, &name) {
            Ok(report) => report,
            Err(e) => {
                let fix = "leave the folders of this restore alone until you know which data is live";
                findings.push(Finding::new("R0115", Severity::High, &name, e.to_string(), fix));
                continue;
            }
        };
        let open = matches!(report.state, State::Interrupted | State::Stuck | State::Running)
            || (report.state == State::Proved && report.can_promote);
        if !open {
            continue;
        }
        let severity = if report.state == State::Stuck { Severity::High } else { Severity::Info };
        let state = report.state_word();
        let message = format!("restore {name} is {state}");
        findings.push(Finding::new("R0115", severity, session.app(), message, report.next.join("; ")));
        waiting.push(Waiting { restore: name, state: report.state, next: report.next });
    }
    waiting
}

/// What opens everything if this machine is lost: a kit that fits and was proven, or at least the word that the
/// sheet is stored away. Neither is part of the contract.
async fn kit(session: &Session, locations: &[AtLocation], findings: &mut Vec<Finding>) -> Result<()> {
    let mut current = keychain::current(session).await?;
    for at in locations {
        if let (Some(known), Some(id)) = (current.locations.get_mut(&at.place.name), &at.repository) {
            known.repository = Some(id.clone());
        }
    }
    let declared = session.config().keys.as_ref().is_some_and(|keys| keys.kit.is_some());
    let mut ids = locations.iter().filter_map(|at| at.repository.as_deref());
    let confirmed = ids.any(|id| crate::keys::confirmed(session.state(), id).is_some());
    let complaints = keychain::complaints(session, &current);
    let has_kit = !complaints.contains(&Complaint::NoKit);
    let mut warn = |code, message: String, fix| {
        findings.push(Finding::new(code, Severity::Warning, session.app(), message, fix));
    };
    let prove = "`recoup keys prove --kit kit.txt --secret secret.txt`";
    let renew = "make a new one with `recoup keys kit --write FOLDER`";
    let mut never = Vec::new();
    for complaint in complaints {
        match complaint {
            Complaint::NoKit if !confirmed => warn(
                "R0114",
                "no recovery kit was made, and nobody has confirmed that the recovery sheet is stored away"
                    .into(),
                "`recoup keys kit --write FOLDER`, print it and store it where this machine is not",
            ),
            Complaint::NoKit if declared => warn("R0140", "no recovery kit was made".into(), renew),
            Complaint::NoKit => {}
            Complaint::NeverProven(location) => never.push(location),
            Complaint::Failed(location) => {
                warn("R0141", format!("the last proof of the recovery kit failed at {location}"), renew);
            }
            Complaint::Old { location, age, allowed } => warn(
                "R0141",
                format!("the recovery kit was proven at {location} {age} ago; at most {allowed} are allowed"),
                prove,
            ),
            Complaint::Changed(what) => {
                warn("R0142", format!("changed since the recovery kit was made: {}", what.join(", ")), renew);
            }
            Complaint::Uncovered(key) if has_kit || declared => {
                warn(
                    "R0142",
                    format!("{key} is needed to read the data, and no recovery kit covers it"),
                    renew,
                );
            }
            Complaint::Uncovered(_) => {}
        }
    }
    if !never.is_empty() {
        warn("R0140", format!("the recovery kit was never proven at {}", never.join(", ")), prove);
    }
    Ok(())
}

fn old_proofs(address: &str, ladders: &[(String, Ladder)], class: &Class) -> (Vec<Finding>, Outcome) {
    let wanted = [
        (Rung::Intact, class.proven.intact),
        (Rung::Rehydrated, class.proven.rehydrated),
        (Rung::ApplicationProven, class.proven.application),
    ];
    let (mut findings, mut worst) = (Vec::new(), Outcome::Pass);
    for (rung, allowed) in wanted {
        let Some(allowed) = allowed else { continue };
        // A higher rung went through the lower ones.
        let shown = || {
            ladders
                .iter()
                .flat_map(|(_, l)| l.rungs.iter())
                .filter(|s| s.rung >= rung && s.age_seconds.is_some())
        };
        if shown()
            .any(|s| s.outcome == Outcome::Pass && s.age_seconds.is_some_and(|a| a <= allowed.as_secs()))
        {
            continue;
        }
        worst = worst.max(if shown().next().is_some() { Outcome::Fail } else { Outcome::Unknown });
        let message = format!("{rung} was not shown within the last {allowed}");
        let fix = if rung == Rung::Intact { "run `recoup verify --read-data`" } else { "run `recoup drill`" };
        findings.push(Finding::new("R0112", Severity::High, address, message, fix));
    }
    (findings, worst)
}

fn missed_rpo(address: &str, rpo: &[Rpo]) -> Finding {
    let youngest = rpo.iter().filter_map(|r| r.seconds).min();
    match youngest {
        None => Finding::new(
            "R0110",
            Severity::High,
            address,
            "there is no point of it yet",
            "run `recoup backup`",
        ),
        Some(seconds) => Finding::new(
            "R0111",
            Severity::High,
            address,
            format!(
                "the newest point is {} old, the class allows {}",
                span(seconds),
                span(rpo[0].target.unwrap_or(0))
            ),
            "run `recoup backup`; `recoup export systemd` or `cron` makes it run by itself",
        ),
    }
}

fn missed_rto(address: &str, rto: &Rto) -> Finding {
    let target = span(rto.target.unwrap_or(0));
    let (severity, message) = match rto.proven {
        None => (
            Severity::Warning,
            format!("nobody knows whether it can be back within {target}: no drill has passed"),
        ),
        Some(proven) => {
            (Severity::High, format!("the last drill took {proven:.0} s, the class allows {target}"))
        }
    };
    Finding::new("R0112", severity, address, message, "run `recoup drill`")
}

fn missed_copies(address: &str, c: &Copies) -> Finding {
    Finding::new(
        "R0113",
        Severity::High,
        address,
        format!(
            "{} of {} copies (production included) in {} of {} failure domains hold the newest point",
            c.have, c.want, c.domains, c.domains_want
        ),
        "add a location with a failure domain of its own",
    )
}

fn span(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}
