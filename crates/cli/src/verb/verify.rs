//! `recoup verify`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::table::table;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::units::ByteSize;
use recoup_ops::verify::{VerifyOptions, verify};

/// Check what is stored at the locations.
///
/// Every pack is there with its size and every tree can be read; with --read-data every byte is read,
/// opened and hashed. What is damaged is named with the points it affects.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  recoup verify\n  recoup verify --read-data --location local")]
pub(crate) struct Arguments {
    /// Read, open and hash everything.
    #[arg(long)]
    read_data: bool,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let options =
        VerifyOptions { location: context.globals.location.clone(), read_data: arguments.read_data };
    let report = verify(&session, &options).await?;
    let rows: Vec<Vec<String>> = report
        .locations
        .iter()
        .map(|l| {
            vec![
                l.name.clone(),
                super::word(l.outcome, context.style),
                l.points.to_string(),
                l.packs.to_string(),
                l.blobs.to_string(),
                ByteSize(l.bytes_read).to_string(),
            ]
        })
        .collect();
    let mut text = table(&["location", "", "points", "packs", "blobs", "read"], &rows, &[2, 3, 4, 5]);
    for location in &report.locations {
        for p in &location.problems {
            text.push_str(&format!("{} {}: {} ({})\n", p.code, location.name, p.problem, p.object));
            for affected in p.affects.iter().take(8) {
                text.push_str(&format!("    affects {affected}\n"));
            }
        }
    }
    if !report.read_data {
        text.push_str("the structure was checked; the data itself was not read (--read-data does)\n");
    }
    let outcome = report.outcome.unwrap_or(Outcome::Unknown);
    Ok(Answer::new("verify", outcome, text).with(&report).findings(report.findings))
}
