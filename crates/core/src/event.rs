//! The one vocabulary of things that happened. The terminal, `--output jsonl`, the agent and the
//! Python client all read these and nothing else.

use serde::{Deserialize, Serialize};

/// How sure recoup is. Unknown is never shown as pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done, and all that was asked was proven.
    Pass,
    /// Could not find out.
    Unknown,
    /// The durable minimum is met, something else is missing.
    Partial,
    /// Ran to the end and the answer is bad.
    Fail,
    /// A guard said no.
    Refused,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Should be mended.
    Warning,
    /// Breaks the promise.
    High,
}

/// Something noticed, with the way to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code, explained by `recoup explain`.
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it concerns: `APP/SOURCE[/...]`, a file, a location.
    pub address: String,
    /// One sentence; names from outside are already escaped.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    /// A finding; `message` and `fix` are one sentence each.
    pub fn new(
        id: &str,
        severity: Severity,
        address: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Finding {
            id: id.to_owned(),
            severity,
            address: address.into(),
            message: message.into(),
            fix: fix.into(),
        }
    }
}

/// What happened, once, for many readers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum Event {
    /// A stage begins.
    #[serde(rename = "stage.start")]
    StageStart {
        /// Stable name of the stage, as in `capture`.
        stage: String,
        /// What it works on, as in `shop/db`.
        address: String,
    },
    /// A stage is under way. Counters only grow.
    #[serde(rename = "progress")]
    Progress {
        /// Stable name of the stage.
        stage: String,
        /// What it works on.
        address: String,
        /// Bytes done.
        bytes: u64,
        /// Bytes in all, if known.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        bytes_total: Option<u64>,
        /// Things done: files, packs, rows.
        items: u64,
        /// Things in all, if known.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        items_total: Option<u64>,
    },
    /// Something was noticed.
    #[serde(rename = "finding")]
    Finding(Finding),
    /// Something durable was reached; a run that stops after it goes on from here.
    #[serde(rename = "checkpoint")]
    Checkpoint {
        /// Stable name of the stage.
        stage: String,
        /// What is durable now.
        message: String,
    },
    /// A stage is over.
    #[serde(rename = "stage.end")]
    StageEnd {
        /// Stable name of the stage.
        stage: String,
        /// What it worked on.
        address: String,
        /// How long it took.
        seconds: f64,
        /// How it ended.
        outcome: Outcome,
        /// One line for people, as in `48.1 MB, 214 tables`.
        message: String,
    },
}

/// Where events go.
pub trait Sink: Send + Sync {
    /// Takes one event. Must not block for long and cannot fail.
    fn emit(&self, event: Event);
}

/// Takes everything and keeps nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Sink for Silent {
    fn emit(&self, _event: Event) {}
}
