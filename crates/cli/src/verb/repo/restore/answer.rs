//! What a restore says at its end.

use super::super::backup::problem;
use crate::render::Answer;
use recoup_core::Error;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::units::{ByteSize, counted};
use recoup_repo::read::RestoreReport;
use recoup_sources::files::beneath::RestoreNotes;
use serde_json::{Value, json};

/// Paths that are listed for people; scripts get all of them.
const SHOWN_MAX: usize = 200;

/// Everything there is to say.
pub(super) struct Done<'a> {
    pub(super) report: &'a RestoreReport,
    pub(super) notes: &'a RestoreNotes,
    /// Why nothing was deleted, if something was to be.
    pub(super) not_deleted: Option<&'a Error>,
    pub(super) verify: bool,
}

pub(super) fn answer(id: &str, done: &Done<'_>, seconds: f64) -> Answer {
    let Done { report, notes, not_deleted, verify } = *done;
    let mut text = not_restored(report, "not restored");
    text.push_str(&format!(
        "restored {}, {}, {} from {id} in {seconds:.1} s\n",
        counted(report.files, "file"),
        counted(report.dirs, "directory"),
        ByteSize(report.bytes)
    ));
    text.push_str(&in_place(report, notes.left));
    if verify {
        text.push_str(&format!("read back and compared: {}\n", counted(report.verified, "file")));
    }
    text.push_str(&deleted(report, "deleted"));
    if let Some(error) = not_deleted {
        text.push_str(&format!("nothing was deleted: {error}\n"));
    }
    let mut findings = warnings(report);
    findings.extend(note_findings(notes));
    findings.extend(not_deleted.map(|error| {
        let code = error.stable_code().unwrap_or("E0484");
        Finding::new(code, Severity::High, "target", error.to_string(), "")
    }));
    let passed = report.errors.is_empty() && not_deleted.is_none();
    let outcome = if passed { Outcome::Pass } else { Outcome::Fail };
    let mut fields = counts(report, notes.left, seconds);
    if let (true, Value::Object(fields)) = (verify, &mut fields) {
        fields.insert("verified".into(), report.verified.into());
    }
    Answer::new("repo restore", outcome, text).findings(findings).with(fields)
}

/// What a dry run says. `steps` are paths and what would happen to them, if they were asked for.
pub(super) fn planned(
    id: &str,
    report: &RestoreReport,
    steps: &[(String, &'static str)],
    seconds: f64,
) -> Answer {
    let mut text: String = steps.iter().map(|(path, what)| format!("{what:8} {path}\n")).collect();
    text.push_str(&not_restored(report, "could not be restored"));
    text.push_str(&format!(
        "would restore {}, {}, {} from {id}\n",
        counted(report.files, "file"),
        counted(report.dirs, "directory"),
        ByteSize(report.bytes)
    ));
    text.push_str(&in_place(report, 0));
    text.push_str(&deleted(report, "would be deleted"));
    text.push_str("dry run: nothing was written\n");
    let outcome = if report.errors.is_empty() { Outcome::Pass } else { Outcome::Fail };
    let steps: Vec<Value> = steps.iter().map(|(path, what)| json!({"path": path, "action": what})).collect();
    Answer::new("repo restore", outcome, text)
        .findings(warnings(report))
        .with(counts(report, 0, seconds))
        .with(json!({ "dry_run": true, "steps": steps }))
}

fn counts(report: &RestoreReport, left: u64, seconds: f64) -> Value {
    let errors: Vec<Value> = report.errors.iter().map(problem).collect();
    let deleted: Vec<String> = report.deleted.iter().map(ToString::to_string).collect();
    json!({
        "files": report.files, "dirs": report.dirs, "bytes": report.bytes, "seconds": seconds,
        "bytes_fetched": report.bytes_fetched, "bytes_kept": report.bytes_kept,
        "created": report.created, "replaced": report.replaced, "unchanged": report.unchanged,
        "resumed": report.resumed, "left": report.left + left, "deleted": deleted, "errors": errors,
    })
}

fn not_restored(report: &RestoreReport, what: &str) -> String {
    report.errors.iter().map(|p| format!("{what}: {} {}\n", p.path, p.error)).collect()
}

/// What stood there before. Nothing is said of an empty target.
fn in_place(report: &RestoreReport, left: u64) -> String {
    let mut text = String::new();
    if report.replaced + report.unchanged > 0 {
        text.push_str(&format!(
            "{} new, {} replaced, {} unchanged; {} were there already, {} come from the repository\n",
            report.created,
            report.replaced,
            report.unchanged,
            ByteSize(report.bytes_kept),
            ByteSize(report.bytes_fetched)
        ));
    }
    if report.resumed > 0 {
        text.push_str(&format!("{} files had been finished by the run before\n", report.resumed));
    }
    if report.left + left > 0 {
        text.push_str(&format!("{} stood there already and are left as they are\n", report.left + left));
    }
    text
}

fn deleted(report: &RestoreReport, what: &str) -> String {
    let mut text = String::new();
    for path in report.deleted.iter().take(SHOWN_MAX) {
        text.push_str(&format!("{what}: {path}\n"));
    }
    if report.deleted.len() > SHOWN_MAX {
        text.push_str(&format!("{what}: and {} more\n", report.deleted.len() - SHOWN_MAX));
    }
    text
}

fn warnings(report: &RestoreReport) -> Vec<Finding> {
    let finding = |p: &recoup_core::entry::PathProblem| {
        let code = p.error.stable_code().unwrap_or("W0431");
        Finding::new(code, Severity::Warning, p.path.to_string(), p.error.to_string(), "")
    };
    report.warnings.iter().map(finding).collect()
}

/// What was left out on purpose or could not be kept.
fn note_findings(notes: &RestoreNotes) -> Vec<Finding> {
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
    if let Some(why) = &notes.no_journal {
        let message = format!("no list of finished files is kept: {why}");
        findings.push(Finding::new("W0556", Severity::Info, "target", message, ""));
    }
    findings
}
