//! `recoup drill`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::style::Style;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::units::Span;
use recoup_ops::drill::{DrillOptions, DrillReport, drill};
use std::time::Duration;

/// Prove a point: restore it into a scratch directory and start the application on it.
///
/// Structure, row counts, declared checks and references are checked on private copies. The application
/// then runs in namespaces of its own: restored data over the original paths, no way out, mail sunk, as
/// an unprivileged user. Which data it opened is part of the proof. Where the host cannot isolate, the
/// answer is "could not find out" (exit 3) and never a pass.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup drill\n  recoup drill nightly\n  recoup drill --at \"today 14:02\" --output json"
)]
pub(crate) struct Arguments {
    /// A drill declared in recoup.toml; without it the newest point and everything that is declared.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let options = DrillOptions {
        name: arguments.name,
        at: context.globals.at.clone(),
        location: context.globals.location.clone(),
    };
    let report = drill(&session, &options).await?;
    let text = text(&report, context.style);
    let mut answer = Answer::new("drill", report.outcome, text).with(&report).findings(report.findings);
    answer.text_has_findings = true;
    Ok(answer)
}

fn text(report: &DrillReport, style: Style) -> String {
    let mut out = format!(
        "drill {}  point {}  from {}\n",
        style.bold(report.name.as_deref().unwrap_or(&report.drill)),
        report.point_name,
        report.location
    );
    for stage in &report.stages {
        let word = super::word(stage.outcome, style);
        out.push_str(&format!("  {:<10} {:>7}  {word}\n", stage.name, span(stage.seconds)));
    }
    for check in &report.checks {
        let word = super::word(check.outcome, style);
        out.push_str(&format!("  {:<10} {:<24} {word}  {}\n", check.address, check.check, check.detail));
    }
    out.push_str(&crate::render::answer::findings_text(&report.findings, style));
    for skipped in &report.not_run {
        out.push_str(&format!("NOT RUN {}: {}\n", skipped.check, skipped.reason));
    }
    let side = |name: &str, value: Option<f64>, target: Option<f64>| {
        let (value, target) = (value.map_or("unknown".into(), span), target.map_or("none".into(), span));
        format!("{name} {value}, target {target}")
    };
    out.push_str(&format!(
        "{}   {}   {}\n",
        side("RTO", report.rto_seconds, report.targets.rto_seconds),
        side("RPO", report.rpo_seconds, report.targets.rpo_seconds),
        verdict(report, style)
    ));
    for reason in &report.reasons {
        out.push_str(&format!("  {reason}\n"));
    }
    for path in &report.evidence {
        out.push_str(&format!("evidence {path}\n"));
    }
    out
}

fn verdict(report: &DrillReport, style: Style) -> String {
    let level = report.level.as_deref().unwrap_or("nothing");
    match report.outcome {
        Outcome::Pass => style.green(&format!("PASS, {level} proven")),
        Outcome::Unknown => style.yellow("COULD NOT FIND OUT"),
        _ => style.red("FAIL"),
    }
}

fn span(seconds: f64) -> String {
    Span(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()).to_string()
}
