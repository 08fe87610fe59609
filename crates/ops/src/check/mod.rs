//! `recoup check`: can the declared means keep the declared contract? Nothing is captured, opened or
//! run; what the last drills measured is handed in.
//!
//! Every answer points at the line to change. A proof that was never made is a warning and not a
//! failure, because before the first drill nothing can be known; a proof that failed or grew old is one.

mod kit;

mod means;

mod past;

pub use past::{Measured, Past};

use crate::config::{Loaded, Problem};
use recoup_core::env::Env;
use recoup_core::event::{Finding, Outcome, Severity};

/// What `check` found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// `Pass` if the contract can be kept as far as can be told, `Fail` if it cannot.
    pub outcome: Outcome,
    /// Everything found, errors first, in the order of the file.
    pub problems: Vec<Problem>,
    /// How many sources and classes were looked at.
    pub sources: usize,
    /// Of the classes that sources use.
    pub classes: usize,
}

impl CheckReport {
    /// The problems as findings for scripts.
    pub fn findings(&self) -> Vec<Finding> {
        self.problems.iter().map(Problem::finding).collect()
    }

    /// The problems with their lines, as a compiler would show them.
    pub fn text(&self) -> String {
        self.problems.iter().map(Problem::render).collect::<Vec<_>>().join("\n\n")
    }
}

/// Checks the contract against the means and the last drills.
pub fn check(loaded: &Loaded, past: &Past, env: &Env) -> CheckReport {
    let mut problems = loaded.warnings.clone();
    problems.extend(means::check(loaded));
    problems.extend(past::check(loaded, past, env.now()));
    problems.extend(kit::check(loaded, past, env.now()));
    problems.sort_by_key(|p| (p.severity != Severity::High, p.at.as_ref().map(|at| at.span.start)));
    let failed = problems.iter().any(|p| p.severity == Severity::High);
    let config = &loaded.config;
    let used = config.classes.keys().filter(|name| config.sources.values().any(|s| &s.class == *name));
    CheckReport {
        outcome: if failed { Outcome::Fail } else { Outcome::Pass },
        problems,
        sources: config.sources.len(),
        classes: used.count(),
    }
}
