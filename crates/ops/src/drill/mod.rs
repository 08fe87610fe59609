//! The drill: restored data is checked, the application runs on it in a sandbox, and the report says
//! what was proven, what failed and what could not be found out.
//! It never touches live data: what was restored into a scratch folder comes in as a [`Subject`].
//!
//! [`drill`] is the verb. [`checks::run`] and [`application::run`] look; [`report::finish`] judges by
//! `core::verdict` and writes the evidence.

pub mod subject;

mod sql;

mod rows;

mod references;

pub mod checks;

mod proof;

mod nearby;

pub mod application;

pub mod report;

mod gather;

pub mod verb;

pub use application::ApplicationResult;
pub use checks::ChecksResult;
pub use report::{DrillReport, Facts};
pub use subject::{Subject, SubjectService, SubjectSource};
pub use verb::{DrillOptions, drill, drill_by};

/// Runs a stage of a sandbox if this process was started as one, and gives its exit code. Must be the
/// first call of `main`, before there is a second thread.
pub fn sandbox_entry() -> Option<u8> {
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    crate::sandbox::entry(arguments).map(|code| u8::try_from(code).unwrap_or(1))
}
