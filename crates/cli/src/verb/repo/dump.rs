//! `recoup repo dump`.

use super::open::Options;
use super::snapshot_path;
use super::snapshots::{Filter, partial_finding};
use crate::context::Context;
use crate::render::Answer;
use crate::render::answer::Format;
use clap::{Args, ValueEnum};
use recoup_core::event::{Event, Outcome};
use recoup_core::name::escape;
use recoup_core::units::counted;
use recoup_core::{Error, Kind, Result};
use recoup_repo::export::{Archive, Exported, export};
use recoup_store::local::durable;
use serde_json::json;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::BufWriter;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Write a file of a snapshot, or a directory as an archive, to standard output.
///
/// Damage ends it with an error and another exit code than 0: what came out is then not whole. With
/// --target the file has its name only when it is.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup dump latest /etc/fstab\n  recoup repo -r /srv/backup dump latest /srv/www --archive zip --target www.zip"
)]
pub(crate) struct Arguments {
    /// Id, or `latest`.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// What is wanted, from the root of the snapshot.
    #[arg(value_name = "PATH")]
    path: OsString,
    /// The form of a directory.
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "tar")]
    archive: ArchiveArgument,
    /// Write to FILE instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    target: Option<PathBuf>,
    #[command(flatten)]
    filter: Filter,
}

/// Forms of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ArchiveArgument {
    /// Everything, with owners and attributes.
    Tar,
    /// Files, directories and links.
    Zip,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    if arguments.target.is_none() && context.globals.output != Format::Text {
        return Err(Error::new(Kind::Config, "dump to standard output and answer there too")
            .code("E0801")
            .effect("nothing was written")
            .hint("give --target FILE, or leave the form of the output as it is"));
    }
    let path = snapshot_path(&arguments.path)?;
    let archive = match arguments.archive {
        ArchiveArgument::Tar => Archive::Tar,
        ArchiveArgument::Zip => Archive::Zip,
    };
    let repository = open.repository(context).await?;
    let (id, snapshot) = repository.find_snapshot(&arguments.snapshot, &arguments.filter.to_filter()).await?;
    // Standard output may be the dump, so this is told while it goes on.
    if let Some(finding) = partial_finding(&id, &snapshot) {
        context.env.emit(Event::Finding(finding));
    }
    let Some(target) = &arguments.target else {
        let out = Box::new(BufWriter::with_capacity(1 << 20, std::io::stdout()));
        export(&repository, snapshot.tree, &path, archive, out).await?;
        return Ok(Answer::new("repo dump", Outcome::Pass, ""));
    };
    let unfinished = beside(target);
    let done = to_file(&unfinished, |out| export(&repository, snapshot.tree, &path, archive, out)).await;
    let done = match done.and_then(|done| durable::rename(&unfinished, target).map(|()| done)) {
        Ok(done) => done,
        Err(err) => {
            // What is not whole is of no use; if it stays, its name says so.
            let _ = durable::remove_file(&unfinished);
            return Err(err);
        }
    };
    let shown = escape(target.as_os_str().as_bytes());
    let text = format!("wrote {} to {shown}\n", counted(done.files, "file"));
    Ok(Answer::new("repo dump", Outcome::Pass, text).with(json!({
        "snapshot": id, "path": format!("/{path}"), "target": shown, "files": done.files,
        "bytes": done.bytes,
    })))
}

/// The name of `target` until it is whole.
fn beside(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".recoup-unfinished");
    PathBuf::from(name)
}

async fn to_file<Fut: Future<Output = Result<Exported>>>(
    path: &Path,
    fill: impl FnOnce(Box<dyn std::io::Write + Send>) -> Fut,
) -> Result<Exported> {
    let failed =
        |e| Error::io("write the target of a dump", e).with("file", escape(path.as_os_str().as_bytes()));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    let twin = file.try_clone().map_err(failed)?;
    let done = fill(Box::new(BufWriter::with_capacity(1 << 20, twin))).await?;
    file.sync_all().map_err(failed)?;
    Ok(done)
}
