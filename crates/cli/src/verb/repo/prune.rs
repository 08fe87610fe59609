//! `recoup repo prune`.

use super::open::Options;
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::event::Outcome;
use recoup_core::units::{ByteSize, Span};
use recoup_core::{Error, Kind, Result};
use recoup_repo::prune::{Numbers, PruneOptions, Pruned, Unused, bytes, prune};
use recoup_repo::repository::{Repository, SnapshotFilter};
use serde_json::json;
use std::time::Duration;

/// Give back the space of what no snapshot needs.
///
/// Others can work meanwhile but for a moment at the end. Packs that nobody needs are marked first and
/// deleted by a prune after --keep-delete, so that readers without a lock are not hurt;
/// --instant-delete gives the space back at once, as restic does.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup prune --dry-run\n  recoup repo -r /srv/backup prune --max-unused 10% --instant-delete"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    how: How,
    /// Delete packs that were marked this long ago.
    #[arg(long, value_name = "DURATION", default_value = "23h")]
    keep_delete: Span,
    /// Mark nothing: delete at once.
    #[arg(long)]
    instant_delete: bool,
    /// Do nothing unless this snapshot is there; may be given more than once.
    #[arg(long, value_name = "SNAPSHOT")]
    protect: Vec<String>,
    /// Prune a repository that has data and no snapshot.
    #[arg(long)]
    allow_no_snapshots: bool,
    /// Wait this long for others who hold the repository.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    retry_lock: Span,
    /// Show what would be done.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What `forget --prune` takes too.
#[derive(Args, Clone, Debug)]
pub(crate) struct How {
    /// Leave this much unused: a share, a size as in 200M, or unlimited.
    #[arg(long, value_name = "LIMIT", default_value = "5%")]
    max_unused: Unused,
    /// Rewrite at most this much, as in 2G.
    #[arg(long, value_name = "SIZE")]
    max_repack_size: Option<String>,
}

impl How {
    /// The engine's options.
    ///
    /// # Errors
    /// `Kind::Config` if a size cannot be read.
    pub(crate) fn options(&self) -> Result<PruneOptions> {
        let read = |text: &String| {
            bytes(text).ok_or_else(|| {
                Error::new(Kind::Config, format!("read \"{text}\" as a size"))
                    .code("E0801")
                    .hint("write a number of bytes, or as in \"500M\" or \"2G\"")
            })
        };
        let max_repack_bytes = self.max_repack_size.as_ref().map(read).transpose()?;
        Ok(PruneOptions { max_unused: self.max_unused, max_repack_bytes, ..PruneOptions::default() })
    }
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    let mut options = arguments.how.options()?;
    options.keep_delete = if arguments.instant_delete { Duration::ZERO } else { arguments.keep_delete.0 };
    options.allow_no_snapshots = arguments.allow_no_snapshots;
    options.lock_wait = arguments.retry_lock.0;
    options.dry_run = arguments.dry_run;
    for wanted in &arguments.protect {
        options.protect.push(repository.find_snapshot(wanted, &SnapshotFilter::default()).await?.0);
    }
    act(&repository, &options).await
}

/// Prunes and says what came of it.
///
/// # Errors
/// As [`prune`].
pub(crate) async fn act(repository: &Repository, options: &PruneOptions) -> Result<Answer> {
    let pruned = prune(repository, options).await?;
    Ok(Answer::new("repo prune", Outcome::Pass, shown(&pruned, options.dry_run)).with(json!({
        "dry_run": options.dry_run, "planned": pruned.planned,
        "done": (!options.dry_run).then_some(pruned.done), "packs_written": pruned.packs_written,
    })))
}

fn shown(pruned: &Pruned, dry_run: bool) -> String {
    let Numbers { blobs_used, bytes_used, blobs_unused, bytes_unused, .. } = pruned.planned;
    let last = if dry_run { &pruned.planned } else { &pruned.done };
    let word = if dry_run { "would be " } else { "" };
    format!(
        "needed      {blobs_used} blobs, {}\nnot needed  {blobs_unused} blobs, {}\n\
         rewritten   {word}{} packs, {} copied\nmarked      {word}{} packs, {}; {} wait\n\
         taken back  {word}{} packs\ndeleted     {word}{} packs, {}\n",
        ByteSize(bytes_used),
        ByteSize(bytes_unused),
        pruned.planned.packs_repacked,
        ByteSize(pruned.planned.bytes_repacked),
        last.packs_marked,
        ByteSize(last.bytes_marked),
        last.packs_waiting,
        last.packs_recovered,
        last.packs_removed,
        ByteSize(last.bytes_removed),
    )
}
