//! `recoup check`.

use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::{Outcome, Severity};
use recoup_ops::catalog::RunKind;
use recoup_ops::check::{Past, check};
use serde_json::json;

/// Drills looked at for what they proved and measured.
const DRILLS_MAX: usize = 500;

/// Check the configuration, and whether the means can meet the contract.
///
/// Copies and failure domains against the locations, declared schedules against the RPO, targets
/// against what the last drills measured. Nothing is captured, opened or run.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  recoup check\n  recoup check --output json")]
pub(crate) struct Arguments {}

pub(crate) fn run(_arguments: &Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let past = Past::of_runs(&session.catalog()?.runs(RunKind::Drill, DRILLS_MAX)?);
    let report = check(session.loaded(), &past, &context.env);
    let mut text = report.text();
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    let count = |severity| report.problems.iter().filter(|p| p.severity == severity).count();
    let word = match report.outcome {
        Outcome::Pass => context.style.green("the means can meet the contract, as far as can be told"),
        _ => context.style.red("the means cannot meet the contract"),
    };
    text.push_str(&format!(
        "{} sources in {} classes: {} errors, {} warnings; {word}\n",
        report.sources,
        report.classes,
        count(Severity::High),
        count(Severity::Warning)
    ));
    let mut answer = Answer::new("check", report.outcome, text)
        .with(json!({ "sources": report.sources, "classes": report.classes }))
        .findings(report.findings());
    answer.text_has_findings = true;
    Ok(answer)
}
