//! The loop that follows a plan: ask the journal what is next, write it down, do it, write down how it
//! ended. Everything that decides stands in `recoup_core::journal`.

use super::file::JournalFile;
use async_trait::async_trait;
use recoup_core::env::Env;
use recoup_core::event::{Event, Finding, Outcome};
use recoup_core::journal::{Goal, Next, Record, StepEvent};
use recoup_core::plan::{Phase, Step};
use recoup_core::{Error, Kind, Result};
use std::time::Duration;

/// How a step ended.
#[derive(Clone, Debug)]
pub(crate) struct Acted {
    /// `Pass`, `Partial` or `Unknown`; what fails is an error.
    pub(crate) outcome: Outcome,
    /// One line for people.
    pub(crate) message: String,
    /// What was noticed.
    pub(crate) findings: Vec<Finding>,
}

impl Acted {
    /// Ended well.
    pub(crate) fn pass(message: impl Into<String>) -> Self {
        Acted { outcome: Outcome::Pass, message: message.into(), findings: Vec::new() }
    }
}

/// A step that failed, with what was noticed on the way.
#[derive(Debug)]
pub(crate) struct StepError {
    /// Why.
    pub(crate) error: Error,
    /// What was noticed.
    pub(crate) findings: Vec<Finding>,
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        StepError { error, findings: Vec::new() }
    }
}

/// Does and undoes steps. Both may be asked twice for one step and end in the same state.
#[async_trait]
pub(crate) trait Actor: Send {
    /// Does `step`.
    async fn act(&mut self, step: &Step) -> Result<Acted, StepError>;
    /// Undoes `step`, whether it was done, half done or not begun.
    async fn undo(&mut self, step: &Step) -> Result<Acted, StepError>;
}

/// Follows the plan towards `goal`. Gives the error of the step that stopped it or turned it round, if any.
///
/// # Errors
/// If the journal cannot be written, or the run was interrupted; the restore can be resumed then.
pub(crate) async fn run(
    file: &mut JournalFile,
    actor: &mut dyn Actor,
    goal: Goal,
    application: &str,
    env: &Env,
) -> Result<Option<Error>> {
    let mut first = None;
    loop {
        let (id, forward) = match file.journal().next(goal) {
            Next::Rest => return Ok(first),
            Next::Do(id) => (id, true),
            Next::Undo(id) => (id, false),
        };
        let step = file.journal().plan().step(id).cloned();
        let step = step.ok_or_else(|| Error::bug("follow a step that the plan does not have"))?;
        let failed = once(file, actor, &step, forward, application, env).await?;
        let stops = !forward || step.phase == Phase::Aside;
        if let Some(error) = failed {
            first.get_or_insert(error);
            if stops {
                return Ok(first);
            }
        }
    }
}

/// One step, written down before and after. The error of the step itself is a value.
async fn once(
    file: &mut JournalFile,
    actor: &mut dyn Actor,
    step: &Step,
    forward: bool,
    application: &str,
    env: &Env,
) -> Result<Option<Error>> {
    let (begin, good, bad) = if forward {
        (StepEvent::Started, StepEvent::Done, StepEvent::Failed)
    } else {
        (StepEvent::UndoStarted, StepEvent::Undone, StepEvent::UndoFailed)
    };
    let stage =
        if forward { step.action.stage().to_owned() } else { format!("undo {}", step.action.stage()) };
    let address = address(application, step.action.subject());
    file.note(env.now(), step.id, begin)?;
    env.emit(Event::StageStart { stage: stage.clone(), address: address.clone() });
    let started = env.clock.monotonic();
    let ended = if forward { actor.act(step).await } else { actor.undo(step).await };
    let seconds = seconds(env.clock.monotonic().saturating_sub(started));
    let mut record = Record { seconds: Some(seconds), ..Record::new(env.now(), step.id, good) };
    let mut error = None;
    match ended {
        Ok(acted) => {
            record.outcome = Some(acted.outcome);
            record.message = acted.message;
            record.findings = acted.findings;
        }
        Err(failed) if failed.error.kind() == Kind::Interrupted => return Err(failed.error),
        Err(failed) => {
            record.event = bad;
            record.outcome = Some(outcome_of(&failed.error));
            record.message = failed.error.to_string();
            record.code = failed.error.stable_code().map(str::to_owned);
            record.findings = failed.findings;
            error = Some(failed.error);
        }
    }
    for finding in &record.findings {
        env.emit(Event::Finding(finding.clone()));
    }
    env.emit(Event::StageEnd {
        stage,
        address,
        seconds,
        outcome: record.outcome.unwrap_or(Outcome::Pass),
        message: record.message.clone(),
    });
    file.append(record)?;
    Ok(error)
}

/// The outcome that a failed step stands for.
pub(crate) fn outcome_of(error: &Error) -> Outcome {
    match error.kind() {
        Kind::Refused | Kind::Conflict | Kind::Exists => Outcome::Refused,
        Kind::Corrupt | Kind::Config | Kind::Bug => Outcome::Fail,
        _ => Outcome::Unknown,
    }
}

/// `APP/SUBJECT`, or `APP` alone.
pub(crate) fn address(application: &str, subject: &str) -> String {
    if subject.is_empty() { application.to_owned() } else { format!("{application}/{subject}") }
}

/// Seconds with milliseconds.
pub(crate) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}
