//! `recoup repo stats`.

use super::ls::unreadable;
use super::open::Options;
use super::snapshots::Filter;
use super::tag::chosen;
use crate::context::Context;
use crate::render::Answer;
use clap::{Args, ValueEnum};
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::units::ByteSize;
use recoup_repo::tally::{KindTally, Mode, tally};
use serde_json::{Value, json};

/// Count what snapshots hold and what they take.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup stats latest\n  recoup repo -r /srv/backup stats --mode raw-data"
)]
pub(crate) struct Arguments {
    /// Snapshots, by id or `latest`; all that the filters mean if none is given.
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,
    /// What is counted.
    #[arg(long, value_enum, value_name = "MODE", default_value = "restore-size")]
    mode: Counted,
    #[command(flatten)]
    filter: Filter,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Counted {
    /// What a restore of each snapshot takes.
    RestoreSize,
    /// Files, those with the same content once.
    FilesByContents,
    /// The pieces of every path.
    BlobsPerFile,
    /// What the snapshots take in the repository.
    RawData,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    let mut roots = Vec::new();
    for id in chosen(&repository, &arguments.ids, &arguments.filter).await? {
        roots.push(repository.snapshot(&id).await?.tree);
    }
    let mode = match arguments.mode {
        Counted::RestoreSize => Mode::RestoreSize,
        Counted::FilesByContents => Mode::FilesByContents,
        Counted::BlobsPerFile => Mode::BlobsPerFile,
        Counted::RawData => Mode::RawData,
    };
    let done = tally(&repository, &roots, mode).await?;
    let line = |name: &str, kind: &KindTally| {
        format!(
            "{name}  {} blobs, {} plain, {} stored, compression {:.2}, deduplication {:.2}\n",
            kind.blobs,
            ByteSize(kind.bytes_plain),
            ByteSize(kind.bytes_stored),
            kind.compression(),
            kind.deduplication()
        )
    };
    let text = format!(
        "snapshots  {}\nsize       {}, {} files, {} blobs\n{}{}",
        done.snapshots,
        ByteSize(done.bytes),
        done.files,
        done.blobs,
        line("data     ", &done.data),
        line("trees    ", &done.tree)
    );
    let outcome = if done.problems.is_empty() { Outcome::Pass } else { Outcome::Fail };
    Ok(Answer::new("repo stats", outcome, text)
        .findings(done.problems.iter().map(unreadable).collect())
        .with(json!({
            "snapshots": done.snapshots, "bytes": done.bytes, "files": done.files, "blobs": done.blobs,
            "data": kind(&done.data), "tree": kind(&done.tree),
        })))
}

fn kind(kind: &KindTally) -> Value {
    json!({
        "blobs": kind.blobs, "bytes_plain": kind.bytes_plain, "bytes_stored": kind.bytes_stored,
        "bytes_referred": kind.bytes_referred, "compression": kind.compression(),
        "deduplication": kind.deduplication(),
    })
}
