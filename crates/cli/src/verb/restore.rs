//! `recoup restore`, `promote`, `rollback` and `resume`: one restore at its stations.

use crate::context::Context;
use crate::render::Answer;
use crate::render::style::Style;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::units::{ByteSize, Span};
use recoup_ops::restore::{self, PromoteOptions, RestoreOptions, RestoreReport};
use std::path::PathBuf;
use std::time::Duration;

/// Restore aside: beside the live data, proven, and not yet in use.
///
/// Live data is never touched. What comes back is checked against what was recorded at capture, and
/// the result says how to look at it, promote it or drop it. With --to it goes into a directory.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup restore --at \"today 14:02\"\n  recoup restore db --at latest --to /tmp/look\n  recoup restore --dry-run"
)]
pub(crate) struct RestoreArguments {
    /// Sources, as in `db` or `shop/db`; all of the point if none is named.
    #[arg(value_name = "ADDR")]
    addresses: Vec<String>,
    /// Restore into this directory, which must be empty.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Show the plan, write nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) async fn restore(arguments: RestoreArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let options = RestoreOptions {
        addresses: arguments.addresses,
        at: context.globals.at.clone(),
        location: context.globals.location.clone(),
        to: arguments.to,
        ..RestoreOptions::default()
    };
    let report = if arguments.dry_run {
        restore::plan(&session, &options).await?
    } else {
        restore::restore(&session, &options).await?
    };
    Ok(answer("restore", report, context.style))
}

/// Put restored data in the place of the live data.
///
/// Services are stopped by their declared commands, nobody may hold the live data open, each source is
/// switched in one atomic step, services are started and asked for their health. Whatever fails is
/// undone. The replaced data is kept: `recoup rollback` switches back.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup promote R20261122-1403 --confirm 5c7e")]
pub(crate) struct PromoteArguments {
    /// The restore.
    #[arg(value_name = "RESTORE")]
    restore: String,
    /// The first digits of the hash of the plan that `recoup restore` showed.
    #[arg(long, value_name = "HASH-PREFIX")]
    confirm: Option<String>,
    /// Promote although not everything could be proven.
    #[arg(long)]
    accept_damage: bool,
}

pub(crate) async fn promote(arguments: PromoteArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let options = PromoteOptions {
        confirm: arguments.confirm.unwrap_or_default(),
        accept_damage: arguments.accept_damage,
        ..PromoteOptions::default()
    };
    Ok(answer("promote", restore::promote(&session, &arguments.restore, &options).await?, context.style))
}

/// Put the data back that was live before a promote.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup rollback R20261122-1403")]
pub(crate) struct RollbackArguments {
    /// The restore that was promoted.
    #[arg(value_name = "RESTORE")]
    restore: String,
}

pub(crate) async fn rollback(arguments: RollbackArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    Ok(answer("rollback", restore::rollback(&session, &arguments.restore, None).await?, context.style))
}

/// Go on with a restore that was interrupted.
///
/// Finished steps are not done again; it goes on forward or back, whichever way it was going.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup resume R20261122-1403")]
pub(crate) struct ResumeArguments {
    /// The restore; `recoup status` lists those that are not finished.
    #[arg(value_name = "RESTORE")]
    restore: String,
}

pub(crate) async fn resume(arguments: ResumeArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    Ok(answer("resume", restore::resume(&session, &arguments.restore, None).await?, context.style))
}

fn answer(kind: &'static str, report: RestoreReport, style: Style) -> Answer {
    let text = text(&report, style);
    let mut answer = Answer::new(kind, report.outcome, text).with(&report).code(report.code);
    answer.resume.clone_from(&report.resume);
    answer.findings(report.findings)
}

/// A restore for people: the plan, what was done, where the result is, what to do now.
pub(super) fn text(report: &RestoreReport, style: Style) -> String {
    let mut out = format!(
        "restore {} of point {} from {}\nstate   {}\n",
        style.bold(&report.restore),
        report.point_name,
        report.location,
        style.bold(&report.state_word())
    );
    out.push_str(&format!(
        "plan    {} (confirm with {}), {}\n",
        &report.plan[..16.min(report.plan.len())],
        report.confirm,
        ByteSize(report.forecast.bytes),
    ));
    if report.stages.is_empty() {
        for step in &report.steps {
            out.push_str(&format!("  {step}\n"));
        }
    }
    for stage in &report.stages {
        let mark = match stage.outcome {
            Outcome::Pass => style.green("ok  "),
            Outcome::Fail | Outcome::Refused => style.red("FAIL"),
            Outcome::Partial => style.yellow("part"),
            Outcome::Unknown => style.yellow("?   "),
        };
        let took = Span(Duration::try_from_secs_f64(stage.seconds).unwrap_or_default());
        out.push_str(&format!(
            "  {mark} {:<10} {:<14} {:>7}  {}\n",
            stage.name,
            stage.address,
            took.to_string(),
            stage.detail
        ));
    }
    for restored in &report.restored {
        out.push_str(&format!("restored {} at {}\n", restored.address, restored.path));
    }
    if let Some(failure) = &report.error {
        let code = failure.code.as_deref().map(|c| format!("[{c}]")).unwrap_or_default();
        out.push_str(&format!("{}{code}: {}\n", style.red("stopped"), failure.message));
        for (label, line) in [("step", &failure.step), ("effect", &failure.effect), ("hint", &failure.hint)] {
            if let Some(line) = line {
                out.push_str(&format!("  {label}: {line}\n"));
            }
        }
    }
    if !report.next.is_empty() {
        out.push_str("next\n");
        for next in &report.next {
            out.push_str(&format!("  {next}\n"));
        }
    }
    out
}
