//! `recoup repo diff`.

use super::open::Options;
use super::snapshots::{Filter, partial_finding};
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::units::ByteSize;
use recoup_repo::compare::{Sum, compare};
use serde_json::{Value, json};

/// Show what differs between two snapshots.
///
/// `+` came, `-` went, `M` has other content, `T` is of another type, and with --metadata `U` has another
/// owner, mode or time.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup repo -r /srv/backup diff 4f1c02aa latest --metadata")]
pub(crate) struct Arguments {
    /// The older one: id, or `latest`.
    #[arg(value_name = "OLD")]
    old: String,
    /// The newer one: id, or `latest`.
    #[arg(value_name = "NEW")]
    new: String,
    /// Show other owners, modes and times too.
    #[arg(long)]
    metadata: bool,
    #[command(flatten)]
    filter: Filter,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    let filter = arguments.filter.to_filter();
    let (old_id, old) = repository.find_snapshot(&arguments.old, &filter).await?;
    let (new_id, new) = repository.find_snapshot(&arguments.new, &filter).await?;
    let done = compare(&repository, &old.tree, &new.tree, arguments.metadata).await?;
    let mut text = String::new();
    for d in &done.differences {
        let slash = if d.is_dir { "/" } else { "" };
        text.push_str(&format!("{:<5}/{}{slash}\n", d.modifier, d.path));
    }
    text.push_str(&format!(
        "\nfiles  {} new, {} removed, {} changed\ndirs   {} new, {} removed\nothers {} new, {} removed\nbytes  {} added, {} removed\n",
        done.added.files,
        done.removed.files,
        done.changed_files,
        done.added.dirs,
        done.removed.dirs,
        done.added.others,
        done.removed.others,
        ByteSize(done.added.bytes),
        ByteSize(done.removed.bytes),
    ));
    let differences: Vec<Value> = done
        .differences
        .iter()
        .map(|d| json!({"modifier": d.modifier, "path": format!("/{}", d.path), "is_dir": d.is_dir}))
        .collect();
    let partial = [partial_finding(&old_id, &old), partial_finding(&new_id, &new)];
    Ok(Answer::new("repo diff", Outcome::Pass, text).findings(partial.into_iter().flatten().collect()).with(
        json!({
            "old": old_id, "new": new_id, "differences": differences, "changed_files": done.changed_files,
            "added": sum(&done.added), "removed": sum(&done.removed),
        }),
    ))
}

fn sum(sum: &Sum) -> Value {
    json!({
        "files": sum.files, "dirs": sum.dirs, "others": sum.others, "data_blobs": sum.data_blobs,
        "tree_blobs": sum.tree_blobs, "bytes": sum.bytes,
    })
}
