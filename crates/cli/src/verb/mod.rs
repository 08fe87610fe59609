//! The verbs, one file each: arguments, one call, what to show. The doc comment of a verb is its
//! help and its page in the reference.

mod audit;
mod backup;
mod check;
mod completions;
mod config;
mod doctor;
mod drill;
mod explain;
mod export;
mod hold;
mod init;
mod keys;
mod points;
mod repo;
mod restore;
mod retention;
mod show;
mod status;
mod verify;

use crate::context::Context;
use crate::render::Answer;
use crate::render::style::Style;
use clap::Subcommand;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_core::ladder::Rung;

/// Every verb.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one of them is made, once")]
pub(crate) enum Verb {
    Init(init::Arguments),
    Check(check::Arguments),
    Backup(backup::Arguments),
    Points(points::Arguments),
    Show(show::Arguments),
    Restore(restore::RestoreArguments),
    Promote(restore::PromoteArguments),
    Rollback(restore::RollbackArguments),
    Resume(restore::ResumeArguments),
    Verify(verify::Arguments),
    Drill(drill::Arguments),
    Status(status::Arguments),
    Explain(explain::Arguments),
    Keys(keys::Arguments),
    Hold(hold::Arguments),
    Retention(retention::Arguments),
    Audit(audit::Arguments),
    Doctor(doctor::Arguments),
    Config(config::Arguments),
    Export(export::Arguments),
    Repo(repo::Arguments),
    Completions(completions::Arguments),
    Man(completions::ManArguments),
}

impl Verb {
    /// The verb's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Verb::Init(_) => "init",
            Verb::Check(_) => "check",
            Verb::Backup(_) => "backup",
            Verb::Points(_) => "points",
            Verb::Show(_) => "show",
            Verb::Restore(_) => "restore",
            Verb::Promote(_) => "promote",
            Verb::Rollback(_) => "rollback",
            Verb::Resume(_) => "resume",
            Verb::Verify(_) => "verify",
            Verb::Drill(_) => "drill",
            Verb::Status(_) => "status",
            Verb::Explain(_) => "explain",
            Verb::Keys(a) => a.kind(),
            Verb::Hold(a) => a.kind(),
            Verb::Retention(a) => a.kind(),
            Verb::Audit(a) => a.kind(),
            Verb::Doctor(_) => "doctor",
            Verb::Config(a) => a.kind(),
            Verb::Export(a) => a.kind(),
            Verb::Repo(a) => a.kind(),
            Verb::Completions(_) => "completions",
            Verb::Man(_) => "man",
        }
    }

    /// Whether the verb itself writes into the audit log that it was refused.
    pub(crate) fn records_itself(&self) -> bool {
        if let Verb::Retention(a) = self {
            return a.kind() == "retention apply";
        }
        matches!(
            self,
            Verb::Backup(_)
                | Verb::Restore(_)
                | Verb::Promote(_)
                | Verb::Rollback(_)
                | Verb::Resume(_)
                | Verb::Verify(_)
                | Verb::Drill(_)
        )
    }

    /// Whether restic's exit codes apply.
    pub(crate) fn is_engine(&self) -> bool {
        matches!(self, Verb::Repo(_))
    }

    /// Whether the verb itself listens to Ctrl-C and SIGTERM, because there is something to put in order.
    pub(crate) fn ends_by_itself(&self) -> bool {
        matches!(self, Verb::Repo(a) if a.ends_by_itself())
    }

    /// Whether restic's own switch for JSON was given.
    pub(crate) fn wants_json(&self) -> bool {
        matches!(self, Verb::Repo(a) if a.wants_json())
    }
}

/// Hands the parsed command line to its verb.
pub(crate) async fn dispatch(verb: Verb, context: &Context) -> Result<Answer> {
    match verb {
        Verb::Init(a) => init::run(a, context).await,
        Verb::Check(a) => check::run(&a, context).await,
        Verb::Backup(a) => backup::run(a, context).await,
        Verb::Points(a) => points::run(a, context).await,
        Verb::Show(a) => show::run(a, context).await,
        Verb::Restore(a) => restore::restore(a, context).await,
        Verb::Promote(a) => restore::promote(a, context).await,
        Verb::Rollback(a) => restore::rollback(a, context).await,
        Verb::Resume(a) => restore::resume(a, context).await,
        Verb::Verify(a) => verify::run(a, context).await,
        Verb::Drill(a) => drill::run(a, context).await,
        Verb::Status(a) => status::run(a, context).await,
        Verb::Explain(a) => explain::run(&a, context),
        Verb::Keys(a) => keys::run(a, context).await,
        Verb::Hold(a) => hold::run(a, context).await,
        Verb::Retention(a) => retention::run(a, context).await,
        Verb::Audit(a) => audit::run(a, context).await,
        Verb::Doctor(a) => doctor::run(a, context).await,
        Verb::Config(a) => config::run(&a, context),
        Verb::Export(a) => export::run(&a, context),
        Verb::Repo(a) => repo::run(a, context).await,
        Verb::Completions(a) => completions::run(&a, context),
        Verb::Man(a) => completions::man(&a, context),
    }
}

/// A moment in the zone of the application, with its offset.
fn local_time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// As in `A5 application`.
fn rung(rung: Rung) -> String {
    let code = serde_json::to_value(rung).unwrap_or_default();
    format!("{} {}", code.as_str().unwrap_or("?"), rung.word())
}

/// An outcome as a word, coloured.
fn word(outcome: Outcome, style: Style) -> String {
    match outcome {
        Outcome::Pass => style.green("ok"),
        Outcome::Unknown => style.yellow("UNKNOWN"),
        Outcome::Partial => style.yellow("PARTIAL"),
        Outcome::Fail => style.red("FAIL"),
        Outcome::Refused => style.red("REFUSED"),
    }
}
