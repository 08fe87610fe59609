//! `recoup repo unlock`.

use super::open::Options;
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_repo::locks::LockInfo;
use serde_json::{Value, json};

/// Remove locks whose holders are gone.
///
/// A run of recoup does this by itself for locks that are provably dead: same machine, and the
/// process is gone. This verb also removes those that were not refreshed for half an hour.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup repo -r /srv/backup unlock")]
pub(crate) struct Arguments {
    /// Remove every lock, even of a backup that runs: only when you know that nothing does.
    #[arg(long)]
    remove_all: bool,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    let report = repository.unlock(arguments.remove_all).await?;
    let mut text = String::new();
    for lock in &report.removed {
        text.push_str(&format!("removed {}\n", sentence(lock)));
    }
    for lock in &report.kept {
        text.push_str(&format!("kept    {}\n", sentence(lock)));
    }
    if text.is_empty() {
        text.push_str("no locks\n");
    }
    let list = |locks: &[LockInfo]| locks.iter().map(|l| Value::from(l.id.to_string())).collect::<Vec<_>>();
    Ok(Answer::new("repo unlock", Outcome::Pass, text)
        .with(json!({ "removed": list(&report.removed), "kept": list(&report.kept) })))
}

fn sentence(info: &LockInfo) -> String {
    let state = format!("{:?}", info.state).to_lowercase();
    let Some(lock) = &info.lock else { return format!("{} ({state})", info.id.short()) };
    format!(
        "{} of {}@{} pid {} since {} ({state})",
        info.id.short(),
        escape(lock.username.as_bytes()),
        escape(lock.hostname.as_bytes()),
        lock.pid,
        lock.time
    )
}
