//! `recoup backup`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::style::Style;
use crate::render::table::table;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::units::{ByteSize, Span};
use recoup_ops::backup::{BackupOptions, BackupReport, backup};

/// Capture the application and store a point.
///
/// Every source is captured consistently, encrypted, deduplicated and stored. A point is listed only
/// when all of it is durable and was read back. Without ADDR all sources are captured.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  recoup backup\n  recoup backup db\n  recoup backup --output json")]
pub(crate) struct Arguments {
    /// Sources, as in `db` or `shop/db`.
    #[arg(value_name = "ADDR")]
    addresses: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let options =
        BackupOptions { addresses: arguments.addresses, location: context.globals.location.clone() };
    let report = backup(&session, &options).await?;
    let text = text(&report, context.style);
    Ok(Answer::new("backup", report.outcome, text).with(&report).findings(report.findings))
}

fn text(report: &BackupReport, style: Style) -> String {
    let mut out = format!("run {}\n", style.bold(&report.run));
    let rows: Vec<Vec<String>> = report
        .sources
        .iter()
        .map(|s| {
            vec![
                format!("  {}", if s.complete { style.green("ok") } else { style.red("INCOMPLETE") }),
                s.address.clone(),
                s.kind.clone(),
                ByteSize(s.bytes).to_string(),
                format!("+{}", ByteSize(s.bytes_stored)),
                s.proof.clone(),
                format!("{:.1}s", s.seconds),
            ]
        })
        .collect();
    out.push_str(&table(&["", "source", "kind", "size", "stored", "proof", "took"], &rows, &[3, 4, 6]));
    for error in &report.errors {
        out.push_str(&format!("  not stored: {} {}\n", error.path, error.error));
    }
    for location in &report.locations {
        let state = if location.durable { style.green("durable") } else { style.red("not durable") };
        out.push_str(&format!("  location {}: {state}\n", location.name));
    }
    match &report.name {
        Some(name) => out.push_str(&format!("point {}\n", style.bold(name))),
        None => out.push_str(&format!("{}: nothing of this run counts\n", style.red("no point"))),
    }
    if report.initialized {
        out.push_str("the repository was created by this run; print the recovery sheet: recoup keys sheet\n");
    }
    if report.outcome == Outcome::Partial {
        out.push_str("partial: the durable minimum is met, see what is missing above\n");
    }
    let took = Span(std::time::Duration::try_from_secs_f64(report.seconds).unwrap_or_default());
    out.push_str(&format!("done in {took}\n"));
    out
}
