//! `recoup repo restore`.

use super::backup::problem;
use super::open::Options;
use super::snapshot_path;
use super::snapshots::Filter;
use crate::context::Context;
use crate::render::Answer;
use clap::{Args, ValueEnum};
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::{TreePath, escape};
use recoup_core::units::ByteSize;
use recoup_core::{Error, Kind, Result};
use recoup_repo::locks::LockMode;
use recoup_repo::read::glob::Pattern;
use recoup_repo::read::{RestoreOptions, RestoreReport, restore};
use recoup_sources::files::beneath::{Beneath, BeneathOptions, Overwrite, RestoreNotes};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Restore a snapshot, or a part of it, into a directory.
///
/// Nothing is written outside the target, whatever the repository says, and no link is followed.
/// Devices, set-uid bits and capabilities are left out unless --allow-special asks for them.
/// Damaged files are listed and left out, everything else is restored.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup restore latest --target /tmp/out\n  recoup repo -r /srv/backup restore 4f1c02aa:/home/ana --target /tmp/out --include '*.odt'"
)]
pub(crate) struct Arguments {
    /// Id, or `latest`; `:PATH` behind it restores only that directory.
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,
    /// Where to; made if it is missing.
    #[arg(short, long, value_name = "DIR")]
    target: PathBuf,
    /// Only what matches PATTERN; may be given more than once.
    #[arg(short, long, value_name = "PATTERN")]
    include: Vec<OsString>,
    /// Nothing that matches PATTERN; may be given more than once.
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// What to do where a file stands already.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "if-changed")]
    overwrite: When,
    /// Restore devices, set-uid bits and capabilities too. Needs root.
    #[arg(long)]
    allow_special: bool,
    /// Leave everything to the current user.
    #[arg(long)]
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
    /// A file of the same size and time of change stays.
    IfChanged,
    /// Whatever stands there stays.
    Never,
    /// Everything is replaced.
    Always,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let start = context.env.clock.monotonic();
    let (wanted, subpath) = arguments.snapshot()?;
    let repository = open.repository(context).await?;
    let lock = repository.lock(LockMode::Shared).await?;
    let (id, snapshot) = repository.find_snapshot(&wanted, &arguments.filter.to_filter()).await?;
    let patterns =
        |texts: &[OsString]| texts.iter().map(|t| Pattern::new(t.as_bytes())).collect::<Result<_>>();
    let options = RestoreOptions {
        include: patterns(&arguments.include)?,
        exclude: patterns(&arguments.exclude)?,
        subpath,
        bytes_max: arguments.max_restore_bytes.map(|b| b.0),
        keep_damaged: arguments.keep_damaged,
        address: id.short(),
    };
    let overwrite = match arguments.overwrite {
        When::IfChanged => Overwrite::IfChanged,
        When::Never => Overwrite::Never,
        When::Always => Overwrite::Always,
    };
    let target = Arc::new(Beneath::open(
        &arguments.target,
        BeneathOptions {
            overwrite,
            allow_special: arguments.allow_special,
            keep_owner: arguments.no_owner,
            ..BeneathOptions::default()
        },
    )?);
    let report = restore(&repository, snapshot.tree, &options, target.clone()).await?;
    let notes = target.finish_all()?;
    lock.release().await?;
    let seconds = context.env.clock.monotonic().saturating_sub(start).as_secs_f64();
    Ok(answer(&id.short(), &report, &notes, seconds))
}

impl Arguments {
    fn snapshot(&self) -> Result<(String, TreePath)> {
        let bytes = self.snapshot.as_bytes();
        let cut = bytes.iter().position(|b| *b == b':').unwrap_or(bytes.len());
        let id = OsString::from_vec(bytes[..cut].to_vec()).into_string().map_err(|raw| {
            Error::new(Kind::Config, "read the name of the snapshot").with("name", escape(raw.as_bytes()))
        })?;
        Ok((id, snapshot_path(OsStr::from_bytes(bytes.get(cut + 1..).unwrap_or_default()))?))
    }
}

fn answer(id: &str, report: &RestoreReport, notes: &RestoreNotes, seconds: f64) -> Answer {
    let errors: Vec<Value> = report.errors.iter().map(problem).collect();
    let mut text = String::new();
    for p in &report.errors {
        text.push_str(&format!("not restored: {} {}\n", p.path, p.error));
    }
    text.push_str(&format!(
        "restored {} files, {} directories, {} from {id} in {seconds:.1} s\n",
        report.files,
        report.dirs,
        ByteSize(report.bytes)
    ));
    if notes.left > 0 {
        text.push_str(&format!("{} files stood there already and were left as they are\n", notes.left));
    }
    let mut findings: Vec<Finding> = report
        .warnings
        .iter()
        .map(|p| {
            let code = p.error.stable_code().unwrap_or("W0431");
            Finding::new(code, Severity::Warning, p.path.to_string(), p.error.to_string(), "")
        })
        .collect();
    findings.extend(note_findings(notes));
    let outcome = if report.errors.is_empty() { Outcome::Pass } else { Outcome::Fail };
    Answer::new("repo restore", outcome, text).findings(findings).with(json!({
        "files": report.files, "dirs": report.dirs, "bytes": report.bytes, "seconds": seconds,
        "left": notes.left, "errors": errors,
    }))
}

/// What was left out on purpose or could not be kept.
pub(crate) fn note_findings(notes: &RestoreNotes) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, what) in &notes.withheld {
        findings.push(Finding::new(
            "W0553",
            Severity::Warning,
            path.clone(),
            format!("{what} was left out because it is dangerous"),
            "restore with --allow-special as root if you trust the repository",
        ));
    }
    for (path, what) in &notes.lost {
        let message = format!("{what} could not be restored here");
        findings.push(Finding::new("W0554", Severity::Warning, path.clone(), message, ""));
    }
    if notes.owners_not_restored > 0 {
        let message = format!("the owners of {} entries were not restored", notes.owners_not_restored);
        findings.push(Finding::new(
            "W0555",
            Severity::Info,
            "target",
            message,
            "run as root to restore owners",
        ));
    }
    findings
}
