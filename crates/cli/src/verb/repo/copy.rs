//! `recoup repo copy`.

use super::open::{From, Options};
use super::snapshots::Filter;
use super::tag::chosen;
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::event::Outcome;
use recoup_core::units::{ByteSize, Span};
use recoup_core::{Error, Kind, Result};
use recoup_repo::copy::{Copied, copy};
use recoup_repo::write::WriteOptions;
use serde_json::json;
use std::path::Path;

/// Copy snapshots from another repository into this one.
///
/// What was copied before is skipped, and a copy that was stopped goes on where it was. If both
/// repositories have the same master key, data moves as it is, otherwise it is sealed anew.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/second copy --from-repo /srv/backup --from-password-file pw\n  recoup repo -r /srv/second copy --from-repo /srv/backup latest --host web1"
)]
pub(crate) struct Arguments {
    /// Snapshots of the source, by id or `latest`; all that the filters mean if none is given.
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    filter: Filter,
    /// Wait this long for others who hold a repository.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    retry_lock: Span,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let source = arguments.from.options();
    refuse_same(&source.path()?, &open.path()?)?;
    let from = source.repository(context).await?;
    let to = open.repository(context).await?;
    let ids = chosen(&from, &arguments.ids, &arguments.filter).await?;
    let options = WriteOptions { lock_wait: arguments.retry_lock.0, ..WriteOptions::default() };
    Ok(answer(&copy(&from, &to, &ids, options).await?))
}

/// One directory may have several names.
fn refuse_same(from: &Path, to: &Path) -> Result<()> {
    let is_same = from.canonicalize().is_ok_and(|from| to.canonicalize().is_ok_and(|to| from == to));
    if !is_same {
        return Ok(());
    }
    Err(Error::new(Kind::Conflict, "copy a repository onto itself")
        .code("E0492")
        .effect("nothing was copied"))
}

fn answer(done: &Copied) -> Answer {
    let mut text = String::new();
    for (from, to) in &done.copied {
        text.push_str(&format!("copied  {} as {}\n", from.short(), to.short()));
    }
    for (from, to) in &done.skipped {
        text.push_str(&format!("skipped {}, it is there as {}\n", from.short(), to.short()));
    }
    for (id, error) in &done.failed {
        text.push_str(&format!("not copied: {} {error}\n", id.short()));
    }
    text.push_str(&format!(
        "copied {} snapshots, added {} ({} in packs)\n",
        done.copied.len(),
        ByteSize(done.added.bytes_added),
        ByteSize(done.added.bytes_stored)
    ));
    let outcome = if done.failed.is_empty() { Outcome::Pass } else { Outcome::Fail };
    let pairs = |list: &[(_, _)]| list.iter().map(|(a, b)| json!({"from": a, "to": b})).collect::<Vec<_>>();
    let failed: Vec<_> =
        done.failed.iter().map(|(id, e)| json!({"id": id, "error": e.to_string()})).collect();
    Answer::new("repo copy", outcome, text).with(json!({
        "copied": pairs(&done.copied), "skipped": pairs(&done.skipped), "failed": failed,
        "data_blobs": done.added.data_blobs, "tree_blobs": done.added.tree_blobs,
        "bytes_added": done.added.bytes_added, "bytes_stored": done.added.bytes_stored,
        "same_chunker": done.same_chunker,
    }))
}
