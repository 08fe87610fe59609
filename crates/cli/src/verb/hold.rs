//! `recoup hold`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::table::table;
use clap::{Args, Subcommand};
use recoup_core::Result;
use recoup_core::canonical::short;
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_ops::hold::{Say, list, say};
use serde_json::json;

/// Keep a point whatever the policy says, or let it go again.
///
/// A hold is a signed statement with a reason. A capture that was suspicious holds everything before it; releasing
/// that point says that somebody has looked into it.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup hold add latest --reason \"audit of 2026\"\n  recoup hold release 4f1c --reason \"the audit is over\"\n  recoup hold list"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Keep a point, whatever the policy says.
    Add(SayArguments),
    /// Let a point go that was held, or say that a suspicious one is as it should be.
    Release(SayArguments),
    /// List the points that are held, and those that are suspicious.
    List,
}

#[derive(Args, Debug)]
struct SayArguments {
    /// The point: its id, its name, a moment, or `latest`.
    #[arg(value_name = "POINT")]
    point: String,
    /// Why, for whoever asks later.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Arguments {
    /// The verb's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self.verb {
            Verb::Add(_) => "hold add",
            Verb::Release(_) => "hold release",
            Verb::List => "hold list",
        }
    }
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    match arguments.verb {
        Verb::Add(a) => said(Say::Hold, "hold add", &a, context).await,
        Verb::Release(a) => said(Say::Release, "hold release", &a, context).await,
        Verb::List => listed(context).await,
    }
}

async fn said(what: Say, kind: &'static str, arguments: &SayArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let report = say(&session, what, &arguments.point, &arguments.reason).await?;
    let word = match what {
        Say::Hold => "is held",
        Say::Release => "is released",
    };
    let text = format!(
        "{} ({}) {word}: {}\nsigned at {}\n",
        report.name,
        short(&report.point),
        report.reason,
        report.locations.join(" ")
    );
    Ok(Answer::new(kind, report.outcome, text).with(&report).findings(report.findings))
}

async fn listed(context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let (held, findings) = list(&session, context.globals.location.as_deref()).await?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for point in &held {
        let id = context.style.bold(short(&point.point));
        for hold in &point.holds {
            let (by, since) = (escape(hold.by.as_bytes()), super::local_time(hold.since, &session.zone()));
            rows.push(vec![
                id.clone(),
                "held".into(),
                format!("{} ({by}, {since})", escape(hold.reason.as_bytes())),
            ]);
        }
        for why in &point.suspicions {
            rows.push(vec![id.clone(), context.style.red("suspicious"), escape(why.as_bytes())]);
        }
    }
    let text = match rows.is_empty() {
        true => "no point is held, and none is suspicious\n".to_owned(),
        false => table(&["point", "", "why"], &rows, &[]),
    };
    Ok(Answer::new("hold list", Outcome::Pass, text).with(json!({ "points": held })).findings(findings))
}
