//! `recoup repo ls`.

use super::open::Options;
use super::snapshot_path;
use super::snapshots::{Filter, partial_finding};
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::Result;
use recoup_core::entry::{EntryKind, PathProblem};
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::{TreePath, escape};
use recoup_repo::Node;
use recoup_repo::read::{Visit, Walker};
use serde_json::{Value, json};
use std::ffi::OsString;

/// List what a snapshot holds.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup repo -r /srv/backup ls latest /etc --long")]
pub(crate) struct Arguments {
    /// Id, or `latest`.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Only these directories and what is below them.
    #[arg(value_name = "PATH", id = "below")]
    below: Vec<OsString>,
    /// Show modes, owners, sizes and times.
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    filter: Filter,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let wanted: Vec<TreePath> = arguments.below.iter().map(|p| snapshot_path(p)).collect::<Result<_>>()?;
    let repository = open.repository(context).await?;
    let (id, snapshot) = repository.find_snapshot(&arguments.snapshot, &arguments.filter.to_filter()).await?;
    let (mut text, mut entries, mut findings) = (String::new(), Vec::new(), Vec::new());
    let mut walker = Walker::new(&repository, snapshot.tree);
    while let Some(visit) = walker.next().await? {
        match visit {
            Visit::Entry(path, node) => {
                let leads_there = wanted.iter().any(|w| w.starts_with(&path));
                let is_wanted = wanted.is_empty() || wanted.iter().any(|w| path.starts_with(w));
                if is_wanted {
                    text.push_str(&line(&path, &node, arguments.long));
                    entries.push(document(&path, &node));
                } else if node.is_dir() && !leads_there {
                    walker.skip();
                }
            }
            Visit::Leave(..) => {}
            Visit::Problem(p) => findings.push(unreadable(&p)),
        }
    }
    let outcome = if findings.is_empty() { Outcome::Pass } else { Outcome::Fail };
    Ok(Answer::new("repo ls", outcome, text)
        .findings(findings)
        .finding(partial_finding(&id, &snapshot))
        .with(json!({ "snapshot": id, "time": snapshot.time.at, "entries": entries })))
}

/// A part of a snapshot that cannot be read, as a finding.
pub(super) fn unreadable(problem: &PathProblem) -> Finding {
    Finding::new(
        problem.error.stable_code().unwrap_or("W0431"),
        Severity::High,
        problem.path.to_string(),
        problem.error.to_string(),
        "run `recoup repo check`",
    )
}

fn letter(kind: &EntryKind) -> char {
    match kind {
        EntryKind::File => '-',
        EntryKind::Dir => 'd',
        EntryKind::Symlink { .. } => 'l',
        EntryKind::BlockDevice { .. } => 'b',
        EntryKind::CharDevice { .. } => 'c',
        EntryKind::Fifo => 'p',
        EntryKind::Socket => 's',
    }
}

fn line(path: &TreePath, node: &Node, long: bool) -> String {
    if !long {
        return format!("/{path}\n");
    }
    let e = &node.entry;
    let link = match &e.kind {
        EntryKind::Symlink { target } => format!(" -> {}", escape(target)),
        _ => String::new(),
    };
    let time = e.mtime.to_string().chars().take(19).collect::<String>().replace('T', " ");
    format!(
        "{}{} {:>5} {:>5} {:>12} {time} /{path}{link}\n",
        letter(&e.kind),
        permissions(e.mode),
        e.uid,
        e.gid,
        e.size
    )
}

fn permissions(mode: u32) -> String {
    (0..9).rev().map(|bit| if mode >> bit & 1 == 1 { ['x', 'w', 'r'][bit % 3] } else { '-' }).collect()
}

fn document(path: &TreePath, node: &Node) -> Value {
    let e = &node.entry;
    json!({
        "path": format!("/{path}"), "type": letter(&e.kind).to_string(), "mode": e.mode, "uid": e.uid,
        "gid": e.gid, "size": e.size, "mtime": e.mtime,
    })
}
