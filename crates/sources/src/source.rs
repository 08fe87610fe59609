//! The seam every kind of live data implements.

use crate::artifact::{Capture, Check, Description, Facts};
use crate::process::Holding;
use async_trait::async_trait;
use recoup_core::Result;
use recoup_core::env::Env;
use std::path::Path;

/// What a capture may use.
pub struct CaptureContext<'a> {
    /// The world.
    pub env: &'a Env,
    /// Address of the source, as in `shop/db`; findings carry it.
    pub address: &'a str,
    /// An existing private directory for copies, emptied by its owner after the capture.
    pub scratch: &'a Path,
    /// Facts of the last point that counted, if there is one.
    pub previous: Option<&'a Facts>,
}

/// One kind of live data.
///
/// `restored` is always the directory that holds what [`Capture::folder`] listed, on the same
/// machine. `keep` is a path beside the live data, on the same file system, that does not exist
/// before the switch and holds the replaced data after it.
#[async_trait]
pub trait Source: Send + Sync {
    /// Stable name of the kind, as in `sqlite`.
    fn kind(&self) -> &'static str;

    /// Says what is there now.
    ///
    /// # Errors
    /// As the operating system says; live data that is missing is an answer and no error.
    async fn describe(&self, env: &Env) -> Result<Description>;

    /// Captures the live data, without ever changing it.
    ///
    /// # Errors
    /// Codes E0500 to E0549; nothing was captured then.
    async fn capture(&self, context: &CaptureContext<'_>) -> Result<Capture>;

    /// Checks restored data on a private copy; what is in `restored` stays as it is.
    ///
    /// # Errors
    /// Only if no check could be made at all; a failed check is a value.
    async fn prove(&self, restored: &Path, facts: &Facts, env: &Env) -> Result<Vec<Check>>;

    /// Who holds the live data open.
    ///
    /// # Errors
    /// If the processes of this host cannot be listed.
    async fn holders(&self) -> Result<Holding>;

    /// Where the replaced data should be kept: a path beside the live data, made from `label`.
    fn keep_path(&self, label: &str) -> std::path::PathBuf;

    /// Puts `restored` in place of the live data and the live data into `keep`, in one atomic step.
    /// Running it again after a crash or after success ends in the same state.
    ///
    /// # Errors
    /// `Kind::Refused` while somebody holds the live data open, or where the switch cannot be
    /// atomic; nothing was changed then.
    async fn switch(&self, restored: &Path, keep: &Path, env: &Env) -> Result<()>;

    /// Puts the data in `keep` back. What was live goes back to `restored`. May run twice, like `switch`.
    ///
    /// # Errors
    /// As `switch`.
    async fn switch_back(&self, restored: &Path, keep: &Path, env: &Env) -> Result<()>;

    /// The ability to be followed continuously, if the kind has it.
    fn follow(&self) -> Option<&dyn Follow> {
        None
    }

    /// The ability to run a scratch server, if the kind has it.
    fn scratch(&self) -> Option<&dyn Scratch> {
        None
    }
}

/// Continuous capture of a log after a base. No kind has it yet.
pub trait Follow: Send + Sync {}

/// A scratch server on restored data. No kind has it yet.
pub trait Scratch: Send + Sync {}
