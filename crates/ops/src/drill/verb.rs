//! `recoup drill`: restores a point into a scratch folder by the same plan and executor as a restore,
//! then checks it and runs the application on it. Whatever happens, the scratch folder goes.
#![allow(
    clippy::disallowed_methods,
    reason = "this module clears the scratch folders that killed drills left"
)]

use super::gather;
use super::report::{self, DrillReport, Stage};
use super::subject::Subject;
use super::{ApplicationResult, ChecksResult, application, checks};
use crate::attest::{self, Reading};
use crate::audit::Trail;
use crate::catalog::{Run, RunKind};
use crate::config::Config;
use crate::config::section::{Drill, DrillLevel, Pick};
use crate::point::{self, Point};
use crate::restore::{self, Acted, Bound, Extra, Goes, JournalFile, RestoreActor, StepError};
use crate::session::{Place, Session};
use async_trait::async_trait;
use jiff::Timestamp;
use recoup_core::audit;
use recoup_core::env::Env;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::journal::{Goal, Journal, StepEvent};
use recoup_core::moment::Moment;
use recoup_core::name::escape;
use recoup_core::plan::{self, Action};
use recoup_core::units::Span;
use recoup_core::{Error, Kind, Result};
use recoup_sources::Check;
use std::path::Path;

/// Drills looked at to find whose turn it is.
const RUNS_MAX: usize = 200;

/// What to drill.
#[derive(Clone, Debug, Default)]
pub struct DrillOptions {
    /// Name of a declared drill; the first that starts the application if `None`.
    pub name: Option<String>,
    /// The moment, as typed; what the drill declares if `None`.
    pub at: Option<String>,
    /// The location; what the drill declares if `None`.
    pub location: Option<String>,
}

/// Runs a drill and writes its report, its evidence and its line in the catalog.
///
/// # Errors
/// If nothing could be begun: no such drill (`E0705`), no point (`E0601`), no room (`E0603`), another
/// drill is running (`E0650`). What went wrong after that is part of the report.
pub async fn drill(session: &Session, options: &DrillOptions) -> Result<DrillReport> {
    drill_by(session, options, Path::new("/proc/self/exe")).await
}

/// [`drill`] with another program to make the sandbox, for tests.
///
/// # Errors
/// As [`drill`].
pub async fn drill_by(session: &Session, options: &DrillOptions, executable: &Path) -> Result<DrillReport> {
    let trail = Trail::new(session, audit::Event::Drill);
    let done = unrecorded(session, options, executable).await;
    trail.end(done).await
}

async fn unrecorded(session: &Session, options: &DrillOptions, executable: &Path) -> Result<DrillReport> {
    let (name, declared) = choose(session.config(), options.name.as_deref())?;
    let _alone = session.exclusive("drill")?;
    clear_left_over(session);
    let env = session.env();
    let (started, clock) = (env.now(), env.clock.monotonic());
    let id = session.run_id('D');
    let found = locate(session, &declared, options).await?;
    let located = (env.clock.monotonic().saturating_sub(clock)).as_secs_f64();
    let scratch = session.scratch("drill")?;
    let with_application = declared.level == DrillLevel::Application;
    let plan = decide(session, &id, &found, &scratch.path().join("restored"), with_application).await?;
    let mut extra = Parts {
        subject: gather::subject(session, &declared, &found.restored(), scratch.path(), executable)?,
        env: env.clone(),
        checks: None,
        application: None,
    };
    let mut file = JournalFile::create(&scratch.path().join("journal"), plan)?;
    let actor =
        RestoreActor::new(session, &found.place.name, Some(found.repo.clone())).with_extra(&mut extra);
    let mut bound = Bound::new(actor, &file.journal().plan().steps.clone());
    let ended = restore::run(&mut file, &mut bound, Goal::Proved, session.app(), env).await;
    bound.release().await;
    drop(bound);
    ended?;
    let facts = facts(session, &declared, &found, file.journal(), started, located);
    let facts = report::Facts { drill: id, name, ..facts };
    let report = report::finish(facts, extra.checks.as_ref(), extra.application.as_ref())?;
    remember(session, &report, &found)?;
    Ok(report)
}

/// The point of a drill with the way to it.
struct Found {
    place: Place,
    repo: recoup_repo::repository::Repository,
    /// What is wrong with the signed history of the location.
    distrust: Vec<Finding>,
    point: Point,
    before: Option<Point>,
    names: Vec<String>,
    /// Whether the newest point was taken, so that its age says something about the contract.
    newest: bool,
}

impl Found {
    fn restored(&self) -> gather::Restored<'_> {
        gather::Restored { point: &self.point, before: self.before.as_ref(), names: &self.names }
    }
}

/// The steps that only a drill has, and what they gave.
struct Parts {
    subject: Subject,
    env: Env,
    checks: Option<ChecksResult>,
    application: Option<ApplicationResult>,
}

#[async_trait]
impl Extra for Parts {
    async fn act(&mut self, action: &Action) -> Result<Acted, StepError> {
        let (outcome, findings, count) = match action {
            Action::Checks {} => {
                let done = self.checks.insert(checks::run(&self.subject, &self.env).await?);
                (done.outcome(), done.findings(), done.checks.len())
            }
            _ => {
                let done = self.application.insert(application::run(&self.subject, &self.env).await?);
                (done.outcome(), done.findings(), done.checks.len())
            }
        };
        // A bad answer is a result and no failed step: the drill goes on to find out the rest.
        let outcome = if outcome == Outcome::Fail { Outcome::Partial } else { outcome };
        Ok(Acted { outcome, message: format!("{count} checks"), findings })
    }
}

fn choose(config: &Config, name: Option<&str>) -> Result<(Option<String>, Drill)> {
    if let Some(name) = name {
        let found = config.drills.get(name).ok_or_else(|| {
            let known: Vec<&str> = config.drills.keys().map(String::as_str).collect();
            let hint = if known.is_empty() {
                "no drill is declared; `recoup drill` alone drills everything".to_owned()
            } else {
                format!("declared: {}", known.join(", "))
            };
            Error::new(Kind::Config, "find the drill")
                .with("name", escape(name.as_bytes()))
                .code("E0705")
                .effect("nothing was attempted")
                .hint(hint)
        })?;
        return Ok((Some(name.to_owned()), found.clone()));
    }
    let best = config.drills.iter().max_by_key(|(name, d)| (d.level, std::cmp::Reverse(name.as_str())));
    Ok(match best {
        Some((name, declared)) => (Some(name.clone()), declared.clone()),
        None => (None, undeclared(config)),
    })
}

/// Everything, and the application if a service says how it runs in a drill.
fn undeclared(config: &Config) -> Drill {
    let startable = config.services.values().any(|s| s.drill.is_some());
    Drill {
        level: if startable { DrillLevel::Application } else { DrillLevel::Rehydrated },
        sources: None,
        set: None,
        pick: Pick::Latest,
        from: None,
        schedule: None,
        checks: None,
        tolerance: Default::default(),
        app: Default::default(),
        budget: None,
    }
}

async fn locate(session: &Session, declared: &Drill, options: &DrillOptions) -> Result<Found> {
    let from = match (&options.location, declared.from.as_deref()) {
        (Some(named), _) => Some(named.clone()),
        (None, Some("rotate")) => Some(whose_turn(session)?),
        (None, from) => from.map(str::to_owned),
    };
    let place = session.place(from.as_deref())?;
    let repo = session.repository(&place).await?;
    let mut catalog = session.catalog()?;
    let (listing, _) = attest::list(session, &place, &repo, &mut catalog, Reading::New).await?;
    let distrust = listing.findings.into_iter().filter(attest::is_about_trust).collect();
    let mut points = listing.points;
    let wanted = match (&declared.sources, &declared.set) {
        (Some(sources), _) => Some(sources.clone()),
        (None, Some(set)) => session.config().consistency.get(set).map(|s| s.members.clone()),
        (None, None) => None,
    };
    points.retain(|p| wanted.iter().flatten().all(|name| p.document.source(name).is_some()));
    let moment = session.moment(options.at.as_deref())?;
    let within = match declared.pick {
        Pick::RandomWithin(span) if options.at.is_none() => Some(span),
        _ => None,
    };
    let point = match within {
        Some(span) => any_within(&points, span, session.env())?,
        None => point::find(&points, &moment)?.clone(),
    };
    let before = points.iter().rev().find(|p| p.document.time < point.document.time).cloned();
    let names = wanted.unwrap_or_else(|| point.document.sources.iter().map(|s| s.name.clone()).collect());
    Ok(Found {
        place,
        repo,
        distrust,
        point,
        before,
        names,
        newest: within.is_none() && matches!(moment, Moment::Latest),
    })
}

/// The location whose last drill is the longest ago.
fn whose_turn(session: &Session) -> Result<String> {
    let runs = session.catalog()?.runs(RunKind::Drill, RUNS_MAX)?;
    let last = |place: &Place| runs.iter().find(|r| r.location == place.name).map(|r| r.at);
    let places = session.places(None)?;
    let next = places.iter().min_by_key(|place| last(place));
    next.map(|p| p.name.clone())
        .ok_or_else(|| Error::new(Kind::Config, "find a location to use").code("E0640"))
}

fn any_within(points: &[Point], span: Span, env: &Env) -> Result<Point> {
    let oldest = env.now().as_second() - i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let young: Vec<&Point> = points.iter().filter(|p| p.document.time.as_second() >= oldest).collect();
    let chance = u64::from_le_bytes(env.random::<8>());
    let count = young.len() as u64;
    let chosen = (count > 0).then(|| young[usize::try_from(chance % count).unwrap_or(0)].clone());
    chosen.ok_or_else(|| {
        Error::new(Kind::NotFound, format!("find a point that is not older than {span}"))
            .code("E0601")
            .effect("nothing was attempted")
    })
}

async fn decide(
    session: &Session,
    id: &str,
    found: &Found,
    into: &Path,
    with_application: bool,
) -> Result<plan::Plan> {
    let compat = restore::compat_of(session, &found.point).await;
    let goes = Goes::Scratch(into.to_owned());
    let facts = restore::gather(session, id, &found.point, &found.place.name, &found.names, &goes, compat)?;
    plan::choose_drill(&facts, true, with_application)
}

fn facts(
    session: &Session,
    declared: &Drill,
    found: &Found,
    journal: &Journal,
    started: Timestamp,
    located: f64,
) -> report::Facts {
    let classes: Vec<_> = found
        .names
        .iter()
        .filter_map(|name| session.config().class_of(session.config().sources.get(name)?))
        .collect();
    let strictest =
        |of: &dyn Fn(&recoup_core::class::Class) -> Option<Span>| classes.iter().filter_map(|c| of(c)).min();
    let mut stages = vec![Stage::new("locate", located, Outcome::Pass)];
    let fetch = |a: &Action| matches!(a, Action::Create { .. } | Action::Fetch { .. });
    let prove = |a: &Action| matches!(a, Action::Prove { .. });
    stages.extend(stage(journal, "retrieve", &fetch));
    stages.extend(stage(journal, "recover", &prove));
    let age = started.as_second() - found.point.document.time.as_second();
    report::Facts {
        drill: String::new(),
        name: None,
        application: session.app().to_owned(),
        point: found.point.id.clone(),
        point_name: found.point.name(),
        location: found.place.name.clone(),
        with_application: declared.level == DrillLevel::Application,
        started,
        stages,
        proofs: [distrusted(found), proofs(session, journal)].concat(),
        rpo_seconds: Some(age.max(0) as f64),
        rpo_target: strictest(&|c| c.rpo).filter(|_| found.newest),
        rto_target: strictest(&|c| c.rto),
        budget: declared.budget,
        evidence: session.state().join("drills"),
    }
}

/// The steps of one kind as one stage; `None` if none of them ended.
fn stage(journal: &Journal, name: &str, wanted: &dyn Fn(&Action) -> bool) -> Option<Stage> {
    let ended: Vec<_> = ends(journal).filter(|(action, ..)| wanted(action)).collect();
    let worst = ended.iter().map(|(_, outcome, ..)| *outcome).max()?;
    Some(Stage::new(name, ended.iter().map(|(.., record)| record.seconds.unwrap_or(0.0)).sum(), worst))
}

/// Steps that ended, with how: a failed one fails.
fn ends(journal: &Journal) -> impl Iterator<Item = (&Action, Outcome, &recoup_core::journal::Record)> {
    journal.records().iter().filter_map(|record| {
        let outcome = match record.event {
            StepEvent::Done => record.outcome.unwrap_or(Outcome::Pass),
            StepEvent::Failed => match record.outcome {
                Some(Outcome::Unknown) => Outcome::Unknown,
                _ => Outcome::Fail,
            },
            _ => return None,
        };
        Some((&journal.plan().step(record.step)?.action, outcome, record))
    })
}

/// A drill of what a location shows says little if the location does not show what it should.
fn distrusted(found: &Found) -> Vec<(String, Check)> {
    let serious = found.distrust.iter().filter(|f| f.severity == Severity::High);
    let check = |f: &Finding| Check {
        name: "signed history".to_owned(),
        outcome: Outcome::Fail,
        detail: f.message.clone(),
        finding: Some(f.clone()),
    };
    serious.map(|f| (f.address.clone(), check(f))).collect()
}

/// What fetching and proving said, as checks. Missing files make the restored data bad.
fn proofs(session: &Session, journal: &Journal) -> Vec<(String, Check)> {
    let mut all = Vec::new();
    for (action, outcome, record) in ends(journal) {
        let (name, source) = match action {
            Action::Fetch { source, .. } => ("retrieve", source),
            Action::Prove { source, .. } => ("structure", source),
            _ => continue,
        };
        let outcome = if outcome == Outcome::Partial { Outcome::Fail } else { outcome };
        let check =
            |finding| Check { name: name.to_owned(), outcome, detail: record.message.clone(), finding };
        let address = session.config().address(source);
        if record.findings.is_empty() {
            all.push((address, check(None)));
        } else {
            all.extend(record.findings.iter().map(|f| (address.clone(), check(Some(f.clone())))));
        }
    }
    all
}

fn remember(session: &Session, report: &DrillReport, found: &Found) -> Result<()> {
    let document =
        serde_json::to_value(report).map_err(|e| Error::bug("keep the result of a drill").caused_by(e))?;
    session.catalog()?.keep(&Run {
        id: report.drill.clone(),
        kind: RunKind::Drill,
        at: session.env().now(),
        outcome: report.outcome,
        location: report.location.clone(),
        point: report.point.clone(),
        sources: found.names.clone(),
        document,
    })
}

/// Only one drill runs at a time, so every other scratch folder of a drill was left by one that was killed.
fn clear_left_over(session: &Session) {
    let Ok(entries) = std::fs::read_dir(session.state().join("scratch")) else { return };
    for entry in entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("drill-")) {
        // What cannot be removed is tried again by the next drill.
        let _ = std::fs::remove_dir_all(entry.path());
    }
}
