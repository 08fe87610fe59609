//! `recoup points`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::style::Style;
use crate::render::table::table;
use clap::Args;
use jiff::tz::TimeZone;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::units::ByteSize;
use recoup_ops::points::{PointsReport, points};

/// List the points that can be restored, with the windows they span.
///
/// A point counts only when every snapshot of it is at the location. The ladder says the highest rung
/// that was proven with that very point: A2 stored, A3 intact, A4 rehydrated, A5 application-proven.
/// A point that no trusted signer answers for is marked, does not count as the newest, and is restored
/// only by its own name.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  recoup points\n  recoup points --location local --output json")]
pub(crate) struct Arguments {}

pub(crate) async fn run(_arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let report = points(&session, context.globals.location.as_deref()).await?;
    let text = text(&report, &session.zone(), context.style);
    Ok(Answer::new("points", report.outcome, text).with(&report).findings(report.findings))
}

fn text(report: &PointsReport, zone: &TimeZone, style: Style) -> String {
    if report.points.is_empty() && report.outcome != Outcome::Pass {
        return "could not find out which points there are\n".to_owned();
    }
    if report.points.is_empty() {
        return "no points yet: recoup backup makes the first\n".to_owned();
    }
    let rows: Vec<Vec<String>> = report
        .points
        .iter()
        .map(|p| {
            vec![
                style.bold(&p.id.chars().take(8).collect::<String>()),
                super::local_time(p.time, zone),
                ByteSize(p.bytes).to_string(),
                p.sources.iter().map(|s| s.address.as_str()).collect::<Vec<_>>().join(" "),
                p.locations.join(" "),
                match (p.attested, p.suspicions.is_empty(), p.held.is_empty()) {
                    (Some(false), ..) => style.red("not attested"),
                    (_, false, _) => format!("{} {}", super::rung(p.ladder), style.red("suspicious")),
                    (_, true, false) => format!("{} held", super::rung(p.ladder)),
                    (_, true, true) => super::rung(p.ladder),
                },
            ]
        })
        .collect();
    let mut out = table(&["point", "time", "size", "sources", "locations", "ladder"], &rows, &[2]);
    for w in &report.windows {
        let (from, to) = (super::local_time(w.from, zone), super::local_time(w.to, zone));
        out.push_str(&format!("{} at {}: {from} to {to}", w.address, w.location));
        match w.gaps.len() {
            0 => out.push('\n'),
            n => out.push_str(&format!(", {n} gaps longer than the class allows\n")),
        }
    }
    out
}
