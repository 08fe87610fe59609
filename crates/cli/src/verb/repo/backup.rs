//! `recoup repo backup`.

use super::find::moment;
use super::open::Options;
use super::stream;
use crate::context::Context;
use crate::render::Answer;
use clap::{ArgAction, Args, ValueEnum};
use recoup_core::entry::PathProblem;
use recoup_core::env::Env;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::units::{ByteSize, Span};
use recoup_core::{Error, Kind, Result};
use recoup_ops::env::Variables;
use recoup_repo::golang::time::GoTime;
use recoup_repo::repository::Repository;
use recoup_repo::repository::SnapshotFilter;
use recoup_repo::write::{TreeReport, WriteOptions, Writer};
use recoup_repo::{Id, Snapshot};
use recoup_sources::files::exclude::{Excludes, lines_of_file};
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
    after_help = "Examples:\n  recoup repo -r /srv/backup backup /home /etc --exclude '*.tmp'\n  recoup repo -r /srv/backup backup . --tag nightly --output json\n  recoup repo -r /srv/backup backup --stdin-from-command --stdin-filename db.sql -- pg_dump shop"
)]
pub(crate) struct Arguments {
    /// What to back up.
    #[arg(value_name = "PATH", required_unless_present = "stdin")]
    pub(super) paths: Vec<PathBuf>,
    /// Store what comes on standard input as one file.
    #[arg(long, conflicts_with_all = ["paths", "stdin_from_command"])]
    stdin: bool,
    /// Run the command that is given in place of paths, after `--`, and store what it writes as one file.
    /// If it fails, no snapshot is written.
    #[arg(long)]
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
    /// Take unchanged files from this snapshot, instead of the newest of the same host and paths.
    #[arg(long, value_name = "SNAPSHOT")]
    parent: Option<String>,
    /// Read every file again.
    #[arg(short, long, conflicts_with = "parent")]
    force: bool,
    /// Read and count, store nothing.
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// Keep times of last access too, which makes nearly every tree new.
    #[arg(long)]
    with_atime: bool,
    /// Wait this long for others who hold the repository.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(super) retry_lock: Span,
}

#[derive(Args, Debug)]
struct ExcludeArguments {
    /// Leave out what matches PATTERN, in restic's grammar; may be given more than once.
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// The same, whatever the case.
    #[arg(long, value_name = "PATTERN")]
    iexclude: Vec<String>,
    /// Read patterns from FILE, one a line.
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// The same, whatever the case; always in restic's grammar.
    #[arg(long, value_name = "FILE")]
    iexclude_file: Vec<PathBuf>,
    /// Which grammar the patterns of --exclude-file are in.
    #[arg(long, value_name = "GRAMMAR", value_enum, default_value = "restic")]
    exclude_syntax: Grammar,
    /// Leave out directories that hold NAME, optionally beginning with HEADER.
    #[arg(long, value_name = "NAME[:HEADER]")]
    exclude_if_present: Vec<String>,
    /// Leave out directories marked with CACHEDIR.TAG.
    #[arg(long, action = ArgAction::SetTrue)]
    exclude_caches: bool,
    /// Leave out files larger than SIZE, as in "500 MiB".
    #[arg(long, value_name = "SIZE")]
    exclude_larger_than: Option<ByteSize>,
    /// Stay on the file systems of the given paths.
    #[arg(short = 'x', long)]
    one_file_system: bool,
}

/// The grammar of an exclude file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Grammar {
    /// As restic has it.
    Restic,
    /// As Git has it.
    Git,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    if arguments.stdin || arguments.stdin_from_command {
        return stream::run(&arguments, open, context).await;
    }
    let start = context.env.clock.monotonic();
    let exclude = arguments.exclude.build()?;
    let walk = WalkOptions { exclude, databases: Databases::Note };
    let roots = Roots::new(&arguments.paths, walk)?;
    let (walk, mut findings) = (roots.walk().clone(), roots.findings().to_vec());
    let paths: Vec<String> = roots
        .paths()
        .iter()
        .map(|p| String::from_utf8_lossy(p.as_os_str().as_bytes()).into_owned())
        .collect();
    let missing: Vec<Value> =
        roots.missing().iter().map(|e| json!({"path": "", "error": e.to_string()})).collect();

    let repository = open.repository(context).await?;
    let host = arguments.host.clone().unwrap_or_else(|| context.env.host.hostname.clone());
    let parent = arguments.parent(&repository, &host, &paths).await?;
    let options = WriteOptions {
        dry_run: arguments.dry_run,
        with_atime: arguments.with_atime,
        lock_wait: arguments.retry_lock.0,
        ..WriteOptions::default()
    };
    let mut snapshot = Snapshot::new(&context.env, Id::of(b""), paths);
    snapshot.parent = parent.as_ref().map(|(id, _)| *id);
    snapshot.excludes = arguments.exclude.exclude.clone();
    arguments.describe(&mut snapshot, &context.env)?;
    let mut writer = Writer::begin(&repository, options).await?;
    let parent_tree = parent.map(|(_, s)| s.tree);
    let report = writer.tree(Box::new(roots), parent_tree, "repo").await?;
    snapshot.tree = report.tree;
    let id = if arguments.dry_run { None } else { Some(writer.snapshot(snapshot).await?) };
    writer.finish().await?;
    let seconds = context.env.clock.monotonic().saturating_sub(start).as_secs_f64();
    findings.extend(notes_as_findings(&walk.notes(), &report));
    Ok(answer(&report, id, missing, findings, seconds))
}

impl Arguments {
    /// Host, tags and time as they were asked for.
    pub(super) fn describe(&self, snapshot: &mut Snapshot, env: &Env) -> Result<()> {
        if let Some(host) = &self.host {
            snapshot.hostname.clone_from(host);
        }
        if let Some(time) = &self.time {
            snapshot.time = GoTime::new(moment(time, &env.zone)?, &env.zone);
        }
        snapshot.tags = self.tags.iter().flat_map(|t| t.split(',')).map(str::to_owned).collect();
        Ok(())
    }

    async fn parent(
        &self,
        repository: &Repository,
        host: &str,
        paths: &[String],
    ) -> Result<Option<(Id, Snapshot)>> {
        if self.force {
            return Ok(None);
        }
        if let Some(wanted) = &self.parent {
            return repository.find_snapshot(wanted, &SnapshotFilter::default()).await.map(Some);
        }
        let sorted = |paths: &[String]| {
            let mut paths = paths.to_vec();
            paths.sort();
            paths
        };
        let all = repository.snapshots().await?.snapshots;
        Ok(all.into_iter().rfind(|(_, s)| s.hostname == host && sorted(&s.paths) == sorted(paths)))
    }
}

impl ExcludeArguments {
    fn build(&self) -> Result<Excludes> {
        let mut excludes = Excludes::default();
        for pattern in &self.exclude {
            excludes.pattern(pattern.as_bytes())?;
        }
        for pattern in &self.iexclude {
            excludes.pattern_any_case(pattern.as_bytes())?;
        }
        let variables = Variables::of_process();
        let lookup = |name: &[u8]| {
            let name = std::str::from_utf8(name).ok()?;
            Some(variables.get(name)?.as_bytes().to_vec())
        };
        for file in &self.exclude_file {
            let text = read_patterns(file)?;
            if self.exclude_syntax == Grammar::Git {
                let text = String::from_utf8(text).map_err(|e| {
                    Error::new(Kind::Config, "read an exclude file as UTF-8").caused_by(e).code("E0520")
                })?;
                excludes.git_lines(&text.lines().collect::<Vec<_>>())?;
                continue;
            }
            for line in lines_of_file(&text, &lookup) {
                excludes.pattern(&line)?;
            }
        }
        for file in &self.iexclude_file {
            for line in lines_of_file(&read_patterns(file)?, &lookup) {
                excludes.pattern_any_case(&line)?;
            }
        }
        for spec in &self.exclude_if_present {
            excludes.if_present(spec.as_bytes())?;
        }
        if self.exclude_caches {
            excludes.caches();
        }
        excludes.one_file_system = self.one_file_system;
        excludes.larger_than = self.exclude_larger_than.map(|s| s.0);
        Ok(excludes)
    }
}

fn read_patterns(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|e| {
        Error::io("read an exclude file", e)
            .with("file", escape(file.as_os_str().as_bytes()))
            .effect("nothing was backed up")
    })
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
    id: Option<Id>,
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
    text.push_str(&format!(
        "files  {} new, {} changed, {} unmodified\nread   {}, added {} ({} in packs) in {seconds:.1} s\n",
        report.files_new,
        report.files_changed,
        report.files_unmodified,
        ByteSize(report.bytes_read),
        ByteSize(report.bytes_added),
        ByteSize(report.bytes_stored),
    ));
    match id {
        Some(id) => text.push_str(&format!("snapshot {} saved\n", id.short())),
        None => text.push_str("dry run: nothing was stored\n"),
    }
    let outcome = if errors.is_empty() { Outcome::Pass } else { Outcome::Partial };
    let code = if errors.is_empty() { crate::exit::DONE } else { INCOMPLETE };
    Answer::new("repo backup", outcome, text).code(code).findings(findings).with(json!({
        "snapshot": id, "tree": report.tree,
        "files_new": report.files_new, "files_changed": report.files_changed,
        "files_unmodified": report.files_unmodified,
        "bytes_read": report.bytes_read, "bytes_added": report.bytes_added,
        "bytes_stored": report.bytes_stored, "seconds": seconds, "errors": errors,
    }))
}
