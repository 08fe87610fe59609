//! `recoup repo snapshots`.

use super::open::Options;
use crate::context::Context;
use crate::render::Answer;
use crate::render::table::table;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::units::counted;
use recoup_repo::repository::SnapshotFilter;
use recoup_repo::{Id, Problem, Snapshot};
use serde_json::{Value, json};

/// List the snapshots.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup repo -r /srv/backup snapshots --host web1")]
pub(crate) struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// Only these snapshots: ids or `latest`.
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,
}

/// Which snapshots are meant.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only snapshots of this host; may be given more than once.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Only snapshots with all of these tags, comma separated; may be given more than once.
    #[arg(long = "tag", value_name = "TAG[,TAG...]")]
    tags: Vec<String>,
    /// Only snapshots of this absolute path; may be given more than once.
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
}

impl Filter {
    pub(crate) fn to_filter(&self) -> SnapshotFilter {
        SnapshotFilter {
            hosts: self.hosts.clone(),
            tags: self.tags.iter().map(|t| t.split(',').map(str::to_owned).collect()).collect(),
            paths: self.paths.clone(),
        }
    }
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    let filter = arguments.filter.to_filter();
    let mut list = repository.snapshots().await?;
    if arguments.ids.is_empty() {
        list.snapshots.retain(|(_, s)| filter.matches(s));
    } else {
        list.snapshots.clear();
        for wanted in &arguments.ids {
            list.snapshots.push(repository.find_snapshot(wanted, &filter).await?);
        }
    }
    let rows: Vec<Vec<String>> = list.snapshots.iter().map(|(id, s)| row(id, s)).collect();
    let mut text = table(&["id", "time", "host", "tags", "paths"], &rows, &[]);
    text.push_str(&format!("{}\n", counted(rows.len() as u64, "snapshot")));
    let documents: Vec<Value> = list.snapshots.iter().map(|(id, s)| document(id, s)).collect();
    let outcome = if list.problems.is_empty() { Outcome::Pass } else { Outcome::Fail };
    Ok(Answer::new("repo snapshots", outcome, text)
        .with(json!({ "snapshots": documents }))
        .findings(list.problems.iter().map(finding).collect()))
}

/// A problem of the repository as a finding.
pub(crate) fn finding(problem: &Problem) -> Finding {
    let affects = match problem.affects.as_slice() {
        [] => String::new(),
        some if some.len() > 8 => format!("; affects {} and {} more", some[..8].join(", "), some.len() - 8),
        some => format!("; affects {}", some.join(", ")),
    };
    let fix = recoup_core::code::find(problem.code).map_or("", |c| c.next);
    let message = format!("{}{affects}", escape(problem.problem.as_bytes()));
    Finding::new(problem.code, Severity::High, escape(problem.object.as_bytes()), message, fix)
}

fn row(id: &Id, s: &Snapshot) -> Vec<String> {
    let show = |texts: &[String]| texts.iter().map(|t| escape(t.as_bytes())).collect::<Vec<_>>().join(", ");
    vec![
        id.short(),
        s.time.to_string().chars().take(19).collect::<String>().replace('T', " "),
        escape(s.hostname.as_bytes()),
        show(&s.tags),
        show(&s.paths),
    ]
}

fn document(id: &Id, s: &Snapshot) -> Value {
    json!({
        "id": id, "time": s.time.at, "paths": s.paths, "hostname": s.hostname, "username": s.username,
        "tags": s.tags, "tree": s.tree, "parent": s.parent, "program_version": s.program_version, "partial": s.story(),
    })
}

/// What to say of a partial snapshot that was asked for by its id.
pub(super) fn partial_finding(id: &Id, snapshot: &Snapshot) -> Option<Finding> {
    snapshot.is_partial().then(|| {
        Finding::new(
            "W0479",
            Severity::Warning,
            format!("snapshot {}", id.short()),
            "a backup that had not come to its end left it: what is not in it may exist",
            "run the backup again, and use the complete snapshot that it writes",
        )
    })
}
