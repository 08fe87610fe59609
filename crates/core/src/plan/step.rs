//! The typed steps of a plan.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Before and after the gate. Nothing before it touches live data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Builds and proves beside the target. Undo is deletion.
    Aside,
    /// Changes live data. Undo is switching back.
    Promote,
}

/// How a service shows that it is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Asked with GET, if given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http: Option<String>,
    /// The status that counts as well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expect: Option<u16>,
    /// Run, if given; exit 0 counts as well.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub command: Vec<String>,
    /// How long it may take to become well, in seconds.
    pub within_seconds: u64,
}

/// One thing to do. Each is idempotent: a step that was killed is simply done again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Creates the folder that will hold the restored data of a source. Undo deletes it.
    Create {
        /// Name of the source.
        source: String,
        /// Absolute path.
        folder: String,
    },
    /// Writes the source's data from the point beneath the folder.
    Fetch {
        /// Name of the source.
        source: String,
        /// Full id of the snapshot.
        snapshot: String,
        /// Full id of the data tree.
        tree: String,
        /// Absolute path of the folder that takes the content.
        into: String,
        /// Content in bytes, as recorded with the point.
        bytes: u64,
    },
    /// Checks the restored data with the source's own means.
    Prove {
        /// Name of the source.
        source: String,
        /// Absolute path of what was fetched.
        restored: String,
    },
    /// Runs the declared checks of a drill.
    Checks {},
    /// Starts the application on the restored data in the sandbox of a drill.
    Application {},
    /// Everything before has been shown to a person who typed the hash.
    Gate {},
    /// Stops a service. Undo starts it.
    Stop {
        /// Name of the service.
        service: String,
        /// Argument vector that stops it.
        command: Vec<String>,
        /// Argument vector that starts it, for undo; empty if none is declared.
        start: Vec<String>,
        /// Time limit in seconds.
        within_seconds: u64,
    },
    /// Looks whether a process still holds the live data open; refuses and names it.
    Holders {
        /// Name of the source.
        source: String,
        /// The live target.
        target: String,
    },
    /// Makes the place where the old data will be kept. Undo removes it if it is empty.
    Keep {
        /// Name of the source.
        source: String,
        /// Absolute path of the place.
        keep: String,
    },
    /// The one atomic switch of a source to the restored data. Undo switches back.
    Switch {
        /// Name of the source.
        source: String,
        /// Absolute path of the restored data.
        restored: String,
        /// The live target.
        target: String,
        /// Where the old data goes.
        keep: String,
    },
    /// Starts a service. Undo stops it.
    Start {
        /// Name of the service.
        service: String,
        /// Argument vector that starts it.
        command: Vec<String>,
        /// Argument vector that stops it, for undo; empty if none is declared.
        stop: Vec<String>,
        /// Time limit in seconds.
        within_seconds: u64,
    },
    /// Asks a service whether it is well.
    Probe {
        /// Name of the service.
        service: String,
        /// How.
        health: Health,
    },
}

/// A step with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Counts from 1.
    pub id: u32,
    /// Before or after the gate.
    pub phase: Phase,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

impl Action {
    /// Stable name of the stage, for events and timings.
    pub fn stage(&self) -> &'static str {
        match self {
            Action::Create { .. } => "create",
            Action::Fetch { .. } => "fetch",
            Action::Prove { .. } => "prove",
            Action::Checks {} => "checks",
            Action::Application {} => "application",
            Action::Gate {} => "gate",
            Action::Stop { .. } => "stop",
            Action::Holders { .. } => "holders",
            Action::Keep { .. } => "keep",
            Action::Switch { .. } => "switch",
            Action::Start { .. } => "start",
            Action::Probe { .. } => "probe",
        }
    }

    /// The source or service it concerns; empty if it concerns the whole.
    pub fn subject(&self) -> &str {
        match self {
            Action::Create { source, .. }
            | Action::Fetch { source, .. }
            | Action::Prove { source, .. }
            | Action::Holders { source, .. }
            | Action::Keep { source, .. }
            | Action::Switch { source, .. } => source,
            Action::Stop { service, .. } | Action::Start { service, .. } | Action::Probe { service, .. } => {
                service
            }
            Action::Checks {} | Action::Application {} | Action::Gate {} => "",
        }
    }
}

impl fmt::Display for Action {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Create { folder, .. } => write!(f, "create the folder {folder}"),
            Action::Fetch { source, bytes, into, .. } => {
                write!(f, "fetch {source} ({}) into {into}", crate::units::ByteSize(*bytes))
            }
            Action::Prove { source, .. } => write!(f, "prove {source}"),
            Action::Checks {} => write!(f, "run the declared checks"),
            Action::Application {} => write!(f, "start the application on the restored data, sealed off"),
            Action::Gate {} => write!(f, "stop here until somebody confirms"),
            Action::Stop { service, .. } => write!(f, "stop {service}"),
            Action::Holders { target, .. } => write!(f, "make sure that no process has {target} open"),
            Action::Keep { source, keep } => write!(f, "make room for the old data of {source} at {keep}"),
            Action::Switch { source, target, .. } => {
                write!(f, "switch {source}: restored data becomes {target}")
            }
            Action::Start { service, .. } => write!(f, "start {service}"),
            Action::Probe { service, .. } => write!(f, "ask {service} whether it is well"),
        }
    }
}
