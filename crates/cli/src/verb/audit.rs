//! `recoup audit`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::answer::findings_text;
use crate::render::table::table;
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use recoup_core::Result;
use recoup_core::audit::words::Name;
use recoup_core::audit::{Details, Event, KeyUse, LogChange, Phase, Record, Target};
use recoup_core::crypto::Signer;
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_core::units::counted;
use recoup_ops::audit::{self, AuditReport, CopyState, LogOptions};
use serde_json::json;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The audit log: what was done here, by whom, and whether anybody touched the log.
///
/// Every backup, restore, promote, rollback, drill, verify, deletion, hold, use of a key, refusal and change of
/// the configuration has a record. It holds names, numbers and codes, and no secret or data.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup audit log --since \"today 00:00\" --event promote\n  recoup audit verify\n  recoup audit export --write audit.jsonl\n  recoup audit verify --file audit.jsonl --signer \"ssh-ed25519 AAAA...\""
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Log(LogArguments),
    Verify(VerifyArguments),
    Export(ExportArguments),
}

/// Show records, the newest last.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup audit log -n 20\n  recoup audit log --event refusal --actor deploy"
)]
struct LogArguments {
    /// Not those before MOMENT, as in "today 14:02".
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// Only those of this event.
    #[arg(long, value_name = "NAME", value_parser = event)]
    event: Option<Event>,
    /// Only those of this user, as in deploy or deploy@web-1.
    #[arg(long, value_name = "USER")]
    actor: Option<String>,
    /// Only the newest N.
    #[arg(short = 'n', long, value_name = "N")]
    newest: Option<usize>,
}

/// Check that no record was changed, dropped, reordered or cut off.
///
/// The record that was touched is named by its number. The log is compared with its copies at the locations,
/// which shows that its newest records are gone. With --file an exported log is checked offline, by the
/// public key alone, and no recoup.toml is needed.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup audit verify\n  recoup audit verify --file audit.jsonl --signer \"ssh-ed25519 AAAA...\""
)]
struct VerifyArguments {
    /// Check this exported file instead of the log of the application.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The public key that signed it, as in `ssh-ed25519 AAAA...`; may be given several times.
    #[arg(long, value_name = "KEY", requires = "file")]
    signer: Vec<String>,
}

/// Write the log as JSON lines, each with its checkpoint: all that others need to verify it.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup audit export --write audit.jsonl")]
struct ExportArguments {
    /// Write it to FILE, mode 0600, instead of standard output.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl Arguments {
    /// The verb's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self.verb {
            Verb::Log(_) => "audit log",
            Verb::Verify(_) => "audit verify",
            Verb::Export(_) => "audit export",
        }
    }
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    match arguments.verb {
        Verb::Log(a) => log(a, context).await,
        Verb::Verify(a) => verify(a, context).await,
        Verb::Export(a) => export(a, context).await,
    }
}

fn event(text: &str) -> Result<Event, String> {
    let known = || Event::ALL.map(Event::word).join(", ");
    Event::ALL.into_iter().find(|event| event.word() == text).ok_or_else(|| format!("there are: {}", known()))
}

async fn log(arguments: LogArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let LogArguments { since, event, actor, newest } = arguments;
    let logged = audit::log(&session, &LogOptions { since, event, actor, newest }).await?;
    let rows: Vec<Vec<String>> = logged.records.iter().map(|r| row(r, &session.zone(), context)).collect();
    let mut text = table(&["no.", "time", "event", "", "actor", "run", "what"], &rows, &[0]);
    if rows.is_empty() {
        text = format!("none of the {} fits\n", counted(logged.total, "record"));
    }
    Ok(Answer::new("audit log", Outcome::Pass, text).with(&logged).findings(logged.findings))
}

fn row(record: &Record, zone: &TimeZone, context: &Context) -> Vec<String> {
    let state = match (record.phase, record.outcome) {
        (Some(Phase::Intent), _) => "begins".to_owned(),
        (_, Some(outcome)) => super::word(outcome, context.style),
        (_, None) => String::new(),
    };
    let run = record.run.as_ref().map_or(String::new(), ToString::to_string);
    vec![
        record.number.to_string(),
        super::local_time(record.time, zone),
        record.event.word().to_owned(),
        state,
        record.actor.to_string(),
        run,
        what(&record.details),
    ]
}

/// What a record says beside the columns, in a few words.
fn what(details: &Details) -> String {
    let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
    let short = |hex: &str| hex.chars().take(8).collect::<String>();
    let mut said = Vec::new();
    let mut say = |text: String| said.push(text);
    if let Some(verb) = &details.verb {
        say(verb.to_string());
    }
    if let Some(change) = details.log {
        say(changed(change, details.record));
    }
    match details.key {
        Some(KeyUse::PasswordShown) => say("the repository password was written onto a sheet".into()),
        Some(KeyUse::SheetConfirmed) => say("the recovery sheet is stored away".into()),
        Some(KeyUse::Added) => say("a key is added".into()),
        Some(KeyUse::Rotated) => say("the repository password is replaced".into()),
        Some(KeyUse::KitMade) => say("a recovery kit is made".into()),
        Some(KeyUse::KitTried) => say("a recovery kit was tried".into()),
        None => {}
    }
    if let Some(point) = &details.point {
        say(format!("point {}", short(point.as_str())));
    }
    if details.target == Some(Target::Folder) {
        say("into a folder".into());
    }
    if !details.sources.is_empty() {
        say(names(&details.sources));
    }
    if !details.locations.is_empty() {
        say(format!("at {}", names(&details.locations)));
    }
    if let Some(points) = details.points.filter(|_| details.plan.is_some() || details.reason.is_some()) {
        say(counted(points, "point"));
    }
    if details.accepted_damage {
        say("damage accepted".into());
    }
    if let Some(before) = &details.before {
        say(format!("it was {} before", short(before.as_str())));
    }
    if let Some(reason) = &details.reason {
        say(format!("because: {reason}"));
    }
    let fault = details.fault.iter().map(|f| f.code.as_ref().map_or(f.kind.as_str(), |code| code.as_str()));
    let codes: Vec<&str> = fault.chain(details.findings.iter().map(|code| code.as_str())).collect();
    if !codes.is_empty() {
        say(codes.join(" "));
    }
    said.join(", ")
}

fn changed(change: LogChange, record: Option<u64>) -> String {
    let number = record.map_or(String::new(), |number| format!(" {number}"));
    match change {
        LogChange::Begun => "the log begins".into(),
        LogChange::Rebuilt => format!("records from{number} on came back from a copy"),
        LogChange::PutAside => "a log that could not be gone on with was put aside".into(),
        LogChange::CutOff => format!("record{number} was cut off by a crash, and dropped"),
    }
}

async fn verify(arguments: VerifyArguments, context: &Context) -> Result<Answer> {
    let report = match &arguments.file {
        None => audit::verify(&context.session()?).await?,
        Some(file) => {
            let signers: Result<Vec<Signer>> = arguments.signer.iter().map(|key| key.parse()).collect();
            audit::verify_file(file, &signers?)?
        }
    };
    let mut text = verified(&report, arguments.file.is_some());
    text.push_str(&findings_text(&report.findings, context.style));
    let mut answer =
        Answer::new("audit verify", report.outcome, text).with(&report).findings(report.findings);
    answer.text_has_findings = true;
    Ok(answer)
}

fn verified(report: &AuditReport, is_file: bool) -> String {
    let none = || "-".to_owned();
    let shown = |text: &Option<String>| text.as_ref().map_or_else(none, |text| escape(text.as_bytes()));
    let mut out = format!("log      {}\nrecords  {} hold\n", shown(&report.log), report.records);
    out.push_str(&format!("hash     {}\n", shown(&report.root)));
    match report.signers.as_slice() {
        [] => out.push_str("signed   unsigned: only accidents can be seen\n"),
        signers => {
            out.push_str(&format!("signed   up to record {} by {}\n", report.signed, signers.join(", ")));
        }
    }
    for copy in &report.copies {
        let state = match copy.state {
            CopyState::Same => "the same".to_owned(),
            CopyState::Behind => format!("the same up to record {}", copy.records),
            CopyState::Ahead => format!("has {}", counted(copy.records, "record")),
            CopyState::Differs => "another history".to_owned(),
            CopyState::Damaged => format!("damaged after record {}", copy.records),
            CopyState::Missing => "no copy yet".to_owned(),
            CopyState::Unreachable => "cannot be reached".to_owned(),
        };
        out.push_str(&format!("copy     {}: {state}\n", copy.location));
    }
    if is_file {
        out.push_str("a file alone cannot show that records after its last one are gone\n");
    }
    out
}

async fn export(arguments: ExportArguments, context: &Context) -> Result<Answer> {
    let exported = audit::export(&context.session()?).await?;
    let fields = json!({ "log": exported.log, "records": exported.records });
    let Some(file) = arguments.write else {
        let lines: Vec<&str> = exported.text.lines().collect();
        let answer = Answer::new("audit export", Outcome::Pass, exported.text.as_str());
        return Ok(answer.with(fields).with(json!({ "lines": lines })));
    };
    recoup_store::local::durable::write(&file, exported.text.as_bytes(), 0o600)?;
    let shown = escape(file.as_os_str().as_bytes());
    let text = format!("wrote {} to {shown}\n", counted(exported.records, "record"));
    Ok(Answer::new("audit export", Outcome::Pass, text).with(fields).with(json!({ "written": shown })))
}
