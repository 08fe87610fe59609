//! `recoup keys prove`.

use super::used;
use crate::context::Context;
use crate::render::Answer;
use crate::render::style::Style;
use crate::verb::word;
use clap::Args;
use recoup_core::Result;
use recoup_core::audit::KeyUse;
use recoup_core::event::{Finding, Severity};
use recoup_core::name::escape;
use recoup_core::units::{ByteSize, Span};
use recoup_ops::keychain::{ProveOptions, ProveReport, prove, remember};
use recoup_ops::keys::Block;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Prove a recovery kit: with nothing but its paper, does it give the data?
///
/// It needs no recoup.toml, no state and no home directory. What was typed is checked line by line, the parts
/// are put together, and at every location of the kit the repository is opened, compared with the kit, and one file of
/// each source is read out of its newest and its oldest point. A location that is not on this machine is no pass. Where a
/// recoup.toml of the same application is found, what came of it is remembered for `recoup status`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup keys prove --kit kit.txt --secret secret.txt\n  recoup keys prove --secret secret-1-of-3.txt --secret secret-2-of-3.txt\n  recoup keys prove --path local=/mnt/usb/shop"
)]
pub(super) struct Arguments {
    /// The kit, as kit.txt or kit.html.
    #[arg(long, value_name = "FILE", default_value = "kit.txt")]
    kit: PathBuf,
    /// The secret part, or one of its parts; may be given more than once. What lies beside the kit if absent.
    #[arg(long, value_name = "FILE")]
    secret: Vec<PathBuf>,
    /// Where a location is on this machine; may be given more than once.
    #[arg(long, value_name = "LOCATION=DIR", value_parser = place)]
    path: Vec<(String, PathBuf)>,
    /// Write the password into the new file FILE, mode 0600, for a restore.
    #[arg(long, value_name = "FILE")]
    password_to: Option<PathBuf>,
}

fn place(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let (name, folder) = text.split_once('=').ok_or("write it as in local=/mnt/usb/shop")?;
    Ok((name.to_owned(), PathBuf::from(folder)))
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    let options = ProveOptions {
        kit: arguments.kit,
        secrets: arguments.secret,
        location: context.globals.location.clone(),
        paths: arguments.path.into_iter().collect::<BTreeMap<_, _>>(),
        password_to: arguments.password_to,
    };
    let (report, block) = prove(&options, &context.env).await?;
    let remembered = remembered(context, &block, &report).await;
    let mut text = text(&report, context.style);
    let mut findings = report.findings.clone();
    match &remembered {
        Ok(true) => text.push_str("remembered for `recoup status`\n"),
        Ok(false) => {}
        Err(error) => findings.push(Finding::new(
            error.stable_code().unwrap_or("R0144"),
            Severity::Info,
            escape(block.app.as_bytes()),
            format!("what came of it is not remembered: {error}"),
            "the proof itself stands as it is said",
        )),
    }
    let outcome = report.outcome;
    Ok(Answer::new("keys prove", outcome, text)
        .with(report)
        .with(json!({ "remembered": remembered.unwrap_or(false) }))
        .findings(findings))
}

/// Where there is no configuration there is nothing to remember it for.
async fn remembered(context: &Context, block: &Block, report: &ProveReport) -> Result<bool> {
    match context.session() {
        Ok(session) => {
            used(&session, KeyUse::KitTried).await?;
            remember(&session, block, report)
        }
        Err(error) if error.stable_code() == Some("E0100") => Ok(false),
        Err(error) => Err(error),
    }
}

fn text(report: &ProveReport, style: Style) -> String {
    let mut out = format!("kit {} of {}, made {}\n", report.kit, report.application, report.made);
    for at in &report.locations {
        let took = Span(Duration::try_from_secs_f64(at.seconds).unwrap_or_default());
        out.push_str(&format!("{} {}  {}  {took}\n", word(at.outcome, style), at.name, at.path));
        if let Some(problem) = &at.problem {
            out.push_str(&format!("    {problem}\n"));
        }
        for point in &at.points {
            out.push_str(&format!("    {}, of {} snapshots here\n", point.name, at.snapshots));
            for file in &point.files {
                let path = file.path.as_deref().unwrap_or("has no file");
                let sum: String = file.sha256.chars().take(16).collect();
                out.push_str(&format!("      {path}  {}  {sum}\n", ByteSize(file.bytes)));
            }
        }
    }
    if let Some(file) = &report.password_file {
        out.push_str(&format!("wrote the password into {file}; delete it when the restore is over\n"));
    }
    out
}
