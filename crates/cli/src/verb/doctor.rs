//! `recoup doctor`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::table::table;
use clap::Args;
use recoup_core::event::Outcome;
use recoup_core::{Kind, Result};
use recoup_ops::config::load;
use recoup_ops::doctor::doctor;
use recoup_ops::env::Variables;

/// What can this host do, and what would not work because of what it cannot.
///
/// Namespaces for drills, the project's interpreter and the user it would run as, SQLite versions, the
/// clock, the state directory, the repository. Each is tried and not guessed.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup doctor")]
pub(crate) struct Arguments {}

pub(crate) async fn run(_arguments: Arguments, context: &Context) -> Result<Answer> {
    let loaded = match load(&context.load_options()?) {
        Ok(loaded) => Some(loaded),
        // No project here: the host alone is asked.
        Err(e) if e.stable_code() == Some("E0100") && e.kind() == Kind::Config => None,
        Err(e) => return Err(e),
    };
    let report = doctor(loaded.as_ref(), &Variables::of_process(), &context.env).await;
    let rows: Vec<Vec<String>> = report
        .answers
        .iter()
        .map(|a| vec![super::word(a.outcome, context.style), a.name.to_owned(), a.detail.clone()])
        .collect();
    let mut text = table(&[], &rows, &[]);
    for answer in report.answers.iter().filter(|a| a.outcome != Outcome::Pass && !a.fix.is_empty()) {
        text.push_str(&format!("fix {}: {}\n", answer.name, answer.fix));
    }
    if loaded.is_none() {
        text.push_str("no recoup.toml here: only the host was asked\n");
    }
    let findings = report.findings();
    let mut answer = Answer::new("doctor", report.outcome, text).with(&report).findings(findings);
    answer.text_has_findings = true;
    Ok(answer)
}
