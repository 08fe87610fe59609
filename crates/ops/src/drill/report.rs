//! The report of a drill: stages with their times, checks, findings, what was not run, and the verdict;
//! and the evidence, written durably as JSON and as text.

use super::application::ApplicationResult;
use super::checks::ChecksResult;
use super::proof::START;
use super::subject::NotRun;
use crate::audit::{Reported, Told};
use jiff::Timestamp;
use recoup_core::audit::Details;
use recoup_core::audit::words::{Hex, Name};
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::units::Span;
use recoup_core::verdict::{self, Measured};
use recoup_core::{Error, Result};
use recoup_sources::Check;
use recoup_store::local::durable;
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// What the report must be told: everything that happened before the checks.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Id of the drill; also the name of its evidence files.
    pub drill: String,
    /// Name of the drill in the configuration, if it has one.
    pub name: Option<String>,
    /// The application.
    pub application: String,
    /// Full id of the point.
    pub point: String,
    /// The point for people, as in `shop@2026-11-22T08:31:07Z`.
    pub point_name: String,
    /// The location it came from.
    pub location: String,
    /// Whether the application was to be started.
    pub with_application: bool,
    /// When the drill began.
    pub started: Timestamp,
    /// `locate`, `retrieve`, `recover`, as far as they came.
    pub stages: Vec<Stage>,
    /// What the sources' own proofs gave, by address.
    pub proofs: Vec<(String, Check)>,
    /// Age of the data in the point, in seconds.
    pub rpo_seconds: Option<f64>,
    /// What the strictest class allows; `None` if none does, or if the point was picked at random.
    pub rpo_target: Option<Span>,
    /// What the strictest class allows.
    pub rto_target: Option<Span>,
    /// How long the drill may take.
    pub budget: Option<Span>,
    /// The folder for evidence.
    pub evidence: PathBuf,
}

/// A stage with its time and end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// Stable name: `locate`, `retrieve`, `recover`, `checks`, `migrate`, `start`.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Stage {
    /// A stage.
    pub fn new(name: &str, seconds: f64, outcome: Outcome) -> Self {
        Stage { name: name.to_owned(), seconds: (seconds * 1000.0).round() / 1000.0, outcome }
    }
}

/// A check in the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportedCheck {
    /// What it concerns.
    pub address: String,
    /// Name of the check.
    pub check: String,
    /// How it ended.
    pub outcome: Outcome,
    /// One line for people.
    pub detail: String,
}

/// What the classes allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Targets {
    /// In seconds.
    pub rto_seconds: Option<f64>,
    /// In seconds.
    pub rpo_seconds: Option<f64>,
}

/// The report; its JSON is what scripts rely on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrillReport {
    /// Id of the drill.
    pub drill: String,
    /// Its name in the configuration.
    pub name: Option<String>,
    /// The application.
    pub application: String,
    /// Full id of the point.
    pub point: String,
    /// The point for people.
    pub point_name: String,
    /// The location it came from.
    pub location: String,
    /// How far the proof goes: `application`, `rehydrated`, or `None` if nothing was proven.
    pub level: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// What took how long.
    pub stages: Vec<Stage>,
    /// From the start until everything was healthy, in seconds; `None` if that was not reached.
    pub rto_seconds: Option<f64>,
    /// Age of the data, in seconds.
    pub rpo_seconds: Option<f64>,
    /// What the classes allow.
    pub targets: Targets,
    /// Every check.
    pub checks: Vec<ReportedCheck>,
    /// What was not looked at, and why.
    pub not_run: Vec<NotRun>,
    /// Why it is no pass; empty if it is one.
    pub reasons: Vec<String>,
    /// Files that hold the evidence.
    pub evidence: Vec<String>,
    /// How it ended.
    #[serde(skip)]
    pub outcome: Outcome,
    /// What was found.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

impl Reported for DrillReport {
    fn told(&self) -> Told {
        let details = Details {
            locations: vec![Name::of(&self.location)],
            point: Hex::of(&self.point),
            ..Details::default()
        };
        Told { run: self.drill.clone(), outcome: self.outcome, details, proven: Vec::new() }
    }

    fn findings(&mut self) -> &mut Vec<Finding> {
        &mut self.findings
    }
}

/// Judges a drill and writes its evidence. Parts that did not take place are `None`.
///
/// # Errors
/// If the evidence cannot be written.
pub fn finish(
    facts: Facts,
    checks: Option<&ChecksResult>,
    application: Option<&ApplicationResult>,
) -> Result<DrillReport> {
    let mut report = judge(&facts, checks, application);
    let json = facts.evidence.join(format!("{}.json", facts.drill));
    let text = facts.evidence.join(format!("{}.txt", facts.drill));
    report.evidence =
        [&json, &text].map(|p| recoup_core::name::escape(p.as_os_str().as_encoded_bytes())).to_vec();
    durable::create_dir_all(&facts.evidence, 0o700)?;
    durable::write(&json, &evidence(&report, checks, application)?, 0o600)?;
    durable::write(&text, as_text(&report, application).as_bytes(), 0o600)?;
    Ok(report)
}

fn judge(
    facts: &Facts,
    checks: Option<&ChecksResult>,
    application: Option<&ApplicationResult>,
) -> DrillReport {
    let mut all: Vec<(String, Check)> = facts.proofs.clone();
    all.extend(checks.iter().flat_map(|c| c.checks.clone()));
    all.extend(application.iter().flat_map(|a| a.checks.clone()));
    let stages = stages(facts, checks, application);
    let total: f64 = stages.iter().map(|s| s.seconds).sum();
    let healthy = application.is_some_and(|a| a.healthy);
    let rto_seconds = healthy.then_some(total);
    let rto_target = facts.rto_target.filter(|_| facts.with_application);
    let mut findings: Vec<Finding> = all.iter().filter_map(|(_, c)| c.finding.clone()).collect();
    findings.extend(over_budget(facts, total));
    let outcomes: Vec<(String, Outcome)> =
        all.iter().map(|(at, c)| (format!("{at} {}", c.name), c.outcome)).collect();
    let mut not_done: Vec<(String, String)> =
        checks.iter().flat_map(|c| &c.not_run).map(|n| (n.check.clone(), n.reason.clone())).collect();
    if facts.with_application && application.is_none() {
        not_done.push(("application".into(), "the drill ended before it".into()));
    }
    let verdict = verdict::judge(&verdict::Facts {
        checks: &outcomes,
        findings: &findings,
        not_done: &not_done,
        rto: Measured::new(rto_seconds, rto_target),
        rpo: Measured::new(facts.rpo_seconds, facts.rpo_target),
    });
    let mut not_run: Vec<NotRun> =
        not_done.into_iter().map(|(check, reason)| NotRun { check, reason }).collect();
    not_run.extend(application.iter().flat_map(|a| a.not_run.clone()));
    DrillReport {
        drill: facts.drill.clone(),
        name: facts.name.clone(),
        application: facts.application.clone(),
        point: facts.point.clone(),
        point_name: facts.point_name.clone(),
        location: facts.location.clone(),
        level: proven(facts, checks, application),
        started: facts.started,
        stages,
        rto_seconds,
        rpo_seconds: facts.rpo_seconds,
        targets: Targets {
            rto_seconds: rto_target.map(|t| t.0.as_secs_f64()),
            rpo_seconds: facts.rpo_target.map(|t| t.0.as_secs_f64()),
        },
        checks: all.into_iter().map(reported).collect(),
        not_run,
        reasons: verdict.reasons,
        evidence: Vec::new(),
        outcome: verdict.outcome,
        findings,
    }
}

fn reported((address, check): (String, Check)) -> ReportedCheck {
    ReportedCheck { address, check: check.name, outcome: check.outcome, detail: check.detail }
}

fn stages(
    facts: &Facts,
    checks: Option<&ChecksResult>,
    application: Option<&ApplicationResult>,
) -> Vec<Stage> {
    let mut stages = facts.stages.clone();
    stages.extend(checks.map(|c| Stage::new("checks", c.seconds, c.outcome())));
    let Some(application) = application.filter(|a| a.observed.is_some()) else { return stages };
    let of = |wanted: &dyn Fn(&str) -> bool| {
        let found: Vec<Outcome> =
            application.checks.iter().filter(|(_, c)| wanted(&c.name)).map(|(_, c)| c.outcome).collect();
        let worst = [Outcome::Fail, Outcome::Unknown].into_iter().find(|o| found.contains(o));
        (!found.is_empty()).then(|| worst.unwrap_or(Outcome::Pass))
    };
    let migrate = of(&|name| name.starts_with("migrat"));
    stages.extend(migrate.map(|outcome| Stage::new("migrate", application.migrate_seconds, outcome)));
    let start = of(&|name| name.starts_with(START));
    stages.extend(start.map(|outcome| Stage::new("start", application.start_seconds, outcome)));
    stages
}

/// `application` needs healthy services and known data, `rehydrated` needs good checks.
fn proven(
    facts: &Facts,
    checks: Option<&ChecksResult>,
    application: Option<&ApplicationResult>,
) -> Option<String> {
    let good = |outcome: Option<Outcome>| outcome == Some(Outcome::Pass);
    let proofs = facts.proofs.iter().all(|(_, c)| c.outcome == Outcome::Pass);
    if !proofs || !good(checks.map(ChecksResult::outcome)) {
        return None;
    }
    let started = application.is_some_and(|a| a.healthy) && good(application.map(ApplicationResult::outcome));
    Some(if started { "application" } else { "rehydrated" }.to_owned())
}

fn over_budget(facts: &Facts, total: f64) -> Option<Finding> {
    let budget = facts.budget?;
    let took = Span(std::time::Duration::from_secs_f64(total.max(0.0)));
    (took > budget).then(|| {
        let message = format!("the drill took {took}, its budget is {budget}");
        let fix = "raise `budget`, drill fewer sources, or look for the slow stage in the report";
        Finding::new("R0330", Severity::Warning, &facts.application, message, fix)
    })
}

fn evidence(
    report: &DrillReport,
    checks: Option<&ChecksResult>,
    application: Option<&ApplicationResult>,
) -> Result<Vec<u8>> {
    let whole = serde_json::json!({
        "schema": "recoup/evidence/1",
        "kind": "drill",
        "outcome": report.outcome,
        "findings": report.findings,
        "report": report,
        "rows": checks.map(|c| &c.rows),
        "observed": application.and_then(|a| a.observed.as_ref()),
        "impossible": application.and_then(|a| a.impossible.as_ref()),
    });
    serde_json::to_vec_pretty(&whole).map_err(|e| Error::bug("write the evidence of a drill").caused_by(e))
}

/// The report for people, as it stands in the evidence.
fn as_text(report: &DrillReport, application: Option<&ApplicationResult>) -> String {
    let mut out = String::new();
    let word = |outcome: Outcome| match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "FAIL",
        Outcome::Unknown => "unknown",
        Outcome::Partial => "partial",
        Outcome::Refused => "refused",
    };
    let time = |seconds: f64| Span(std::time::Duration::from_secs_f64(seconds.max(0.0)));
    // Writing to a string cannot fail.
    let _ = writeln!(out, "drill {}  point {}  from {}", report.drill, report.point_name, report.location);
    let _ = writeln!(out, "started {}  outcome {}", report.started, word(report.outcome));
    for reason in &report.reasons {
        let _ = writeln!(out, "  because {reason}");
    }
    out.push_str("\nstages\n");
    for stage in &report.stages {
        let _ = writeln!(
            out,
            "  {:<10} {:>8}  {}",
            stage.name,
            time(stage.seconds).to_string(),
            word(stage.outcome)
        );
    }
    for (name, measured, target) in [
        ("RTO", report.rto_seconds, report.targets.rto_seconds),
        ("RPO", report.rpo_seconds, report.targets.rpo_seconds),
    ] {
        let measured = measured.map_or("not measured".to_owned(), |s| time(s).to_string());
        let target = target.map_or("no target".to_owned(), |s| format!("target {}", time(s)));
        let _ = writeln!(out, "{name} {measured}, {target}");
    }
    out.push_str("\nchecks\n");
    for check in &report.checks {
        let _ = writeln!(
            out,
            "  {:<7} {}  {}: {}",
            word(check.outcome),
            check.address,
            check.check,
            check.detail
        );
    }
    for NotRun { check, reason } in &report.not_run {
        let _ = writeln!(out, "  NOT RUN {check}: {reason}");
    }
    for finding in &report.findings {
        let _ = writeln!(
            out,
            "\n{:?} {}  {}\n  {}\n  fix: {}",
            finding.severity, finding.id, finding.address, finding.message, finding.fix
        );
    }
    let steps = application.and_then(|a| a.observed.as_ref()).map(|o| o.steps.as_slice()).unwrap_or_default();
    for step in steps.iter().filter(|s| !s.log.is_empty()) {
        let _ = writeln!(out, "\nlast lines of {}", step.name);
        for line in &step.log {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}
