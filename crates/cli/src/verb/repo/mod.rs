//! `recoup repo`: the engine's own face, for any repository in the restic format. restic's
//! environment variables and exit codes apply here.

mod backup;
mod check;
mod copy;
mod diff;
mod dump;
mod excludes;
mod find;
mod forget;
mod init;
mod key;
mod ls;
mod mount;
mod open;
mod prune;
mod repair;
mod restore;
mod snapshots;
mod state;
mod stats;
mod stream;
mod tag;
mod targets;
mod unlock;

use crate::context::Context;
use crate::render::Answer;
use clap::{Args, Subcommand};
use recoup_core::name::{TreePath, escape};
use recoup_core::{Error, Kind, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Work on any repository in the restic format.
///
/// No recoup.toml is needed. RESTIC_REPOSITORY, RESTIC_PASSWORD, RESTIC_PASSWORD_FILE and
/// RESTIC_PASSWORD_COMMAND mean what they mean to restic, and so do the exit codes: 0 done, 1 failed,
/// 3 incomplete backup, 10 no repository, 11 locked, 12 wrong password.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup init --password-file pw\n  recoup repo -r /srv/backup backup /home --exclude '*.tmp'\n  recoup repo -r /srv/backup restore latest --target /tmp/out"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    open: open::Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
    Snapshots(snapshots::Arguments),
    Ls(ls::Arguments),
    Check(check::Arguments),
    Repair(repair::Arguments),
    Forget(forget::Arguments),
    Prune(prune::Arguments),
    Unlock(unlock::Arguments),
    Key(key::Arguments),
    Copy(copy::Arguments),
    Tag(tag::Arguments),
    Dump(dump::Arguments),
    Stats(stats::Arguments),
    Find(find::Arguments),
    Diff(diff::Arguments),
    Mount(mount::Arguments),
}

/// A path in a snapshot as somebody typed it, from the root of the snapshot.
fn snapshot_path(typed: &OsStr) -> Result<TreePath> {
    TreePath::parse(typed.as_bytes()).map_err(|cause| {
        Error::new(Kind::Config, "use a path in a snapshot")
            .with("path", escape(typed.as_bytes()))
            .code("E0801")
            .effect("nothing was read or written")
            .hint("name it from the root of the snapshot, without `..`")
            .caused_by(cause)
    })
}

impl Arguments {
    /// Whether `--json` was given.
    pub(crate) fn wants_json(&self) -> bool {
        self.open.json
    }

    /// Whether the verb itself listens to Ctrl-C and SIGTERM.
    pub(crate) fn ends_by_itself(&self) -> bool {
        cfg!(feature = "mount") && matches!(self.verb, Verb::Mount(_))
    }

    /// The verb's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self.verb {
            Verb::Init(_) => "repo init",
            Verb::Backup(_) => "repo backup",
            Verb::Restore(_) => "repo restore",
            Verb::Snapshots(_) => "repo snapshots",
            Verb::Ls(_) => "repo ls",
            Verb::Check(_) => "repo check",
            Verb::Repair(_) => "repo repair",
            Verb::Forget(_) => "repo forget",
            Verb::Prune(_) => "repo prune",
            Verb::Unlock(_) => "repo unlock",
            Verb::Key(_) => "repo key",
            Verb::Copy(_) => "repo copy",
            Verb::Tag(_) => "repo tag",
            Verb::Dump(_) => "repo dump",
            Verb::Stats(_) => "repo stats",
            Verb::Find(_) => "repo find",
            Verb::Diff(_) => "repo diff",
            Verb::Mount(_) => "repo mount",
        }
    }
}

/// Hands the parsed command line to its verb.
pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    let open = &arguments.open;
    match arguments.verb {
        Verb::Init(a) => init::run(a, open, context).await,
        Verb::Backup(a) => backup::run(a, open, context).await,
        Verb::Restore(a) => restore::run(a, open, context).await,
        Verb::Snapshots(a) => snapshots::run(a, open, context).await,
        Verb::Ls(a) => ls::run(a, open, context).await,
        Verb::Check(a) => check::run(a, open, context).await,
        Verb::Repair(a) => repair::run(a, open, context).await,
        Verb::Forget(a) => forget::run(a, open, context).await,
        Verb::Prune(a) => prune::run(a, open, context).await,
        Verb::Unlock(a) => unlock::run(a, open, context).await,
        Verb::Key(a) => key::run(a, open, context).await,
        Verb::Copy(a) => copy::run(a, open, context).await,
        Verb::Tag(a) => tag::run(a, open, context).await,
        Verb::Dump(a) => dump::run(a, open, context).await,
        Verb::Stats(a) => stats::run(a, open, context).await,
        Verb::Find(a) => find::run(a, open, context).await,
        Verb::Diff(a) => diff::run(a, open, context).await,
        Verb::Mount(a) => mount::run(a, open, context).await,
    }
}
