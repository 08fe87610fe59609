//! `recoup doctor`: what can this host do, and what would not work because of what it cannot? Each
//! question is tried and not guessed; what cannot be tried is unknown, never good.

mod host;

mod project;

use crate::config::Loaded;
use crate::env::Variables;
use recoup_core::env::Env;
use recoup_core::event::{Finding, Outcome, Severity};
use serde::Serialize;

/// One question with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Stable name, as in `namespaces`.
    pub name: &'static str,
    /// `Pass`, `Fail` or `Unknown`.
    pub outcome: Outcome,
    /// What was seen.
    pub detail: String,
    /// What to do about it; empty if it is well.
    pub fix: String,
    /// Whether backups cannot run without it. Otherwise only drills, or comfort, suffer.
    pub vital: bool,
}

/// All answers.
#[derive(Clone, Debug, Serialize)]
pub struct Doctor {
    /// `Fail` if something vital fails, `Partial` if something else does, `Unknown` if something vital
    /// could not be tried.
    pub outcome: Outcome,
    /// The answers, host first.
    pub answers: Vec<Answer>,
}

impl Doctor {
    /// What is not well, as findings.
    pub fn findings(&self) -> Vec<Finding> {
        let bad = self.answers.iter().filter(|a| a.outcome != Outcome::Pass);
        bad.map(|a| {
            let severity = match (a.outcome, a.vital) {
                (Outcome::Fail, true) => Severity::High,
                (Outcome::Fail, false) => Severity::Warning,
                _ => Severity::Info,
            };
            Finding::new("E0808", severity, a.name, a.detail.clone(), a.fix.clone())
        })
        .collect()
    }
}

/// Asks everything. Without a configuration only the host is asked. Nothing is changed; a probe file
/// in the state directory is removed again.
pub async fn doctor(loaded: Option<&Loaded>, variables: &Variables, env: &Env) -> Doctor {
    let mut answers = host::ask(variables, env).await;
    if let Some(loaded) = loaded {
        answers.extend(project::ask(loaded, env).await);
    }
    let any =
        |outcome: Outcome, vital: bool| answers.iter().any(|a| a.outcome == outcome && a.vital == vital);
    let outcome = if any(Outcome::Fail, true) {
        Outcome::Fail
    } else if any(Outcome::Unknown, true) {
        Outcome::Unknown
    } else if any(Outcome::Fail, false) {
        Outcome::Partial
    } else {
        Outcome::Pass
    };
    Doctor { outcome, answers }
}

impl Answer {
    fn new(name: &'static str, vital: bool, outcome: Outcome, detail: impl Into<String>, fix: &str) -> Self {
        let detail = recoup_core::name::escape(detail.into().as_bytes());
        let fix = if outcome == Outcome::Pass { String::new() } else { fix.to_owned() };
        Answer { name, outcome, detail, fix, vital }
    }
}
