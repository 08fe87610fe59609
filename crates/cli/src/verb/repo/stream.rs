//! `recoup repo backup --stdin` and `--stdin-from-command`: one stream as one file.

use super::backup::Arguments;
use super::open::Options;
use crate::context::Context;
use crate::render::Answer;
use recoup_core::event::Outcome;
use recoup_core::name::TreePath;
use recoup_core::units::ByteSize;
use recoup_core::{Error, Kind, Result};
use recoup_repo::chunk::ChunkerKind;
use recoup_repo::write::{WriteOptions, Writer};
use recoup_repo::{Id, Snapshot};
use recoup_sources::process::{self, Run, Stream};
use serde_json::json;
use std::io::Read;
use std::time::Duration;

/// How long a command may take to end after its output did.
const END_LIMIT: Duration = Duration::from_secs(60 * 60);

pub(super) async fn run(arguments: &Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let start = context.env.clock.monotonic();
    let path = TreePath::parse(arguments.stdin_filename.as_bytes())?;
    if path.components().is_empty() {
        return Err(Error::new(Kind::Config, "store a stream without a name").code("E0801"));
    }
    let repository = open.repository(context).await?;
    let options = WriteOptions {
        dry_run: arguments.dry_run,
        chunker: arguments.chunker.into(),
        memory_bytes_max: arguments.max_memory.map(|size| size.0),
        lock_wait: arguments.retry_lock.0,
        ..WriteOptions::default()
    };
    let mut writer = Writer::begin(&repository, options).await?;
    let stored = store(arguments, &mut writer, &path, context).await;
    let (tree, bytes) = match stored {
        Ok(stored) => stored,
        Err(err) => {
            // What was stored is of use to the next run.
            let _ = writer.flush().await;
            writer.finish().await?;
            return Err(err);
        }
    };
    let mut snapshot = Snapshot::new(
        &context.env,
        tree,
        vec![format!("/{}", arguments.stdin_filename.trim_start_matches('/'))],
    );
    arguments.describe(&mut snapshot, &context.env)?;
    let added = writer.added();
    let id: Option<Id> = if arguments.dry_run { None } else { Some(writer.snapshot(snapshot).await?) };
    writer.finish().await?;
    let seconds = context.env.clock.monotonic().saturating_sub(start).as_secs_f64();
    let saved =
        id.map_or("dry run: nothing was stored".to_owned(), |id| format!("snapshot {} saved", id.short()));
    let text = format!(
        "read   {}, added {} ({} in packs) in {seconds:.1} s\n{saved}\n",
        ByteSize(bytes),
        ByteSize(added.bytes_added),
        ByteSize(added.bytes_stored)
    );
    Ok(Answer::new("repo backup", Outcome::Pass, text).with(json!({
        "snapshot": id, "tree": tree, "files_new": 1, "files_changed": 0, "files_unmodified": 0,
        "bytes_read": bytes, "bytes_added": added.bytes_added, "bytes_stored": added.bytes_stored,
        "seconds": seconds, "errors": [], "chunker": ChunkerKind::from(arguments.chunker).name(),
    })))
}

/// Stores the stream. That a command ended well is known before its output may be in a snapshot.
async fn store(
    arguments: &Arguments,
    writer: &mut Writer,
    path: &TreePath,
    context: &Context,
) -> Result<(Id, u64)> {
    let failed = |err: Error| {
        Error::new(err.kind(), "store the output of a command")
            .caused_by(err)
            .code("E0495")
            .effect("no snapshot was written")
    };
    let mut command: Option<Stream> = None;
    let source: Box<dyn Read + Send> = if arguments.stdin_from_command {
        let run = Run::argv(&arguments.paths, END_LIMIT)?;
        let stream = command.insert(process::stream(&run).map_err(failed)?);
        stream.output()
    } else {
        Box::new(std::io::stdin())
    };
    let stored = writer.stream(path, source, context.env.now()).await?;
    if let Some(stream) = command {
        let ended = tokio::task::spawn_blocking(move || stream.end()).await;
        ended.map_err(|cause| Error::bug("wait for a command").caused_by(cause)).flatten().map_err(failed)?;
    }
    Ok(stored)
}
