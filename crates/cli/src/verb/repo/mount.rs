//! `recoup repo mount`.

use super::open::Options;
use super::snapshots::Filter;
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::Result;
use recoup_core::units::Span;
use std::path::PathBuf;

/// Show the snapshots as a read-only file system.
///
/// Below DIR stand snapshots/TIME, snapshots/latest, ids/ID, hosts/HOST/TIME and tags/TAG/TIME. Nothing
/// is read before it is asked for; new snapshots appear within ten seconds. Damage is an input/output
/// error and is told on standard error. Ctrl-C or umount ends it; a second Ctrl-C ends it although
/// somebody works in it.
#[derive(Args, Debug)]
#[cfg_attr(not(feature = "mount"), allow(dead_code, reason = "parsed and refused"))]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup mount /mnt\n  recoup repo -r /srv/backup mount /mnt --host web1 --allow-other"
)]
pub(crate) struct Arguments {
    /// An empty directory.
    #[arg(value_name = "DIR")]
    mountpoint: PathBuf,
    /// Let other users look, as far as the owners and modes of the files allow.
    #[arg(long)]
    allow_other: bool,
    /// With --allow-other: let other users read everything.
    #[arg(long)]
    no_default_permissions: bool,
    /// Show everything as owned by root.
    #[arg(long)]
    owner_root: bool,
    /// Take no lock, for a location that cannot be written. A prune meanwhile may take files away.
    #[arg(long)]
    no_lock: bool,
    /// Wait this long for others who hold the repository.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    retry_lock: Span,
    #[command(flatten)]
    filter: Filter,
}

#[cfg(not(feature = "mount"))]
pub(crate) async fn run(_: Arguments, _: &Options, _: &Context) -> Result<Answer> {
    Err(recoup_core::Error::new(
        recoup_core::Kind::Unsupported,
        "mount with a program that was built without it",
    )
    .code("E0840")
    .effect("nothing was mounted"))
}

#[cfg(feature = "mount")]
pub(crate) use with_fuse::run;

#[cfg(feature = "mount")]
mod with_fuse {
    use super::{Answer, Arguments, Context, Options, Result};
    use crate::mount::{Mount, MountOptions, Unmounted};
    use recoup_core::Error;
    use recoup_core::event::{Event, Finding, Outcome, Severity};
    use recoup_repo::locks::LockMode;
    use recoup_repo::repository::Repository;
    use recoup_repo::view::{View, ViewOptions};
    use serde_json::json;
    use tokio::signal::unix::{Signal, SignalKind, signal};

    pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
        let listening = |kind| signal(kind).map_err(|cause| Error::io("listen for signals", cause));
        let mut signals = [listening(SignalKind::interrupt())?, listening(SignalKind::terminate())?];
        let repository = open.repository(context).await?;
        let lock = match arguments.no_lock {
            true => None,
            false => Some(repository.lock_within(LockMode::Shared, arguments.retry_lock.0).await?),
        };
        let result = serve(&arguments, &repository, context, &mut signals).await;
        let released = match lock {
            Some(lock) => lock.release().await,
            None => Ok(()),
        };
        let mountpoint = result?;
        released?;
        Ok(Answer::new("repo mount", Outcome::Pass, format!("unmounted {mountpoint}\n"))
            .with(json!({ "mountpoint": mountpoint })))
    }

    async fn serve(
        arguments: &Arguments,
        repository: &Repository,
        context: &Context,
        signals: &mut [Signal; 2],
    ) -> Result<String> {
        let host = &context.env.host;
        let options = ViewOptions {
            filter: arguments.filter.to_filter(),
            owner: (host.uid, host.gid),
            owner_of_all: arguments.owner_root.then_some((0, 0)),
        };
        let view = View::new(repository, options).await?;
        let who = MountOptions {
            allow_other: arguments.allow_other,
            check_permissions: !arguments.no_default_permissions,
        };
        let mut mount = Mount::new(view, &arguments.mountpoint, who).await?;
        let mountpoint = mount.mountpoint();
        let message = format!("snapshots are at {mountpoint}; Ctrl-C or umount ends it");
        context.env.emit(Event::Checkpoint { stage: "mount".into(), message });
        let mut asked = false;
        loop {
            let [int, term] = &mut *signals;
            tokio::select! {
                ended = mount.ended() => return ended.map(|()| mountpoint),
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            if asked {
                mount.detach();
                return Ok(mountpoint);
            }
            if mount.unmount()? == Unmounted::InUse {
                asked = true;
                let text = "somebody works in it; it ends when they are done and it is unmounted, or at the next Ctrl-C";
                let fix = recoup_core::code::find("W0842").map_or("", |code| code.next);
                let finding = Finding::new("W0842", Severity::Warning, mountpoint.clone(), text, fix);
                context.env.emit(Event::Finding(finding));
            }
        }
    }
}
