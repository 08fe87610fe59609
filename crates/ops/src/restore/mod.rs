//! The way back: restore aside and prove, promote by one switch per source, roll back, resume.
//!
//! `gather` collects facts, `recoup_core::plan` decides, `file` is the journal on disk, `execute` follows
//! the plan, `act` does and undoes single steps. Nothing touches live data before the gate.

mod act;
mod execute;
mod file;
mod gather;
mod report;

pub(crate) use act::{Bound, Extra, RestoreActor};
pub(crate) use execute::{Acted, StepError, run};
pub use file::{JournalFile, Trip};
pub(crate) use gather::{Goes, gather};
pub use report::RestoreReport;

use crate::attest::{self, Reading};
use crate::audit::Trail;
use crate::catalog::{Run, RunKind};
use crate::point::{self, Point};
use crate::session::{Place, Session};
use recoup_core::audit::words::{Hex, Name};
use recoup_core::audit::{self, Details, Target};
use recoup_core::event::{Event, Finding, Outcome, Severity};
use recoup_core::journal::{Goal, State, StepEvent};
use recoup_core::plan::{self, Action, Compat, Plan, Relation};
use recoup_core::{Error, Kind, Result};
use recoup_repo::repository::Repository;
use std::path::PathBuf;

/// What to restore, and where to.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// Sources; all of the point if empty.
    pub addresses: Vec<String>,
    /// The moment, as typed; the latest point if `None`.
    pub at: Option<String>,
    /// The location to read from.
    pub location: Option<String>,
    /// A folder to restore into, instead of beside the live data.
    pub to: Option<PathBuf>,
    /// A scripted crash, for tests.
    pub trip: Option<Trip>,
}

/// How to promote.
#[derive(Clone, Debug, Default)]
pub struct PromoteOptions {
    /// What the person typed: the first digits of the plan's hash.
    pub confirm: String,
    /// Promote although not everything is proved.
    pub accept_damage: bool,
    /// A scripted crash, for tests.
    pub trip: Option<Trip>,
}

/// A point with the way to it.
pub(crate) struct Chosen {
    pub(crate) place: Place,
    pub(crate) repo: Repository,
    pub(crate) point: Point,
    pub(crate) names: Vec<String>,
    pub(crate) findings: Vec<Finding>,
}

/// Decides a restore and shows it; nothing is written.
///
/// # Errors
/// As the planner, the point list and the location say.
pub async fn plan(session: &Session, options: &RestoreOptions) -> Result<RestoreReport> {
    let chosen =
        choose_point(session, &options.addresses, options.at.as_deref(), options.location.as_deref()).await?;
    let plan = decide(session, &chosen, options).await?;
    let journal = recoup_core::journal::Journal::new(plan);
    let report = RestoreReport::of(&journal, State::Planned, None, chosen.findings);
    Ok(RestoreReport { next: vec!["the same command without --dry-run".into()], ..report })
}

/// Restores beside the live data, or into a folder, and proves what came back. Live data is untouched.
///
/// # Errors
/// If nothing was begun. A step that failed is part of the report; so is how to resume.
pub async fn restore(session: &Session, options: &RestoreOptions) -> Result<RestoreReport> {
    let mut trail = Trail::new(session, audit::Event::Restore);
    let done = unrecorded(session, options, &mut trail).await;
    trail.end(done).await
}

async fn unrecorded(
    session: &Session,
    options: &RestoreOptions,
    trail: &mut Trail<'_>,
) -> Result<RestoreReport> {
    let chosen =
        choose_point(session, &options.addresses, options.at.as_deref(), options.location.as_deref()).await?;
    let plan = decide(session, &chosen, options).await?;
    match options.to {
        // Data leaves the places that the application keeps it in.
        Some(_) => trail.intent(&plan.restore, intended(&plan, Some(Target::Folder))).await?,
        None => trail.begun(&plan.restore, intended(&plan, Some(Target::Aside))).await,
    }
    let mut findings = chosen.findings.clone();
    findings.extend(compat_finding(session, &plan));
    let mut file = JournalFile::create(&session.journals(), plan)?;
    file.trip(options.trip);
    announce(session, file.journal().plan());
    let actor = RestoreActor::new(session, &chosen.place.name, Some(chosen.repo.clone()));
    follow(session, &mut file, actor, Goal::Proved, findings).await
}

/// Switches to the restored data: services stopped, nobody holding the data, one switch per source,
/// services started and asked. Whatever fails is undone down to before the first step.
///
/// # Errors
/// `Kind::Refused` if the confirmation does not fit (`E0611`), the restore is not proved (`E0612`,
/// `E0613`), or somebody holds the live data open (`E0622`); nothing was changed then.
pub async fn promote(session: &Session, restore: &str, options: &PromoteOptions) -> Result<RestoreReport> {
    let mut trail = Trail::new(session, audit::Event::Promote);
    let done = switch(session, restore, options, &mut trail).await;
    trail.end(done).await
}

async fn switch(
    session: &Session,
    restore: &str,
    options: &PromoteOptions,
    trail: &mut Trail<'_>,
) -> Result<RestoreReport> {
    let mut file = JournalFile::open(&session.journals(), restore)?;
    file.trip(options.trip);
    let journal = file.journal();
    let state = journal.state(false);
    if state != State::Proved || !journal.plan().can_promote() {
        return Err(wrong_state("promote", restore, state, journal.next_actions(state)));
    }
    if !journal.plan().confirmed_by(&options.confirm) {
        return Err(Error::new(Kind::Refused, "promote without the hash of the plan that was shown")
            .with("restore", restore)
            .code("E0611")
            .effect("live data is untouched")
            .hint(format!("look at it with `recoup show {restore}`, then repeat with its hash")));
    }
    if journal.outcome() != Outcome::Pass && !options.accept_damage {
        return Err(Error::new(Kind::Refused, "promote restored data that is not wholly proved")
            .with("restore", restore)
            .code("E0613")
            .effect("live data is untouched")
            .hint(format!("see `recoup show {restore}`; `--accept-damage` promotes it all the same")));
    }
    unless_held(session, file.journal().plan()).await?;
    let intended = intended(file.journal().plan(), None);
    trail.intent(restore, Details { accepted_damage: options.accept_damage, ..intended }).await?;
    announce(session, file.journal().plan());
    if let Some(gate) = file.journal().gate_step() {
        file.note(session.env().now(), gate, StepEvent::Started)?;
    }
    let location = file.journal().plan().location.clone();
    follow(session, &mut file, RestoreActor::new(session, &location, None), Goal::Promoted, Vec::new()).await
}

/// Switches back to the data that was live before.
///
/// # Errors
/// `Kind::Refused` `E0612` if it was not promoted.
pub async fn rollback(session: &Session, restore: &str, trip: Option<Trip>) -> Result<RestoreReport> {
    let mut trail = Trail::new(session, audit::Event::Rollback);
    let done = switch_back(session, restore, trip, &mut trail).await;
    trail.end(done).await
}

async fn switch_back(
    session: &Session,
    restore: &str,
    trip: Option<Trip>,
    trail: &mut Trail<'_>,
) -> Result<RestoreReport> {
    let mut file = JournalFile::open(&session.journals(), restore)?;
    file.trip(trip);
    let state = file.journal().state(false);
    let halfway = state == State::Interrupted && file.journal().goal() != Goal::Proved;
    if state != State::Promoted && state != State::Stuck && !halfway {
        return Err(wrong_state("roll back", restore, state, file.journal().next_actions(state)));
    }
    trail.intent(restore, intended(file.journal().plan(), None)).await?;
    announce(session, file.journal().plan());
    let location = file.journal().plan().location.clone();
    follow(session, &mut file, RestoreActor::new(session, &location, None), Goal::RolledBack, Vec::new())
        .await
}

/// Goes on with a restore that was interrupted or is stuck: forward or back, whichever way it was going.
///
/// # Errors
/// `Kind::Refused` `E0612` if there is nothing to go on with.
pub async fn resume(session: &Session, restore: &str, trip: Option<Trip>) -> Result<RestoreReport> {
    let mut trail = Trail::new(session, audit::Event::Resume);
    let done = go_on(session, restore, trip, &mut trail).await;
    trail.end(done).await
}

async fn go_on(
    session: &Session,
    restore: &str,
    trip: Option<Trip>,
    trail: &mut Trail<'_>,
) -> Result<RestoreReport> {
    let mut file = JournalFile::open(&session.journals(), restore)?;
    file.trip(trip);
    let state = file.journal().state(false);
    if !matches!(state, State::Planned | State::Interrupted | State::Stuck) {
        return Err(wrong_state("resume", restore, state, file.journal().next_actions(state)));
    }
    trail.intent(restore, intended(file.journal().plan(), None)).await?;
    announce(session, file.journal().plan());
    let goal = file.journal().goal();
    let location = file.journal().plan().location.clone();
    follow(session, &mut file, RestoreActor::new(session, &location, None), goal, Vec::new()).await
}

/// What a restore has done so far.
///
/// # Errors
/// `Kind::NotFound` `E0610`; `Kind::Corrupt`.
pub fn look(session: &Session, restore: &str) -> Result<RestoreReport> {
    let (journal, alive) = JournalFile::peek(&session.journals(), restore)?;
    let state = journal.state(alive);
    Ok(RestoreReport::of(&journal, state, None, Vec::new()))
}

/// Follows the plan towards `goal` and reports. An interruption is a report that says how to resume.
async fn follow(
    session: &Session,
    file: &mut JournalFile,
    actor: RestoreActor<'_>,
    goal: Goal,
    findings: Vec<Finding>,
) -> Result<RestoreReport> {
    let mut bound = Bound::new(actor, &file.journal().plan().steps.clone());
    let ended = run(file, &mut bound, goal, session.app(), session.env()).await;
    bound.release().await;
    let error = match ended {
        Ok(error) => error,
        Err(e) if e.kind() == Kind::Interrupted => Some(e),
        Err(e) => return Err(e),
    };
    let state = file.journal().state(false);
    // An interruption after the last event interrupted nothing.
    let error = error.filter(|e| e.kind() != Kind::Interrupted || state == State::Interrupted);
    let report = RestoreReport::of(file.journal(), state, error.as_ref(), findings);
    if goal == Goal::Proved && state == State::Proved {
        session.catalog()?.keep(&Run {
            id: report.restore.clone(),
            kind: RunKind::Restore,
            at: session.env().now(),
            outcome: report.outcome,
            location: report.location.clone(),
            point: report.point.clone(),
            sources: sources_of(file.journal().plan()),
            document: serde_json::to_value(&report).unwrap_or_default(),
        })?;
    }
    Ok(report)
}

/// Opens the location, lists the points, and finds the one that is meant and holds all that is wanted.
pub(crate) async fn choose_point(
    session: &Session,
    addresses: &[String],
    at: Option<&str>,
    location: Option<&str>,
) -> Result<Chosen> {
    let moment = session.moment(at)?;
    let wanted = session.select(addresses)?;
    let place = session.place(location)?;
    let repo = session.repository(&place).await?;
    let mut catalog = session.catalog()?;
    let (mut listing, _) = attest::list(session, &place, &repo, &mut catalog, Reading::New).await?;
    if !addresses.is_empty() {
        // "The latest" of a source is the latest point that holds it.
        listing.points.retain(|p| wanted.iter().all(|name| p.document.source(name).is_some()));
    }
    let point = point::find_with(&listing.points, &listing.unattested, &moment)?.clone();
    let names = if addresses.is_empty() {
        point.document.sources.iter().map(|s| s.name.clone()).collect()
    } else {
        wanted
    };
    Ok(Chosen { place, repo, point, names, findings: listing.findings })
}

async fn decide(session: &Session, chosen: &Chosen, options: &RestoreOptions) -> Result<Plan> {
    let goes = match &options.to {
        None => Goes::Aside,
        Some(dir) => {
            Goes::Folder(std::path::absolute(dir).map_err(|e| Error::io("find the target folder", e))?)
        }
    };
    let id = session.run_id('R');
    let compat = compat_of(session, &chosen.point).await;
    let facts = gather(session, &id, &chosen.point, &chosen.place.name, &chosen.names, &goes, compat)?;
    plan::choose(&facts)
}

/// The migrations of the point against those of the code in the project.
pub(crate) async fn compat_of(session: &Session, point: &Point) -> Compat {
    let code = crate::provenance::gather(session.loaded(), None, false).await.migrations_in_code;
    plan::compare(point.document.migrations.as_ref(), code.value())
}

fn compat_finding(session: &Session, plan: &Plan) -> Option<Finding> {
    if !matches!(plan.compat.relation, Relation::Behind | Relation::Ahead | Relation::Diverged) {
        return None;
    }
    let fix = match plan.compat.relation {
        Relation::Behind => "run the migrations after promoting",
        _ => "use the code revision recorded with the point",
    };
    Some(Finding::new("R0103", Severity::Warning, session.app(), plan.compat.detail.clone(), fix))
}

/// A plan that stops no service looks before anything is written down.
async fn unless_held(session: &Session, plan: &Plan) -> Result<()> {
    if plan.steps.iter().any(|s| matches!(s.action, Action::Stop { .. })) {
        return Ok(());
    }
    let actor = RestoreActor::new(session, &plan.location, None);
    let mut bound = Bound::new(actor, &plan.steps);
    for step in plan.steps.iter().filter(|s| matches!(s.action, Action::Holders { .. })) {
        execute::Actor::act(&mut bound, step).await.map_err(|e| e.error)?;
    }
    Ok(())
}

/// What the audit log keeps of a plan before anybody follows it.
fn intended(plan: &Plan, target: Option<Target>) -> Details {
    Details {
        sources: sources_of(plan).iter().map(|name| Name::of(name)).collect(),
        locations: vec![Name::of(&plan.location)],
        point: Hex::of(&plan.point),
        plan: Hex::of(&plan.hash()),
        target,
        ..Details::default()
    }
}

/// Whoever kills the process from here on finds the command that resumes in the last checkpoint.
fn announce(session: &Session, plan: &Plan) {
    let message = format!("recoup resume {}", plan.restore);
    session.env().emit(Event::Checkpoint { stage: "resume".into(), message });
}

fn wrong_state(doing: &str, restore: &str, state: State, next: Vec<String>) -> Error {
    let state = report::state_word(state);
    Error::new(Kind::Refused, format!("{doing} a restore that is {state}"))
        .with("restore", restore)
        .code("E0612")
        .effect("nothing was changed")
        .hint(format!("next: {}", next.join("; ")))
}

fn sources_of(plan: &Plan) -> Vec<String> {
    let fetched = |a: &Action| if let Action::Fetch { source, .. } = a { Some(source.clone()) } else { None };
    plan.steps.iter().filter_map(|s| fetched(&s.action)).collect()
}

/// Bytes per second of the last restore that was large enough to tell.
pub(crate) fn measured_rate(session: &Session) -> Option<u64> {
    const BYTES_MIN: u64 = 16 << 20;
    let runs = session.catalog().ok()?.runs(RunKind::Restore, 1).ok()?;
    let document = &runs.first()?.document;
    let bytes = document["forecast"]["bytes"].as_u64().filter(|b| *b >= BYTES_MIN)?;
    let seconds = document["seconds"].as_f64().filter(|s| *s > 0.0)?;
    Some((bytes as f64 / seconds) as u64)
}
