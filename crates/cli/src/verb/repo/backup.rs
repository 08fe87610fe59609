//! `recoup repo backup`.

use super::excludes::ExcludeArguments;
use super::find::moment;
use super::open::Options;
use super::stream;
use super::targets::{Lists, Targets};
use crate::context::Context;
use crate::render::Answer;
use clap::{Args, ValueEnum};
use recoup_core::Result;
use recoup_core::entry::PathProblem;
use recoup_core::env::Env;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::retention::GroupBy;
use recoup_core::units::{ByteSize, Span};
use recoup_repo::chunk::ChunkerKind;
use recoup_repo::golang::time::GoTime;
use recoup_repo::repository::Repository;
use recoup_repo::repository::SnapshotFilter;
use recoup_repo::snapshot::{overtaken, refuse_partial_tag};
use recoup_repo::write::{Earlier, Parent, TreeReport, WriteOptions, Writer};
use recoup_repo::{Id, Snapshot};
use recoup_sources::files::roots::Roots;
use recoup_sources::files::walk::{Databases, Notes, Options as WalkOptions};
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Exit code of restic for a snapshot that lacks what could not be read.
const INCOMPLETE: u8 = 3;

/// Back up files and directories.
///
/// Everything is kept: owners, modes, times, extended attributes, hard links, holes, devices, any
/// byte in a name. What cannot be read is listed, the rest is stored, and the exit code is 3.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup backup /home /etc --exclude '*.tmp'\n  recoup repo -r /srv/backup backup . --tag nightly --output json\n  recoup repo -r /srv/backup backup /var/lib/postgresql --chunker pages\n  recoup repo -r /srv/backup backup --stdin-from-command --stdin-filename db.sql --chunker lines -- pg_dump shop"
)]
pub(crate) struct Arguments {
    /// What to back up.
    #[arg(
        value_name = "PATH",
        required_unless_present_any = ["stdin", "files_from", "files_from_verbatim", "files_from_raw"]
    )]
    pub(super) paths: Vec<PathBuf>,
    #[command(flatten)]
    lists: Lists,
    /// Store what comes on standard input as one file.
    #[arg(
        long,
        conflicts_with_all = ["paths", "stdin_from_command", "files_from", "files_from_verbatim", "files_from_raw"]
    )]
    stdin: bool,
    /// Run the command that is given in place of paths, after `--`, and store what it writes as one file.
    /// If it fails, no snapshot is written.
    #[arg(long, conflicts_with_all = ["files_from", "files_from_verbatim", "files_from_raw"])]
    pub(super) stdin_from_command: bool,
    /// The name of that file.
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub(super) stdin_filename: String,
    /// Date the snapshot with this time instead of now: RFC 3339, or a date and time here.
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    #[command(flatten)]
    exclude: ExcludeArguments,
    /// Tags of the snapshot, comma separated; may be given more than once.
    #[arg(long = "tag", value_name = "TAG[,TAG...]")]
    tags: Vec<String>,
    /// Host name in the snapshot, instead of this machine's.
    #[arg(short = 'H', long, value_name = "HOST")]
    host: Option<String>,
    /// Take unchanged files from this snapshot, instead of the newest one of the same host and paths that is not
    /// dated later than the new one.
    #[arg(long, value_name = "SNAPSHOT")]
    parent: Option<String>,
    /// What the parent must have in common with the new snapshot: a list of host, paths, tags.
    #[arg(short = 'g', long, value_name = "LIST", default_value = "host,paths")]
    group_by: GroupBy,
    /// Read every file again.
    #[arg(short, long, conflicts_with = "parent")]
    force: bool,
    /// Take a file for unchanged though its time of the last change of metadata is another.
    #[arg(long)]
    ignore_ctime: bool,
    /// Take a file for unchanged though its inode is another, or its time of the last change of metadata: file
    /// systems that make up the one make up the other.
    #[arg(long)]
    ignore_inode: bool,
    /// Write no snapshot if everything is as it is in the parent.
    #[arg(long)]
    skip_if_unchanged: bool,
    /// Read so many files at the same time, instead of one for each processor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    read_concurrency: Option<u16>,
    /// Take no more memory than SIZE, as in "400 MiB", by fewer threads and smaller packs. At least 160 MiB and 64
    /// bytes for each blob of the repository; what directories hold while they are read comes on top.
    #[arg(long, value_name = "SIZE")]
    pub(super) max_memory: Option<ByteSize>,
    /// For scripts: nothing is ever looked at twice for a progress bar.
    #[arg(long, hide = true)]
    no_scan: bool,
    /// Read and count, store nothing.
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// Keep what is done so far as a partial snapshot this often, so that a run that is stopped costs the next one
    /// no second reading; `0s` for never. The complete snapshot replaces it.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    partial_every: Span,
    /// Where files are cut into pieces: `rabin` as restic does, `pages` for the files of databases, `lines` for
    /// dumps. It decides what a later backup stores again, and nothing else.
    #[arg(long, value_name = "CHUNKER", value_enum, default_value = "rabin")]
    pub(super) chunker: Chunker,
    /// Keep times of last access too, which makes nearly every tree new.
    #[arg(long)]
    with_atime: bool,
    /// Wait this long for others who hold the repository.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(super) retry_lock: Span,
}

/// Where files are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Chunker {
    /// Where restic cuts them, so that both share what they store.
    Rabin,
    /// At pages, in small pieces where something changed since the parent snapshot.
    Pages,
    /// After lines, in small pieces.
    Lines,
}

impl From<Chunker> for ChunkerKind {
    fn from(chunker: Chunker) -> Self {
        match chunker {
            Chunker::Rabin => ChunkerKind::Rabin,
            Chunker::Pages => ChunkerKind::Pages,
            Chunker::Lines => ChunkerKind::Lines,
        }
    }
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    if arguments.stdin || arguments.stdin_from_command {
        return stream::run(&arguments, open, context).await;
    }
    let start = context.env.clock.monotonic();
    let exclude = arguments.exclude.build()?;
    let walk = WalkOptions { exclude, databases: Databases::Note };
    let Targets { paths, mut findings } = arguments.lists.and(&arguments.paths)?;
    let roots = Roots::new(&paths, walk)?;
    let walk = roots.walk().clone();
    findings.extend_from_slice(roots.findings());
    let paths: Vec<String> = roots
        .paths()
        .iter()
        .map(|p| String::from_utf8_lossy(p.as_os_str().as_bytes()).into_owned())
        .collect();
    let named = |path: &Path| escape(path.as_os_str().as_bytes());
    let missing: Vec<Value> = roots
        .missing()
        .iter()
        .map(|(path, error)| json!({"path": named(path), "error": error.to_string()}))
        .collect();

    let repository = open.repository(context).await?;
    let mut snapshot = Snapshot::new(&context.env, Id::of(b""), paths);
    snapshot.excludes = arguments.exclude.exclude.clone();
    arguments.describe(&mut snapshot, &context.env)?;
    let all = repository.snapshots().await?.snapshots;
    // Who gives the time knows that others are later.
    let later = snapshot.overtaken_by(&all).filter(|_| arguments.time.is_none());
    findings.extend(later.map(|(id, later)| overtaken(&format!("snapshot {}", id.short()), later.time.at)));
    let parent = arguments.parent(&repository, &snapshot, &all).await?;
    snapshot.parent = parent.map(|parent| parent.id);
    let parent_tree = parent.map(|parent| parent.tree);
    let mut earlier = Earlier::of(&snapshot, parent, &all);
    if arguments.force || arguments.parent.is_some() {
        earlier = earlier.without_partial();
    }
    let resumed = earlier.resumed();
    let mut writer = Writer::begin(&repository, arguments.write_options()).await?;
    let report = writer.tree(Box::new(roots), earlier, "repo").await?;
    snapshot.tree = report.tree;
    let saved = if arguments.dry_run {
        Saved::DryRun
    } else if arguments.skip_if_unchanged && parent_tree == Some(report.tree) {
        writer.forget_partials(&snapshot.paths).await;
        Saved::Skipped
    } else {
        Saved::As(writer.snapshot(snapshot).await?)
    };
    writer.finish().await?;
    let seconds = context.env.clock.monotonic().saturating_sub(start).as_secs_f64();
    findings.extend(notes_as_findings(&walk.notes(), &report));
    let chunker = ChunkerKind::from(arguments.chunker);
    Ok(answer(&report, saved, missing, findings, seconds)
        .with(json!({ "chunker": chunker.name(), "resumed": resumed })))
}

/// What became of the snapshot.
#[derive(Clone, Copy)]
enum Saved {
    As(Id),
    /// It would be the parent again.
    Skipped,
    DryRun,
}

impl Arguments {
    fn write_options(&self) -> WriteOptions {
        WriteOptions {
            dry_run: self.dry_run,
            with_atime: self.with_atime,
            chunker: self.chunker.into(),
            ignore_ctime: self.ignore_ctime || self.ignore_inode,
            ignore_inode: self.ignore_inode,
            lock_wait: self.retry_lock.0,
            threads: self.read_concurrency.map(usize::from),
            memory_bytes_max: self.max_memory.map(|size| size.0),
            partial_every: Some(self.partial_every.0).filter(|every| !every.is_zero()),
            ..WriteOptions::default()
        }
    }

    /// Host, tags and time as they were asked for.
    pub(super) fn describe(&self, snapshot: &mut Snapshot, env: &Env) -> Result<()> {
        if let Some(host) = &self.host {
            snapshot.hostname.clone_from(host);
        }
        if let Some(time) = &self.time {
            snapshot.time = GoTime::new(moment(time, &env.zone)?, &env.zone);
        }
        snapshot.tags = self.tags.iter().flat_map(|t| t.split(',')).map(str::to_owned).collect();
        refuse_partial_tag(&snapshot.tags)
    }

    /// The snapshot whose unchanged files need not be read: the one that was named, or the newest of the group
    /// that is not dated later.
    async fn parent(
        &self,
        repository: &Repository,
        new: &Snapshot,
        all: &[(Id, Snapshot)],
    ) -> Result<Option<Parent>> {
        let as_parent = |(id, s): &(Id, Snapshot)| Parent { id: *id, time: s.time.at, tree: s.tree };
        if self.force {
            return Ok(None);
        }
        if let Some(wanted) = &self.parent {
            let found = repository.find_snapshot(wanted, &SnapshotFilter::default()).await?;
            return Ok(Some(as_parent(&found)));
        }
        let by = self.group_by;
        let same = |old: &Snapshot| {
            (!by.host || old.hostname == new.hostname)
                && (!by.paths || sorted(&old.paths) == sorted(&new.paths))
                && (!by.tags || sorted(&old.tags) == sorted(&new.tags))
                && old.time.at <= new.time.at
                && !old.is_partial()
        };
        Ok(all.iter().rfind(|(_, old)| same(old)).map(as_parent))
    }
}

fn sorted(texts: &[String]) -> Vec<&str> {
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.sort_unstable();
    texts
}

fn notes_as_findings(notes: &Notes, report: &TreeReport) -> Vec<Finding> {
    let mut findings: Vec<Finding> = notes
        .databases_plain
        .iter()
        .map(|path| {
            Finding::new(
                "W0551",
                Severity::Warning,
                path.clone(),
                "a SQLite database with a journal beside it was read as a plain file; the copy may be torn",
                "declare it as a source of kind \"sqlite\" in recoup.toml and use `recoup backup`",
            )
        })
        .collect();
    findings.extend(report.changed_while_read.iter().map(|path| {
        Finding::new(
            "W0552",
            Severity::Warning,
            path.to_string(),
            "the file changed every time it was read; what is stored may be a mixture of two states",
            "back it up when nothing writes to it, or through a source that knows its format",
        )
    }));
    findings
}

/// A problem with one path, for scripts.
pub(crate) fn problem(p: &PathProblem) -> Value {
    json!({ "path": p.path.to_string(), "error": p.error.to_string() })
}

fn answer(
    report: &TreeReport,
    saved: Saved,
    mut errors: Vec<Value>,
    findings: Vec<Finding>,
    seconds: f64,
) -> Answer {
    errors.extend(report.errors.iter().map(problem));
    let mut text = String::new();
    for error in &errors {
        let (path, why) = (error["path"].as_str().unwrap_or(""), error["error"].as_str().unwrap_or(""));
        text.push_str(&format!("not backed up: {path} {why}\n"));
    }
    if report.files_adopted > 0 {
        let adopted = report.files_adopted;
        text.push_str(&format!(
            "went on where a run had been stopped: {adopted} files were not read again\n"
        ));
    }
    text.push_str(&format!(
        "files  {} new, {} changed, {} unmodified\nread   {}, added {} ({} in packs) in {seconds:.1} s\n",
        report.files_new,
        report.files_changed,
        report.files_unmodified,
        ByteSize(report.bytes_read),
        ByteSize(report.bytes_added),
        ByteSize(report.bytes_stored),
    ));
    let id = match saved {
        Saved::As(id) => Some(id),
        Saved::Skipped | Saved::DryRun => None,
    };
    match saved {
        Saved::As(id) => text.push_str(&format!("snapshot {} saved\n", id.short())),
        Saved::Skipped => text.push_str("unchanged since the parent: no snapshot was written\n"),
        Saved::DryRun => text.push_str("dry run: nothing was stored\n"),
    }
    let outcome = if errors.is_empty() { Outcome::Pass } else { Outcome::Partial };
    let code = if errors.is_empty() { crate::exit::DONE } else { INCOMPLETE };
    Answer::new("repo backup", outcome, text).code(code).findings(findings).with(json!({
        "snapshot": id, "tree": report.tree, "skipped": matches!(saved, Saved::Skipped),
        "files_new": report.files_new, "files_changed": report.files_changed,
        "files_unmodified": report.files_unmodified, "files_adopted": report.files_adopted,
        "bytes_read": report.bytes_read, "bytes_added": report.bytes_added,
        "bytes_stored": report.bytes_stored, "seconds": seconds, "errors": errors,
    }))
}
