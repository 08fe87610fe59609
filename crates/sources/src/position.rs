//! Where in its history a source stood when it was captured.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in a history. Two places can be compared only within the same history: after a
/// discontinuity (a restored database, a new log) the history has another name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Names the history, as in `wal-8c1f20aa-77b1e2c0`.
    pub history: String,
    /// The place in it, in the terms of the kind, as in `frame 118`.
    pub place: String,
}

impl Position {
    /// A place in a history.
    pub fn new(history: impl Into<String>, place: impl Into<String>) -> Self {
        Position { history: history.into(), place: place.into() }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.place, self.history)
    }
}
