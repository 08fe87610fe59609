//! `recoup repo check`.

use super::open::Options;
use super::snapshots::finding;
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_core::units::ByteSize;
use recoup_repo::check::{CheckOptions, check};
use serde_json::json;

/// Check a repository.
///
/// Without options: every pack is there and has its size, every tree of every snapshot can be read
/// and everything it needs is there. With --read-data every byte is read and hashed as well.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup repo -r /srv/backup check --read-data")]
pub(crate) struct Arguments {
    /// Read, open and hash everything.
    #[arg(long)]
    read_data: bool,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    let options = CheckOptions { read_data: arguments.read_data, ..CheckOptions::default() };
    let report = check(&repository, &options).await?;
    let serious = report.problems.iter().filter(|p| p.is_serious()).count();
    let text = format!(
        "checked {} packs, {} blobs, read {}\n{}\n",
        report.packs,
        report.blobs,
        ByteSize(report.bytes_read),
        match (serious, arguments.read_data) {
            (0, true) => "no errors: every byte was read and hashed".to_owned(),
            (0, false) =>
                "no errors in the structure; the data itself was not read (--read-data does)".to_owned(),
            (n, _) => format!("{n} errors"),
        }
    );
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|p| json!({"object": escape(p.object.as_bytes()), "problem": p.problem, "affects": p.affects, "code": p.code}))
        .collect();
    let outcome = if serious == 0 { Outcome::Pass } else { Outcome::Fail };
    Ok(Answer::new("repo check", outcome, text)
        .findings(report.problems.iter().map(finding).collect())
        .with(json!({
            "packs": report.packs, "blobs": report.blobs, "bytes_read": report.bytes_read, "problems": problems,
        })))
}
