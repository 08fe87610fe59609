//! State is a fold over a journal. The executor appends an event, makes it durable, and only then
//! acts; so whatever was killed can be gone on with from the journal alone.
//!
//! [`Journal::next`] is the whole decision: given what has happened and a [`Goal`], which step is done
//! or undone next. Failure before the gate stops and can be resumed; failure after it turns round and
//! undoes everything down to and with the gate. A failed undo is the named state *stuck*.

use crate::event::{Finding, Outcome};
use crate::plan::{Action, Phase, Plan, Purpose, Step};
use crate::{Error, Kind, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const SCHEMA: &str = "recoup/journal/1";

/// What happened to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepEvent {
    /// It is about to be done. May come again after a crash.
    Started,
    /// It is done.
    Done,
    /// It could not be done.
    Failed,
    /// It is about to be undone. May come again after a crash or a failed undo.
    UndoStarted,
    /// It is undone.
    Undone,
    /// It could not be undone; a person is needed.
    UndoFailed,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// Which step.
    pub step: u32,
    /// What happened to it.
    pub event: StepEvent,
    /// How the step ended, for [`StepEvent::Done`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Outcome>,
    /// How long it took, for ends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seconds: Option<f64>,
    /// One line for people; names from outside are already escaped.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
    /// Stable code of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// What was noticed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub findings: Vec<Finding>,
}

impl Record {
    /// A bare record.
    pub fn new(at: Timestamp, step: u32, event: StepEvent) -> Self {
        Record {
            at,
            step,
            event,
            outcome: None,
            seconds: None,
            message: String::new(),
            code: None,
            findings: Vec::new(),
        }
    }
}

/// Where a restore stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing has been done.
    Planned,
    /// A process is at it.
    Running,
    /// Everything before the gate is done; live data is untouched.
    Proved,
    /// The restored data is live.
    Promoted,
    /// The old data is live again.
    RolledBack,
    /// An undo failed; a person is needed.
    Stuck,
    /// Stopped halfway; `recoup resume` goes on.
    Interrupted,
    /// The restored data was deleted again.
    Discarded,
}

/// What the executor is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Everything up to the gate.
    Proved,
    /// Through the gate to the end.
    Promoted,
    /// Back to before the gate.
    RolledBack,
    /// Nothing left: the restored data deleted.
    Discarded,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Do this step.
    Do(u32),
    /// Undo this step.
    Undo(u32),
    /// There is nothing left to do for this goal.
    Rest,
}

/// A plan and what has happened to it.
#[derive(Clone, Debug)]
pub struct Journal {
    plan: Plan,
    last: Vec<Option<StepEvent>>,
    backward: bool,
    switched: bool,
    records: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    schema: String,
    hash: String,
    plan: Plan,
}

impl Journal {
    /// An empty journal for `plan`.
    pub fn new(plan: Plan) -> Self {
        let last = vec![None; plan.steps.len()];
        Journal { plan, last, backward: false, switched: false, records: Vec::new() }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What has happened, in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Takes one more event.
    ///
    /// # Errors
    /// `Kind::Corrupt` `E0631` if the event cannot follow what has happened; the journal is unchanged.
    pub fn apply(&mut self, record: Record) -> Result<()> {
        let index = self.check(&record)?;
        let gate = matches!(self.plan.steps[index].action, Action::Gate {});
        if record.event == StepEvent::Started && gate {
            // A new attempt: what the last one undid counts as never begun.
            for slot in &mut self.last[index..] {
                *slot = None;
            }
        }
        self.last[index] = Some(record.event);
        self.backward = match record.event {
            StepEvent::Started | StepEvent::Done => false,
            StepEvent::Failed => self.plan.steps[index].phase == Phase::Promote,
            StepEvent::UndoStarted | StepEvent::Undone | StepEvent::UndoFailed => true,
        };
        self.switched |= matches!(self.plan.steps[index].action, Action::Switch { .. });
        self.records.push(record);
        Ok(())
    }

    fn check(&self, record: &Record) -> Result<usize> {
        let illegal = |why: &str| {
            Error::new(Kind::Corrupt, format!("read the journal of a restore: {why}"))
                .with("restore", &self.plan.restore)
                .with("step", record.step)
                .with("event", format!("{:?}", record.event))
                .code("E0631")
        };
        let index = self.plan.steps.iter().position(|s| s.id == record.step);
        let index = index.ok_or_else(|| illegal("the plan has no such step"))?;
        use StepEvent as E;
        let fits = match (self.last[index], record.event) {
            (None | Some(E::Undone | E::Started | E::Failed), E::Started) => {
                self.last[..index].iter().all(|l| *l == Some(E::Done))
            }
            (Some(E::Started), E::Done | E::Failed) => true,
            (Some(E::Started | E::Done | E::Failed | E::UndoStarted | E::UndoFailed), E::UndoStarted) => {
                self.last[index + 1..].iter().all(|l| matches!(l, None | Some(E::Undone)))
            }
            (Some(E::UndoStarted), E::Undone | E::UndoFailed) => true,
            _ => false,
        };
        if fits { Ok(index) } else { Err(illegal("this event cannot come here")) }
    }

    /// Where it stands. `alive` says whether a process is at it right now.
    pub fn state(&self, alive: bool) -> State {
        if self.last.contains(&Some(StepEvent::UndoFailed)) {
            return State::Stuck;
        }
        if alive {
            return State::Running;
        }
        if self.records.is_empty() {
            return State::Planned;
        }
        if self.last.iter().all(|l| matches!(l, None | Some(StepEvent::Undone))) {
            return State::Discarded;
        }
        let (aside, promote) = self.last.split_at(self.gate());
        let all = |events: &[Option<StepEvent>]| events.iter().all(|l| *l == Some(StepEvent::Done));
        let idle = promote.iter().all(|l| matches!(l, None | Some(StepEvent::Undone)));
        match (all(aside), idle) {
            (true, _) if !promote.is_empty() && all(promote) => State::Promoted,
            (true, true) if self.switched => State::RolledBack,
            (true, true) => State::Proved,
            _ => State::Interrupted,
        }
    }

    /// The one decision of every executor. An executor stops when it has appended `Failed` before the
    /// gate, or `UndoFailed` anywhere. A promotion that turned round rests there; another attempt begins
    /// by appending `Started` for the gate, which is what confirming means.
    pub fn next(&self, goal: Goal) -> Next {
        let gate = self.gate();
        let floor = match goal {
            Goal::Discarded => 0,
            Goal::RolledBack => gate,
            Goal::Promoted if self.backward => gate,
            Goal::Proved => return self.first_open(gate),
            Goal::Promoted => return self.first_open(self.last.len()),
        };
        match self.last.iter().rposition(|l| !matches!(l, None | Some(StepEvent::Undone))) {
            Some(index) if index >= floor => Next::Undo(self.plan.steps[index].id),
            _ => Next::Rest,
        }
    }

    /// The goal that `recoup resume` goes on towards: the one that was given up halfway.
    pub fn goal(&self) -> Goal {
        let gate = self.gate();
        if self.backward && self.last[..gate].iter().any(|l| *l != Some(StepEvent::Done)) {
            return Goal::Discarded;
        }
        match (self.busy_from(gate), self.backward) {
            (true, false) => Goal::Promoted,
            (true, true) => Goal::RolledBack,
            (false, _) => Goal::Proved,
        }
    }

    /// The worst outcome among the steps that are done; `Pass` if there is none.
    pub fn outcome(&self) -> Outcome {
        let mut worst = Outcome::Pass;
        for step in &self.plan.steps {
            let ended = self.records.iter().rev().find(|r| r.step == step.id && r.event == StepEvent::Done);
            worst = worst.max(ended.and_then(|r| r.outcome).unwrap_or(Outcome::Pass));
        }
        worst
    }

    /// What was noticed in the last run of each step, in the order of the steps.
    pub fn findings(&self) -> Vec<Finding> {
        let last = |id: u32| {
            let own = self.records.iter().rev().filter(move |r| r.step == id);
            own.take_while(|r| r.event != StepEvent::Started).flat_map(|r| r.findings.iter().cloned())
        };
        self.plan.steps.iter().flat_map(|s| last(s.id)).collect()
    }

    /// The last thing that went wrong, if it still stands.
    pub fn failure(&self) -> Option<(&Step, &Record)> {
        let bad = |e: StepEvent| matches!(e, StepEvent::Failed | StepEvent::UndoFailed);
        let index = self.records.iter().rposition(|r| bad(r.event))?;
        let record = &self.records[index];
        let mend = if record.event == StepEvent::Failed { StepEvent::Done } else { StepEvent::Undone };
        let mended = self.records[index..].iter().any(|r| r.step == record.step && r.event == mend);
        if mended { None } else { Some((self.plan.step(record.step)?, record)) }
    }

    /// What a person can do now, the likeliest first: commands, or one sentence where no command helps.
    pub fn next_actions(&self, state: State) -> Vec<String> {
        let (id, hash) = (&self.plan.restore, self.plan.short_hash());
        match state {
            State::Planned | State::Interrupted => vec![format!("recoup resume {id}")],
            State::Running => vec![format!("recoup show {id}")],
            State::Proved if self.plan.can_promote() => vec![format!("recoup promote {id} --confirm {hash}")],
            State::Proved if self.plan.purpose == Purpose::Folder => {
                vec![format!("look at {}", self.plan.target)]
            }
            State::Promoted => vec![format!("recoup rollback {id}")],
            State::Stuck => {
                let what = self.failure().map_or_else(String::new, |(step, r)| {
                    format!(
                        "step {} ({}) could not be undone: {}; mend that by hand first",
                        step.id, step.action, r.message
                    )
                });
                vec![what, format!("recoup resume {id}")]
            }
            State::Proved | State::RolledBack | State::Discarded => vec!["recoup points".into()],
        }
    }

    /// The first line of the file, with its line end.
    pub fn encode_header(&self) -> String {
        let header = Header { schema: SCHEMA.into(), hash: self.plan.hash(), plan: self.plan.clone() };
        line(&header)
    }

    /// A record as a line, with its line end.
    pub fn encode(record: &Record) -> String {
        line(record)
    }

    /// Reads a journal file. A last line without its end was being written when the machine stopped: it
    /// never counted, and the second value says how many bytes of the file are whole.
    ///
    /// # Errors
    /// `Kind::Corrupt` `E0630` if the plan is not readable or not the one that was hashed, `E0631` if the
    /// events make no sense.
    pub fn parse(bytes: &[u8]) -> Result<(Journal, usize)> {
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let bad = |why: &str| {
            Error::new(Kind::Corrupt, format!("read the journal of a restore: {why}")).code("E0630")
        };
        let mut lines = bytes[..whole].split(|b| *b == b'\n').filter(|l| !l.is_empty());
        let first = lines.next().ok_or_else(|| bad("it has no plan"))?;
        let header: Header =
            serde_json::from_slice(first).map_err(|e| bad("its plan is damaged").caused_by(e))?;
        if header.schema != SCHEMA || header.plan.hash() != header.hash {
            return Err(bad("its plan is not the one that was decided"));
        }
        let mut journal = Journal::new(header.plan);
        for text in lines {
            let record = serde_json::from_slice(text).map_err(|e| bad("an event is damaged").caused_by(e))?;
            journal.apply(record)?;
        }
        Ok((journal, whole))
    }

    /// The number of the gate, if the plan has one.
    pub fn gate_step(&self) -> Option<u32> {
        self.plan.steps.get(self.gate()).map(|s| s.id)
    }

    fn gate(&self) -> usize {
        self.plan.steps.iter().position(|s| s.phase == Phase::Promote).unwrap_or(self.plan.steps.len())
    }

    fn busy_from(&self, from: usize) -> bool {
        self.last[from..].iter().any(|l| !matches!(l, None | Some(StepEvent::Undone)))
    }

    fn first_open(&self, end: usize) -> Next {
        let open = self.last[..end].iter().position(|l| *l != Some(StepEvent::Done));
        open.map_or(Next::Rest, |index| Next::Do(self.plan.steps[index].id))
    }
}

fn line(value: &impl Serialize) -> String {
    // Strings, numbers and lists only: it always serialises, and never holds a raw line end.
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
