//! `recoup repo repair`.

use super::open::Options;
use super::snapshots::{Filter, finding};
use crate::context::Context;
use crate::render::Answer;
use clap::{Args, Subcommand};
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_core::units::Span;
use recoup_repo::Id;
use recoup_repo::repair::{self, DamagedFiles, RepairOptions, Repaired, SnapshotOptions};
use recoup_store::Store;
use recoup_store::local::Local;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// Mend a damaged repository.
///
/// Says what it would do and changes nothing, unless --apply is given. Originals are never deleted
/// before what replaces them is durable, and are kept in quarantine. After a damage the order is:
/// index, packs, snapshots, then check.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup repair index --apply\n  recoup repo -r /srv/backup repair packs\n  recoup repo -r /srv/backup repair snapshots --apply"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Do it; otherwise only say what would be done.
    #[arg(long, global = true)]
    apply: bool,
    /// Only say what would be done, which is the default.
    #[arg(short = 'n', long, global = true, conflicts_with = "apply")]
    dry_run: bool,
    /// Keep originals in DIR instead of recoup/quarantine/ in the repository.
    #[arg(long, value_name = "DIR", global = true)]
    quarantine: Option<PathBuf>,
    /// Wait this long for others who hold the repository.
    #[arg(long, value_name = "DURATION", default_value = "0s", global = true)]
    retry_lock: Span,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the index say what the packs hold.
    Index {
        /// Read the header of every pack and write the whole index anew.
        #[arg(long)]
        read_all_packs: bool,
    },
    /// Save what is good in damaged packs; without PACK all packs are read to find them.
    Packs {
        /// Packs, by their whole id.
        #[arg(value_name = "PACK")]
        ids: Vec<Id>,
    },
    /// Write new snapshots without what is lost.
    Snapshots {
        /// Snapshots, by id; all without any.
        #[arg(value_name = "SNAPSHOT")]
        ids: Vec<String>,
        /// Move the damaged snapshots into quarantine; otherwise they stay beside the new ones.
        #[arg(long)]
        forget: bool,
        /// Leave damaged files out instead of keeping what is left as NAME.recoup-damaged.
        #[arg(long)]
        drop_damaged: bool,
    },
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    let quarantine = arguments.quarantine.map(|dir| Arc::new(Local::new(dir)) as Arc<dyn Store>);
    let options = RepairOptions { apply: arguments.apply, quarantine, lock_wait: arguments.retry_lock.0 };
    let report = match arguments.what {
        What::Index { read_all_packs } => repair::index(&repository, read_all_packs, &options).await?,
        What::Packs { ids } => repair::packs(&repository, &ids, &options).await?,
        What::Snapshots { ids, forget, drop_damaged } => {
            let mut which = SnapshotOptions { forget, ..SnapshotOptions::default() };
            for wanted in &ids {
                which.ids.push(repository.find_snapshot(wanted, &Filter::default().to_filter()).await?.0);
            }
            if drop_damaged {
                which.damaged = DamagedFiles::Drop;
            }
            repair::snapshots(&repository, &which, &options).await?
        }
    };
    Ok(answer(&report))
}

fn answer(report: &Repaired) -> Answer {
    let mut text = String::new();
    for problem in &report.lost {
        text.push_str(&format!("lost: {}: {}\n", escape(problem.object.as_bytes()), problem.problem));
    }
    let word = if report.applied { "did" } else { "would" };
    for step in &report.steps {
        text.push_str(&format!("{word}: {}: {}\n", step.object, step.what));
    }
    text.push_str(&match (report.steps.is_empty(), report.applied) {
        (true, _) => "nothing to repair\n".to_owned(),
        (false, false) => "nothing was changed; --apply does it\n".to_owned(),
        (false, true) => {
            format!("wrote {} objects, {} originals lie in quarantine\n", report.written, report.quarantined)
        }
    });
    let steps: Vec<_> =
        report.steps.iter().map(|step| json!({"object": step.object, "what": step.what})).collect();
    let lost: Vec<_> = report
        .lost
        .iter()
        .map(|p| json!({"object": escape(p.object.as_bytes()), "problem": p.problem, "code": p.code}))
        .collect();
    // What is lost stays lost, however well the rest was repaired.
    let outcome = if report.lost.is_empty() { Outcome::Pass } else { Outcome::Fail };
    Answer::new("repo repair", outcome, text).findings(report.lost.iter().map(finding).collect()).with(
        json!({
            "applied": report.applied, "steps": steps, "lost": lost, "written": report.written,
            "quarantined": report.quarantined,
        }),
    )
}
