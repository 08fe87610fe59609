//! `recoup status`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::style::Style;
use crate::render::table::table;
use clap::Args;
use jiff::tz::TimeZone;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::units::Span;
use recoup_ops::status::{Contract, SourceStatus, StatusReport, status};
use std::time::Duration;

/// Is the promise kept, and how do we know.
///
/// For every source: how much work would be lost now against the RPO, how long a proven restore took
/// against the RTO, the copies, and the ladder of proofs with the age of each. Unknown is never green.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  recoup status\n  recoup status --output json | jq .contract")]
pub(crate) struct Arguments {}

pub(crate) async fn run(_arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let report = status(&session).await?;
    let text = text(&report, &session.zone(), context.style);
    Ok(Answer::new("status", report.outcome, text).with(&report).findings(report.findings))
}

fn text(report: &StatusReport, zone: &TimeZone, style: Style) -> String {
    let contract = match report.contract {
        Contract::Met => style.green("MET"),
        Contract::NotMet => style.red("NOT MET"),
        Contract::Unknown => style.yellow("UNKNOWN"),
    };
    let mut out = format!(
        "{}    contract {contract}    {}\n",
        style.bold(&report.application),
        super::local_time(report.time, zone)
    );
    let rows: Vec<Vec<String>> = report.sources.iter().map(|s| row(s, style)).collect();
    let head =
        ["source", "class", "rpo now / target", "rto proven (pred) / target", "copies", "ladder", "age"];
    out.push_str(&table(&head, &rows, &[]));
    for name in &report.unprotected {
        out.push_str(&format!("{} {name}\n", style.red("UNPROTECTED")));
    }
    for waiting in &report.restores {
        let state = serde_json::to_value(waiting.state).unwrap_or_default();
        out.push_str(&format!("restore {} is {}\n", waiting.restore, state.as_str().unwrap_or("?")));
    }
    if !report.next.is_empty() {
        out.push_str("next\n");
        for next in &report.next {
            out.push_str(&format!("  {next}\n"));
        }
    }
    out
}

fn row(s: &SourceStatus, style: Style) -> Vec<String> {
    let rpo: Vec<String> = s
        .rpo
        .iter()
        .map(|r| {
            let now = r.seconds.map_or("—".to_owned(), seconds);
            let target = r.target.map_or("—".to_owned(), seconds);
            format!("{}: {now} / {target} {}", r.location, mark(r.outcome, style))
        })
        .collect();
    let took = |s: f64| Span(Duration::try_from_secs_f64(s).unwrap_or_default()).to_string();
    let rto = format!(
        "{} ({}) / {} {}",
        s.rto.proven.map_or("—".to_owned(), took),
        s.rto.predicted.map_or("—".to_owned(), took),
        s.rto.target.map_or("—".to_owned(), seconds),
        mark(s.rto.outcome, style)
    );
    let copies = format!(
        "{} of {} in {} of {} domains {}",
        s.copies.have,
        s.copies.want,
        s.copies.domains,
        s.copies.domains_want,
        mark(s.copies.outcome, style)
    );
    let ladder: Vec<String> = s
        .ladder
        .iter()
        .map(|l| match l.broken {
            Some(rung) => format!("{} {}", super::rung(l.level), style.red(&format!("✗ {}", rung.word()))),
            None => super::rung(l.level),
        })
        .collect();
    let ages: Vec<String> = s.ladder.iter().map(|l| l.age_seconds.map_or("—".to_owned(), seconds)).collect();
    vec![
        s.address.clone(),
        s.class.clone(),
        rpo.join(", "),
        rto,
        copies,
        format!("{} {}", ladder.join(", "), mark(s.proofs, style)),
        ages.join(", "),
    ]
}

fn seconds(s: u64) -> String {
    Span(Duration::from_secs(s)).to_string()
}

fn mark(outcome: Outcome, style: Style) -> String {
    match outcome {
        Outcome::Pass => style.green("ok"),
        Outcome::Unknown => style.yellow("unknown"),
        Outcome::Partial | Outcome::Fail | Outcome::Refused => style.red("MISS"),
    }
}
