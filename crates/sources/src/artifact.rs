//! What a capture hands over, and what is known about it: the tree, the facts, the proof.

use crate::position::Position;
use recoup_core::entry::{Entry, Folder};
use recoup_core::event::{Finding, Outcome};
use serde::{Deserialize, Serialize};

/// What a source knows about one capture. It is stored with the point, compared with the restored
/// copy by `prove`, and shown to the next capture.
pub type Facts = serde_json::Map<String, serde_json::Value>;

/// What is there now, found without capturing it.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// Whether the live data exists.
    pub exists: bool,
    /// Size in bytes, if it can be told cheaply.
    pub bytes: Option<u64>,
    /// Files, tables or keys, if they can be told cheaply.
    pub items: Option<u64>,
    /// What else is known.
    pub facts: Facts,
    /// What should be mended.
    pub findings: Vec<Finding>,
}

/// One capture, ready to be read. It is read through `folder`; afterwards `after` says whether it counts.
pub struct Capture {
    /// Metadata of the directory that `folder` lists; its name is the one of the live directory and
    /// is replaced by the name of the source.
    pub root: Entry,
    /// The content.
    pub folder: Box<dyn Folder>,
    /// Where in its history the source stood.
    pub position: Option<Position>,
    /// What is known before the content was read.
    pub facts: Facts,
    /// What was noticed before the content was read.
    pub findings: Vec<Finding>,
    /// Judges the capture once the folder was read. Private copies live until it is dropped.
    pub after: Box<dyn Settle>,
}

/// What a reader of the folder saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeCounts {
    /// Files stored, whether changed or not.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Paths that could not be stored.
    pub errors: u64,
}

/// The second half of a capture: judges what was read.
pub trait Settle: Send {
    /// Says whether the capture is complete. Never fails: not knowing is not complete.
    fn settle(self: Box<Self>, counts: TreeCounts) -> Proof;
}

/// Whether a capture may count as good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Whether everything that was to be captured was captured.
    pub complete: bool,
    /// Why not, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// All facts: those of the capture and those learnt while reading.
    pub facts: Facts,
    /// What was noticed while reading.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub findings: Vec<Finding>,
}

/// One check of a restored copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable name, as in `integrity`.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// One line for people.
    pub detail: String,
    /// The finding, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finding: Option<Finding>,
}

impl Check {
    /// A check that ended well.
    pub fn pass(name: &str, detail: impl Into<String>) -> Self {
        Check { name: name.to_owned(), outcome: Outcome::Pass, detail: detail.into(), finding: None }
    }

    /// A check that ended with `finding`.
    pub fn found(name: &str, outcome: Outcome, finding: Finding) -> Self {
        Check { name: name.to_owned(), outcome, detail: finding.message.clone(), finding: Some(finding) }
    }

    /// A check that could not be made.
    pub fn unknown(name: &str, detail: impl Into<String>) -> Self {
        Check { name: name.to_owned(), outcome: Outcome::Unknown, detail: detail.into(), finding: None }
    }
}
