//! `recoup repo restore`.

mod answer;
mod patterns;

use super::open::Options;
use super::snapshot_path;
use super::snapshots::{Filter, partial_finding};
use super::state;
use crate::context::Context;
use crate::render::Answer;
use answer::{Done, answer, planned};
use clap::{Args, ValueEnum};
use recoup_core::entry::Target;
use recoup_core::name::{TreePath, escape};
use recoup_core::units::ByteSize;
use recoup_core::{Error, Kind, Result};
use recoup_ops::env::Variables;
use recoup_repo::Id;
use recoup_repo::locks::LockMode;
use recoup_repo::read::{RestoreOptions, RestoreReport, delete_others, restore, survey, verify};
use recoup_repo::repository::Repository;
use recoup_sources::files::beneath::{
    Beneath, BeneathOptions, Guarded, Overwrite, Ownership, RestoreNotes, may_clear,
};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Restore a snapshot, or a part of it, into a directory.
///
/// Nothing is written outside the target, whatever the repository says, and no link is followed.
/// Devices, set-uid bits and capabilities are left out unless --allow-special asks for them.
/// Damaged files are listed and left out, everything else is restored.
///
/// What stands at the target already is compared piece by piece, and only what differs is read from the
/// repository; each file is replaced in one step. A restore that was stopped goes on where it was when the same
/// command is given again: finished files are noted in .recoup-restore.journal at the target.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup restore latest --target /tmp/out\n  recoup repo -r /srv/backup restore 4f1c02aa:/home/ana --target /tmp/out --include '*.odt'\n  recoup repo -r /srv/backup restore latest:/srv/shop --target /srv/shop --delete --dry-run"
)]
pub(crate) struct Arguments {
    /// Id, or `latest`; `:PATH` behind it restores only that directory.
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,
    /// Where to; made if it is missing.
    #[arg(short, long, value_name = "DIR")]
    target: PathBuf,
    #[command(flatten)]
    patterns: patterns::PatternArguments,
    /// What to do where a file stands already.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "if-changed")]
    overwrite: When,
    /// Delete what stands at the target and is not in the snapshot, after everything was restored. Only what the
    /// patterns select; never in a home, a root, or around the repository.
    #[arg(long)]
    delete: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Read every restored file back and compare it with the snapshot.
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,
    /// Who gets the files: `keep` their numbers, `by-name` where the name is known here, `current` user, or a
    /// user and group for all. Needs root, but for `current`.
    #[arg(long, value_name = "keep|by-name|current|USER[:GROUP]", default_value = "keep", value_parser = Ownership::parse)]
    owner: Ownership,
    /// The same as --owner by-name.
    #[arg(long, conflicts_with = "owner")]
    ownership_by_name: bool,
    /// Restore devices, set-uid bits and capabilities too. Needs root.
    #[arg(long)]
    allow_special: bool,
    /// The same as --owner current.
    #[arg(long, conflicts_with_all = ["owner", "ownership_by_name"])]
    no_owner: bool,
    /// Keep what can be read of a damaged file as NAME.recoup-damaged.
    #[arg(long)]
    keep_damaged: bool,
    /// Refuse to write more than this, as in "40 GiB".
    #[arg(long, value_name = "SIZE")]
    max_restore_bytes: Option<ByteSize>,
    #[command(flatten)]
    filter: Filter,
}

/// When to replace what stands there.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum When {
    /// A file of the same size and time of change is taken for the same, any other is compared.
    IfChanged,
    /// A file that was changed later than the one in the snapshot, or at the same time, stays.
    IfNewer,
    /// Whatever stands there stays.
    Never,
    /// Every file is compared, and replaced if it differs.
    Always,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let start = context.env.clock.monotonic();
    let (wanted, subpath) = arguments.snapshot()?;
    if arguments.delete {
        may_clear(&arguments.target, &guarded(open)?)?;
    }
    let (include, exclude) = arguments.patterns.build()?;
    let repository = open.repository(context).await?;
    let lock = repository.lock(LockMode::Shared).await?;
    let (id, snapshot) = repository.find_snapshot(&wanted, &arguments.filter.to_filter()).await?;
    if snapshot.is_partial() && arguments.delete {
        lock.release().await?;
        return Err(refuse_partial(&id));
    }
    let partial = partial_finding(&id, &snapshot);
    let options = RestoreOptions {
        include,
        exclude,
        subpath,
        bytes_max: arguments.max_restore_bytes.map(|b| b.0),
        keep_damaged: arguments.keep_damaged,
        delete: arguments.delete,
        address: id.short(),
    };
    let beneath = arguments.beneath(&id, &options);
    let seconds = || context.env.clock.monotonic().saturating_sub(start).as_secs_f64();
    if arguments.dry_run {
        let target = Beneath::open_if_there(&arguments.target, beneath)?;
        let target = target.map(|target| Arc::new(target) as Arc<dyn Target>);
        let mut steps = Vec::new();
        let mut seen = |path: &TreePath, what: &'static str| {
            if context.globals.verbose > 0 {
                steps.push((path.to_string(), what));
            }
        };
        let report = survey(&repository, snapshot.tree, &options, target, &mut seen).await?;
        lock.release().await?;
        return Ok(planned(&id.short(), &report, &steps, seconds()).finding(partial));
    }
    let target = Arc::new(Beneath::open(&arguments.target, beneath)?);
    let (report, notes, not_deleted) =
        carry_out(&repository, snapshot.tree, &options, &target, arguments.verify).await?;
    lock.release().await?;
    let done =
        Done { report: &report, notes: &notes, not_deleted: not_deleted.as_ref(), verify: arguments.verify };
    Ok(answer(&id.short(), &done, seconds()).finding(partial))
}

/// What such a snapshot lacks says nothing about what should not be there.
fn refuse_partial(id: &Id) -> Error {
    Error::new(Kind::Refused, "delete what a partial snapshot does not have")
        .with("snapshot", id.short())
        .code("E0480")
        .effect("nothing was written and nothing deleted")
        .hint("restore without --delete, or run the backup again and restore the complete snapshot")
}

/// Restores, makes durable, reads back, and deletes last, if nothing was wrong until then.
async fn carry_out(
    repository: &Repository,
    tree: Id,
    options: &RestoreOptions,
    target: &Arc<Beneath>,
    read_back: bool,
) -> Result<(RestoreReport, RestoreNotes, Option<Error>)> {
    let mut report = match restore(repository, tree, options, target.clone()).await {
        Ok(report) => report,
        Err(error) => {
            // What was finished is noted for the next run; the error that stopped this one is the story.
            let _noted = target.pause();
            return Err(error);
        }
    };
    let mut notes = target.finish_all()?;
    if read_back {
        verify(repository, tree, options, target.clone(), &mut report).await?;
    }
    let mut not_deleted = None;
    if options.delete {
        match delete_others(repository, tree, options, target.clone(), &mut report).await {
            Ok(()) => notes = target.finish_all()?,
            Err(error) if error.stable_code() == Some("E0484") => not_deleted = Some(error),
            Err(error) => return Err(error),
        }
    }
    if report.errors.is_empty() && not_deleted.is_none() {
        target.complete()?;
    } else {
        target.pause()?;
    }
    Ok((report, notes, not_deleted))
}

/// What must not be deleted with the rest of a directory.
fn guarded(open: &Options) -> Result<Vec<Guarded>> {
    let files = open.files().into_iter().map(|path| Guarded { what: "what opens the repository", path });
    let mut guarded: Vec<Guarded> = files.collect();
    guarded.push(Guarded { what: "the repository", path: open.path()? });
    guarded.extend(state::base().ok().map(|path| Guarded { what: "the state of recoup", path }));
    guarded.extend(Variables::of_process().home().map(|path| Guarded { what: "your home", path }));
    Ok(guarded)
}

impl Arguments {
    fn beneath(&self, id: &Id, options: &RestoreOptions) -> BeneathOptions {
        let owners = match (self.no_owner, self.ownership_by_name) {
            (true, _) => Ownership::Current,
            (_, true) => Ownership::ByName,
            _ => self.owner,
        };
        // What a finished file is: other patterns or another policy do not make it another one.
        let what = format!("{id} {} {owners:?} {}", options.subpath, self.allow_special);
        BeneathOptions {
            overwrite: match self.overwrite {
                When::IfChanged => Overwrite::IfChanged,
                When::IfNewer => Overwrite::IfNewer,
                When::Never => Overwrite::Never,
                When::Always => Overwrite::Always,
            },
            allow_special: self.allow_special,
            owners,
            journal: Some(*Id::of(what.as_bytes()).as_bytes()),
            ..BeneathOptions::default()
        }
    }

    fn snapshot(&self) -> Result<(String, TreePath)> {
        let bytes = self.snapshot.as_bytes();
        let cut = bytes.iter().position(|b| *b == b':').unwrap_or(bytes.len());
        let id = OsString::from_vec(bytes[..cut].to_vec()).into_string().map_err(|raw| {
            Error::new(Kind::Config, "read the name of the snapshot").with("name", escape(raw.as_bytes()))
        })?;
        Ok((id, snapshot_path(OsStr::from_bytes(bytes.get(cut + 1..).unwrap_or_default()))?))
    }
}
