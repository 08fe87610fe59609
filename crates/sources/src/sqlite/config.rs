//! The keys of a `sqlite` source in `recoup.toml`.

use recoup_core::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A SQLite database.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The database file.
    pub path: String,
    /// The longest time recoup may keep writers waiting if the copy cannot be made between their
    /// changes. Only a database that is not in WAL mode ever needs it.
    #[serde(default = "lock_max")]
    #[schemars(with = "String")]
    pub lock_max: Span,
    /// Pages copied at once between the changes of others.
    #[serde(default = "step_pages")]
    #[schemars(range(min = 1))]
    pub step_pages: u32,
    /// How often the copy may begin again because somebody wrote, before the lock is taken.
    #[serde(default = "restarts_max")]
    pub restarts_max: u32,
}

impl SqliteConfig {
    /// The database at `path` with everything else as it is by default.
    pub fn new(path: impl Into<String>) -> Self {
        SqliteConfig {
            path: path.into(),
            lock_max: lock_max(),
            step_pages: step_pages(),
            restarts_max: restarts_max(),
        }
    }
}

fn lock_max() -> Span {
    Span(Duration::from_secs(5))
}

/// One MiB with the usual page of 4 KiB: a fraction of a millisecond from memory.
fn step_pages() -> u32 {
    256
}

fn restarts_max() -> u32 {
    3
}
