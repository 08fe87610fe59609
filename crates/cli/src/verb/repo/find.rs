//! `recoup repo find`.

use super::ls::unreadable;
use super::open::Options;
use super::snapshots::Filter;
use super::tag::chosen;
use crate::context::Context;
use crate::render::Answer;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use recoup_core::event::Outcome;
use recoup_core::{Error, Kind, Result};
use recoup_repo::repository::Repository;
use recoup_repo::search::{EntryType, Found, Query, Wanted, find, find_blobs};
use recoup_repo::{Id, Snapshot};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Find files in snapshots, by name or by the id of what holds them.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup find '*.sql' --newest 2026-01-31\n  recoup repo -r /srv/backup find --pack 4f1c02aa"
)]
pub(crate) struct Arguments {
    /// Patterns, as of --exclude; any of them.
    #[arg(value_name = "PATTERN", required_unless_present_any = ["blob", "tree", "pack"])]
    patterns: Vec<OsString>,
    /// Whatever the case.
    #[arg(short, long)]
    ignore_case: bool,
    /// Changed at this time or later: RFC 3339, or a date and time here.
    #[arg(short = 'O', long, value_name = "TIME")]
    oldest: Option<String>,
    /// Changed at this time or before.
    #[arg(short = 'N', long, value_name = "TIME")]
    newest: Option<String>,
    /// Only entries of this type.
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    kind: Option<TypeArgument>,
    /// Files that need the blob with this id; may be given more than once.
    #[arg(long, value_name = "ID", conflicts_with = "patterns")]
    blob: Vec<String>,
    /// The directory with this tree id; may be given more than once.
    #[arg(long, value_name = "ID", conflicts_with = "patterns")]
    tree: Vec<String>,
    /// What needs a blob of this pack; may be given more than once.
    #[arg(long, value_name = "ID", conflicts_with = "patterns")]
    pack: Vec<String>,
    /// Look in this snapshot only; may be given more than once.
    #[arg(short, long = "snapshot", value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    #[command(flatten)]
    filter: Filter,
}

/// Types of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TypeArgument {
    /// Regular files.
    File,
    /// Directories.
    Dir,
    /// Symbolic links.
    Symlink,
    /// Devices and pipes.
    Other,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    let ids = chosen(&repository, &arguments.snapshots, &arguments.filter).await?;
    let by_id = !(arguments.blob.is_empty() && arguments.tree.is_empty() && arguments.pack.is_empty());
    let search = if by_id {
        let wanted = Wanted::new(&repository, &arguments.blob, &arguments.tree, &arguments.pack);
        Search::Blobs(wanted.await?)
    } else {
        Search::Names(arguments.query(&context.env.zone)?)
    };
    let (mut text, mut matches, mut findings) = (String::new(), Vec::new(), Vec::new());
    for id in ids {
        let snapshot = repository.snapshot(&id).await?;
        let found = search.run(&repository, &snapshot).await?;
        findings.extend(found.problems.iter().map(unreadable));
        show(&id, &snapshot, &found, &mut text, &mut matches);
    }
    if matches.is_empty() {
        text.push_str("nothing was found\n");
    }
    let outcome = if findings.is_empty() { Outcome::Pass } else { Outcome::Fail };
    Ok(Answer::new("repo find", outcome, text).findings(findings).with(json!({ "matches": matches })))
}

enum Search {
    Names(Query),
    Blobs(Wanted),
}

impl Search {
    async fn run(&self, repository: &Repository, snapshot: &Snapshot) -> Result<Found> {
        match self {
            Search::Names(query) => find(repository, &snapshot.tree, query).await,
            Search::Blobs(wanted) => find_blobs(repository, &snapshot.tree, wanted).await,
        }
    }
}

impl Arguments {
    fn query(&self, zone: &TimeZone) -> Result<Query> {
        let patterns: Vec<&[u8]> = self.patterns.iter().map(|p| p.as_bytes()).collect();
        let mut query = Query::new(&patterns, self.ignore_case)?;
        query.oldest = self.oldest.as_deref().map(|text| moment(text, zone)).transpose()?;
        query.newest = self.newest.as_deref().map(|text| moment(text, zone)).transpose()?;
        query.kind = self.kind.map(|kind| match kind {
            TypeArgument::File => EntryType::File,
            TypeArgument::Dir => EntryType::Dir,
            TypeArgument::Symlink => EntryType::Symlink,
            TypeArgument::Other => EntryType::Other,
        });
        Ok(query)
    }
}

fn show(id: &Id, snapshot: &Snapshot, found: &Found, text: &mut String, matches: &mut Vec<Value>) {
    if found.entries.is_empty() {
        return;
    }
    text.push_str(&format!("snapshot {} of {}\n", id.short(), snapshot.time));
    for (path, node, blob) in &found.entries {
        let why = blob.map(|b| format!("  {} {}", b.kind, b.id.short())).unwrap_or_default();
        text.push_str(&format!("  /{path}{why}\n"));
        matches.push(json!({
            "snapshot": id, "path": format!("/{path}"), "size": node.entry.size, "mtime": node.entry.mtime,
            "blob": blob.map(|b| json!({"type": b.kind, "id": b.id})),
        }));
    }
}

/// A time with an offset, or one of this zone.
pub(super) fn moment(text: &str, zone: &TimeZone) -> Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local = text.parse::<DateTime>().and_then(|time| time.to_zoned(zone.clone()));
    local.map(|zoned| zoned.timestamp()).map_err(|cause| {
        let shown = recoup_core::name::escape(text.as_bytes());
        Error::new(Kind::Config, format!("read the time \"{shown}\""))
            .caused_by(cause)
            .code("E0801")
            .hint("write it as 2026-01-31, 2026-01-31 14:02:00 or 2026-01-31T14:02:00+01:00")
    })
}
