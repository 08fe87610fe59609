//! `recoup check`.

use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_ops::attest;
use recoup_ops::catalog::RunKind;
use recoup_ops::check::{Past, check};
use recoup_ops::keychain;
use recoup_ops::keys::record;
use serde_json::json;

/// Drills looked at for what they proved and measured.
const DRILLS_MAX: usize = 500;

/// Check the configuration, and whether the means can meet the contract.
///
/// Copies and failure domains against the locations, declared schedules against the RPO, targets
/// against what the last drills measured, the signed history of each location against what was there
/// before, and the recovery kit against what it would say today. Nothing is captured or run, and no
/// password is needed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  recoup check\n  recoup check --output json")]
pub(crate) struct Arguments {}

pub(crate) async fn run(_arguments: &Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let mut past = Past::of_runs(&session.catalog()?.runs(RunKind::Drill, DRILLS_MAX)?);
    past.kit = record::newest(session.state());
    past.current = Some(keychain::current(&session).await?);
    let report = check(session.loaded(), &past, &context.env);
    let history = attest::examine(&session).await?;
    let mut text = report.text();
    for finding in &history {
        let (id, fix) = (&finding.id, &finding.fix);
        text.push_str(&format!("\n\n{id}: {}: {}\nhint: {fix}", finding.address, finding.message));
    }
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    let findings: Vec<Finding> = report.findings().into_iter().chain(history).collect();
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let outcome = if count(Severity::High) > 0 { Outcome::Fail } else { report.outcome };
    let word = match outcome {
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
    let mut answer = Answer::new("check", outcome, text)
        .with(json!({ "sources": report.sources, "classes": report.classes }))
        .findings(findings);
    answer.text_has_findings = true;
    Ok(answer)
}
