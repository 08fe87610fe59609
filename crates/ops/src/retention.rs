//! `recoup retention`: what the policies of the classes would keep, which reads and never deletes, and in
//! [`apply`] what they delete.

pub mod apply;
pub mod log;
pub mod sprawl;

use crate::catalog::{Catalog, RunKind};
use crate::config::Config;
use crate::point::Point;
use crate::points::{AtLocation, survey};
use crate::session::Session;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use recoup_core::class::Class;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::retention::Retain;
use recoup_core::retention::points::{self, Attested, PointFacts, Policies, RetentionPlan};
use recoup_core::retention::simulate::{self, Simulation};
use recoup_core::units::{Span, counted};
use recoup_core::{Error, Kind, Result};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Runs looked at for proofs of points.
const RUNS_MAX: usize = 1000;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How far ahead.
    pub length: Span,
    /// How often a point is made; the RPO of each class if `None`, or once a day.
    pub every: Option<Span>,
}

/// What the policies keep, in time and today.
#[derive(Clone, Debug, Serialize)]
pub struct SimulateReport {
    /// The zone whose days and hours count.
    pub zone: String,
    /// The classes that have sources.
    pub classes: Vec<ClassSimulation>,
    /// What the policies would keep of the points there are; `None` if no location is declared or could be read.
    pub today: Option<Today>,
    /// How it went.
    #[serde(skip)]
    pub outcome: Outcome,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// One class.
#[derive(Clone, Debug, Serialize)]
pub struct ClassSimulation {
    /// Its name.
    pub class: String,
    /// Its sources, `APP/NAME`.
    pub sources: Vec<String>,
    /// Its policy; `None` keeps everything.
    pub retain: Option<RetainFields>,
    /// Seconds between two points.
    pub every_seconds: u64,
    /// What comes of it.
    #[serde(flatten)]
    pub simulation: Simulation,
}

/// A policy for scripts: durations are seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RetainFields {
    /// Everything younger.
    pub all_seconds: Option<u64>,
    /// Hours.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// ISO weeks.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Years.
    pub yearly: u32,
    /// The newest, whatever their age.
    pub min: u32,
    /// Nothing older.
    pub max_seconds: Option<u64>,
}

impl From<Retain> for RetainFields {
    fn from(retain: Retain) -> Self {
        RetainFields {
            all_seconds: retain.all.map(Span::as_secs),
            hourly: retain.hourly,
            daily: retain.daily,
            weekly: retain.weekly,
            monthly: retain.monthly,
            yearly: retain.yearly,
            min: retain.min.unwrap_or(0),
            max_seconds: retain.max.map(Span::as_secs),
        }
    }
}

/// What the policies would keep of the points there are now. Nothing was deleted.
#[derive(Clone, Debug, Serialize)]
pub struct Today {
    /// The moment for which it holds.
    pub time: Timestamp,
    /// Names of the locations whose points were looked at.
    pub locations: Vec<String>,
    /// How many points there are.
    pub points: usize,
    /// What stays and what would go; `None` if the policies were refused.
    #[serde(flatten)]
    pub plan: Option<RetentionPlan>,
}

/// Simulates the policy of each class, and applies the policies in thought to the points there are.
///
/// # Errors
/// `Kind::Config` E0664 if the lengths of time make no sense; if there is no state directory.
pub async fn simulate(session: &Session, options: Options, location: Option<&str>) -> Result<SimulateReport> {
    let zone = zone(session.config());
    let now = session.env().now();
    let mut findings = Vec::new();
    let mut classes = Vec::new();
    for (name, class) in &session.config().classes {
        let sources = sources_of(session.config(), name);
        if sources.is_empty() {
            continue;
        }
        if class.retain.is_none() {
            findings.push(no_policy(session.app(), name));
        }
        classes.push(class_simulation(class, sources, options, now, &zone)?);
    }
    let (today, outcome) = today(session, location, now, &zone, &mut findings).await?;
    Ok(SimulateReport {
        zone: zone.iana_name().unwrap_or("UTC").to_owned(),
        classes,
        today,
        outcome,
        findings,
    })
}

/// The zone in which days end: the one of the configuration, else UTC. Never the host's, because the days of a policy
/// must not move when the machine does.
pub fn zone(config: &Config) -> TimeZone {
    config.timezone.clone().unwrap_or(TimeZone::UTC)
}

/// The policy of each declared source.
pub fn policies(config: &Config) -> Policies {
    let retain = |source| config.class_of(source).and_then(|class| class.retain);
    config.sources.iter().map(|(name, source)| (name.clone(), retain(source))).collect()
}

/// What the planner must know of `points`, which stand in the order in which they were made.
pub fn facts(points: &[Point], proven: &Proven) -> Vec<PointFacts> {
    let fact = |(number, point): (usize, &Point)| PointFacts {
        id: point.id.clone(),
        time: point.document.time,
        // Where nobody signs, nobody vouches for the order either.
        sequence: point.attested.map(|_| number as u64),
        attested: match point.attested {
            None => Attested::NoKey,
            Some(true) => Attested::Yes,
            Some(false) => Attested::No,
        },
        sources: point.document.sources.iter().map(|s| s.name.clone()).collect(),
        held: point.held.iter().map(|hold| hold.reason.clone()).collect(),
        proven: proven.get(&point.id).cloned().unwrap_or_default(),
        suspect: point.suspicions().into_iter().next(),
        complete: point.document.sources.iter().all(|s| s.complete && s.errors == 0),
    };
    points.iter().enumerate().map(fact).collect()
}

/// When a restore or a drill passed for the last time, by the id of the point and the name of the source.
pub type Proven = BTreeMap<String, BTreeMap<String, Timestamp>>;

/// The proofs that this machine knows of.
///
/// # Errors
/// If the catalog cannot be read.
pub fn proven(catalog: &Catalog) -> Result<Proven> {
    let mut last = Proven::new();
    for kind in [RunKind::Restore, RunKind::Drill] {
        for run in catalog.runs(kind, RUNS_MAX)?.into_iter().filter(|r| r.outcome == Outcome::Pass) {
            let point = last.entry(run.point).or_default();
            for source in run.sources {
                let slot = point.entry(source).or_insert(run.at);
                *slot = run.at.max(*slot);
            }
        }
    }
    Ok(last)
}

fn sources_of(config: &Config, class: &str) -> Vec<String> {
    let of_class = config.sources.values().filter(|source| source.class == class);
    of_class.map(|source| config.address(&source.name)).collect()
}

fn class_simulation(
    class: &Class,
    sources: Vec<String>,
    options: Options,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<ClassSimulation> {
    let day = Span(Duration::from_secs(86_400));
    let every = options.every.or(class.rpo).unwrap_or(day);
    let simulation = simulate::simulate(class.retain.as_ref(), every, options.length, now, zone)
        .map_err(|e| e.with("class", &class.name))?;
    let retain = class.retain.map(RetainFields::from);
    Ok(ClassSimulation {
        class: class.name.clone(),
        sources,
        retain,
        every_seconds: every.as_secs(),
        simulation,
    })
}

/// The points of all locations that can be read, each once, and what would stay of them.
async fn today(
    session: &Session,
    location: Option<&str>,
    now: Timestamp,
    zone: &TimeZone,
    findings: &mut Vec<Finding>,
) -> Result<(Option<Today>, Outcome)> {
    if location.is_none() && session.config().locations.is_empty() {
        return Ok((None, Outcome::Pass));
    }
    let (all, noticed) = survey(session, location).await?;
    findings.extend(noticed);
    let outcome = if all.iter().any(|at| at.error.is_some()) { Outcome::Partial } else { Outcome::Pass };
    let read: Vec<&AtLocation> = all.iter().filter(|at| at.error.is_none()).collect();
    if read.is_empty() {
        return Ok((None, outcome));
    }
    let points = each_once(read.iter().flat_map(|at| at.points.iter().chain(&at.unattested)));
    let facts = facts(&points, &proven(&session.catalog()?)?);
    let locations = read.iter().map(|at| at.place.name.clone()).collect();
    let mut today = Today { time: now, locations, points: points.len(), plan: None };
    match points::plan(&facts, &policies(session.config()), &[], now, zone) {
        Ok(plan) => {
            findings.extend(noticed_in(session.app(), &plan));
            today.plan = Some(plan);
            Ok((Some(today), outcome))
        }
        Err(e) if e.kind() == Kind::Refused => {
            findings.push(refused(session.app(), &e));
            Ok((Some(today), Outcome::Refused))
        }
        Err(e) => Err(e),
    }
}

/// Every point once, in the order in which they were made.
fn each_once<'p>(points: impl Iterator<Item = &'p Point>) -> Vec<Point> {
    let mut seen = BTreeSet::new();
    let mut all: Vec<Point> = points.filter(|p| seen.insert(p.id.clone())).cloned().collect();
    all.sort_by_key(|p| p.order);
    all
}

fn no_policy(app: &str, class: &str) -> Finding {
    Finding::new(
        "W0460",
        Severity::Info,
        app,
        format!("[class.{class}] has no `retain`: every point with a source of it stays for ever"),
        "add `retain` once you know what you need, as in `retain = { all = \"7d\", daily = 35, monthly = 13 }`",
    )
}

fn refused(app: &str, error: &Error) -> Finding {
    Finding::new(
        error.stable_code().unwrap_or("E0661"),
        Severity::High,
        app,
        format!("the policies cannot be followed today: could not {error}"),
        error.next_step().unwrap_or_default(),
    )
}

/// What a plan shows that somebody should know.
pub fn noticed_in(app: &str, plan: &RetentionPlan) -> Vec<Finding> {
    let warning = |id, message: String, fix: &str| Finding::new(id, Severity::Warning, app, message, fix);
    let mut found = Vec::new();
    for (source, points) in &plan.orphans {
        let name = if source.is_empty() {
            "no source at all".to_owned()
        } else {
            format!("the source {}", escape(source.as_bytes()))
        };
        let message = format!(
            "{} with {name}, which is not declared, stay for ever",
            counted(points.len() as u64, "point")
        );
        found.push(warning("W0461", message, "give the source its old name if it was renamed by mistake"));
    }
    for (id, points, what) in
        [("W0462", &plan.future, "dated in the future"), ("W0463", &plan.unattested, "not attested")]
    {
        if let Some(first) = points.first() {
            let first = escape(first.chars().take(8).collect::<String>().as_bytes());
            let number = counted(points.len() as u64, "point");
            let message = format!("{number} {what}, as {first}: kept, and counted by no rule");
            found.push(warning(id, message, "find out which machine made them, and look at its clock"));
        }
    }
    for doubt in &plan.stopped_by {
        found.push(warning(
            "W0464",
            format!("nothing is deleted: {}", escape(doubt.why.as_bytes())),
            "mend what is named",
        ));
    }
    found
}
