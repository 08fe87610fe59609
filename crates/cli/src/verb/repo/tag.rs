//! `recoup repo tag`.

use super::open::Options;
use super::snapshots::Filter;
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::event::Outcome;
use recoup_core::units::Span;
use recoup_core::{Error, Kind, Result};
use recoup_repo::Id;
use recoup_repo::repository::Repository;
use recoup_repo::tagging::{TagChange, tag};
use serde_json::json;

/// Change the tags of snapshots.
///
/// A snapshot gets a new id with its new tags; the id it had first stays in `original`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup tag --add keep latest\n  recoup repo -r /srv/backup tag --set '' 4f1c02aa"
)]
pub(crate) struct Arguments {
    /// Snapshots, by id or `latest`; all that the filters mean if none is given.
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,
    /// Replace all tags by these, comma separated; '' removes all.
    #[arg(long, value_name = "TAG[,TAG...]", conflicts_with_all = ["add", "remove"])]
    set: Vec<String>,
    /// Add these tags.
    #[arg(long, value_name = "TAG[,TAG...]")]
    add: Vec<String>,
    /// Remove these tags.
    #[arg(long, value_name = "TAG[,TAG...]")]
    remove: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Wait this long for others who hold the repository.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    retry_lock: Span,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let split = |lists: &[String]| lists.iter().flat_map(|l| l.split(',')).map(str::to_owned).collect();
    let change = match (&arguments.set, &arguments.add, &arguments.remove) {
        (set, add, remove) if set.is_empty() && add.is_empty() && remove.is_empty() => {
            return Err(Error::new(Kind::Config, "change tags: none was given")
                .code("E0801")
                .effect("nothing was changed")
                .hint("give --set, --add or --remove"));
        }
        (set, add, remove) if set.is_empty() => TagChange::Change { add: split(add), remove: split(remove) },
        (set, ..) => TagChange::Set(split(set)),
    };
    let repository = open.repository(context).await?;
    let ids = chosen(&repository, &arguments.ids, &arguments.filter).await?;
    let tagged = tag(&repository, &ids, &change, arguments.retry_lock.0).await?;
    let mut text = String::new();
    for (old, new) in &tagged.changed {
        text.push_str(&format!("{} is {} now\n", old.short(), new.short()));
    }
    for (id, error) in &tagged.failed {
        text.push_str(&format!("not changed: {} {error}\n", id.short()));
    }
    text.push_str(&format!("changed the tags of {} snapshots\n", tagged.changed.len()));
    let outcome = if tagged.failed.is_empty() { Outcome::Pass } else { Outcome::Fail };
    let changed: Vec<_> = tagged.changed.iter().map(|(old, new)| json!({"old": old, "new": new})).collect();
    let failed: Vec<_> =
        tagged.failed.iter().map(|(id, e)| json!({"id": id, "error": e.to_string()})).collect();
    Ok(Answer::new("repo tag", outcome, text)
        .with(json!({ "changed": changed, "unchanged": tagged.unchanged, "failed": failed })))
}

/// The snapshots that are named, or all that the filter means.
pub(super) async fn chosen(repository: &Repository, named: &[String], filter: &Filter) -> Result<Vec<Id>> {
    let filter = filter.to_filter();
    if named.is_empty() {
        let all = repository.snapshots().await?.snapshots;
        let meant = all.into_iter().filter(|(_, s)| filter.matches(s) && !s.is_partial());
        return Ok(meant.map(|(id, _)| id).collect());
    }
    let mut ids = Vec::new();
    for wanted in named {
        ids.push(repository.find_snapshot(wanted, &filter).await?.0);
    }
    Ok(ids)
}
