//! What a restore tells: the document for scripts, with the state, the stages, and what to do next.

use super::execute::{address, outcome_of};
use crate::audit::{Reported, Told};
use crate::point::{Stage, name};
use jiff::Timestamp;
use recoup_core::Error;
use recoup_core::audit::Details;
use recoup_core::audit::words::{Code, Hex, Name};
use recoup_core::event::{Finding, Outcome};
use recoup_core::journal::{Journal, Record, State, StepEvent};
use recoup_core::plan::{Compat, Forecast, Phase};
use serde::Serialize;

/// A restore, at whatever stage.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreReport {
    /// Its name.
    pub restore: String,
    /// Where it stands.
    pub state: State,
    /// Full id of the point.
    pub point: String,
    /// Name of the point for people.
    pub point_name: String,
    /// The moment it stands for.
    pub time: Timestamp,
    /// The location it is read from.
    pub location: String,
    /// Where the result lies.
    pub target: String,
    /// Hash of the plan.
    pub plan: String,
    /// What a person types to confirm it.
    pub confirm: String,
    /// Point against code.
    pub compat: Compat,
    /// What it costs and loses.
    pub forecast: Forecast,
    /// The steps for people, with `-- gate --` where it stops until somebody confirms.
    pub steps: Vec<String>,
    /// Steps that ended.
    pub stages: Vec<Stage>,
    /// The folders that hold the restored data.
    pub restored: Vec<Restored>,
    /// All ended steps together.
    pub seconds: f64,
    /// The command that resumes, if it can be resumed.
    pub resume: Option<String>,
    /// What can be done now.
    pub next: Vec<String>,
    /// Why it stopped or turned round.
    pub error: Option<Failure>,
    /// How it ended.
    #[serde(skip)]
    pub outcome: Outcome,
    /// Whether the plan has a part that changes live data.
    #[serde(skip)]
    pub can_promote: bool,
    /// Exit code.
    #[serde(skip)]
    pub code: u8,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// Where the data of a source lies.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// `APP/SOURCE`.
    pub address: String,
    /// Absolute path.
    pub path: String,
}

/// What went wrong, as far as it still stands.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Stable code.
    pub code: Option<String>,
    /// One sentence.
    pub message: String,
    /// The step, for people.
    pub step: Option<String>,
    /// What it means for the data.
    pub effect: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl RestoreReport {
    /// Reports on `journal`; `error` is what this run met.
    pub(crate) fn of(journal: &Journal, state: State, error: Option<&Error>, before: Vec<Finding>) -> Self {
        let plan = journal.plan();
        let stages = stages_of(journal);
        let mut findings = before;
        findings.extend(journal.findings());
        let outcome = outcome(journal, state, error);
        let next = journal.next_actions(state);
        let resumable = matches!(state, State::Interrupted | State::Stuck);
        RestoreReport {
            restore: plan.restore.clone(),
            state,
            point: plan.point.clone(),
            point_name: name(&plan.application, plan.point_time),
            time: plan.point_time,
            location: plan.location.clone(),
            target: plan.target.clone(),
            plan: plan.hash(),
            confirm: plan.short_hash(),
            compat: plan.compat.clone(),
            forecast: plan.forecast.clone(),
            steps: plan.steps.iter().map(|s| format!("{} {}", s.id, s.action)).collect(),
            restored: restored(journal),
            seconds: stages.iter().map(|s| s.seconds).sum(),
            stages,
            resume: resumable.then(|| format!("recoup resume {}", plan.restore)),
            next,
            error: failure(journal, error),
            outcome,
            can_promote: plan.can_promote(),
            code: exit_code(state, outcome),
            findings,
        }
    }
}

impl Reported for RestoreReport {
    fn told(&self) -> Told {
        let code = self.error.as_ref().and_then(|e| e.code.as_deref()).and_then(Code::of);
        let details = Details {
            sources: self.restored.iter().map(|r| Name::of(&r.address)).collect(),
            locations: vec![Name::of(&self.location)],
            point: Hex::of(&self.point),
            plan: Hex::of(&self.plan),
            bytes: Some(self.forecast.bytes),
            findings: code.into_iter().collect(),
            ..Details::default()
        };
        Told { run: self.restore.clone(), outcome: self.outcome, details, proven: Vec::new() }
    }

    fn findings(&mut self) -> &mut Vec<Finding> {
        &mut self.findings
    }
}

impl RestoreReport {
    /// The state as scripts read it.
    pub fn state_word(&self) -> String {
        state_word(self.state)
    }
}

pub(crate) fn state_word(state: State) -> String {
    serde_json::to_value(state).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The last end of every step that ended, in the order of the steps; undone steps say so.
fn stages_of(journal: &Journal) -> Vec<Stage> {
    let plan = journal.plan();
    let ends = |e: StepEvent| !matches!(e, StepEvent::Started | StepEvent::UndoStarted);
    let mut stages = Vec::new();
    for step in &plan.steps {
        let Some(record) = journal.records().iter().rev().find(|r| r.step == step.id && ends(r.event)) else {
            continue;
        };
        let stage = step.action.stage();
        let undone = matches!(record.event, StepEvent::Undone | StepEvent::UndoFailed);
        stages.push(Stage {
            name: if undone { format!("undo {stage}") } else { stage.to_owned() },
            address: address(&plan.application, step.action.subject()),
            seconds: record.seconds.unwrap_or(0.0),
            outcome: record.outcome.unwrap_or(Outcome::Pass),
            detail: record.message.clone(),
        });
    }
    stages
}

fn restored(journal: &Journal) -> Vec<Restored> {
    let plan = journal.plan();
    let done = |id: u32| {
        journal.records().iter().rev().find(|r| r.step == id).is_some_and(|r| r.event == StepEvent::Done)
    };
    let path = |action: &recoup_core::plan::Action| match action {
        recoup_core::plan::Action::Fetch { source, into, .. } => {
            Some(Restored { address: address(&plan.application, source), path: into.clone() })
        }
        _ => None,
    };
    plan.phase(Phase::Aside).filter(|s| done(s.id)).filter_map(|s| path(&s.action)).collect()
}

fn outcome(journal: &Journal, state: State, error: Option<&Error>) -> Outcome {
    let stands = journal.failure().map(|(_, record): (_, &Record)| record.outcome.unwrap_or(Outcome::Fail));
    match state {
        State::Proved | State::RolledBack | State::Promoted => {
            // A promotion that turned round is no success, although the data is safe.
            let turned = error.map(outcome_of).or(stands.filter(|_| state != State::Promoted));
            turned.unwrap_or_else(|| journal.outcome())
        }
        State::Planned | State::Running | State::Discarded => Outcome::Pass,
        State::Stuck => Outcome::Fail,
        State::Interrupted => stands.unwrap_or(Outcome::Unknown),
    }
}

/// The exit code: resumable is 6, unless the answer is known to be bad.
fn exit_code(state: State, outcome: Outcome) -> u8 {
    match (state, outcome) {
        (State::Interrupted, Outcome::Fail) => 1,
        (State::Interrupted, _) => 6,
        (State::Stuck, _) => 1,
        (_, Outcome::Pass) => 0,
        (_, Outcome::Fail) => 1,
        (_, Outcome::Unknown) => 3,
        (_, Outcome::Partial) => 4,
        (_, Outcome::Refused) => 5,
    }
}

fn failure(journal: &Journal, error: Option<&Error>) -> Option<Failure> {
    let stands = journal.failure();
    let step = stands.map(|(step, _)| step.action.to_string());
    if let Some(error) = error {
        return Some(Failure {
            code: error.stable_code().map(str::to_owned),
            message: error.to_string(),
            step,
            effect: error.effect_on_data().map(str::to_owned),
            hint: error.next_step().map(str::to_owned),
        });
    }
    stands.map(|(_, record)| Failure {
        code: record.code.clone(),
        message: record.message.clone(),
        step,
        effect: None,
        hint: None,
    })
}
