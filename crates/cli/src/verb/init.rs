//! `recoup init`.

use crate::context::Context;
use crate::render::Answer;
use crate::render::style::Style;
use crate::render::table::table;
use clap::{Args, ValueEnum};
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_core::units::{ByteSize, Span};
use recoup_core::{Error, Result};
use recoup_ops::discover::{self, Answers, Look, Proposal, Written};
use recoup_ops::env::Variables;
use recoup_ops::keys;
use recoup_ops::probe::Settings;
use recoup_ops::secret::resolve;
use recoup_ops::session::Session;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Find what this application needs and write a commented recoup.toml.
///
/// Files of the project are read and nothing is run. With --allow import, or after a yes at the
/// terminal, the settings module is imported in the project's own interpreter with no network. The
/// repository password is made outside the project, and a recovery sheet is written. Nothing is
/// overwritten, and the value of a secret is never printed or stored.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  recoup init\n  recoup init --allow import --path /srv/recoup/shop")]
pub(crate) struct Arguments {
    /// The project; the current directory if absent.
    #[arg(value_name = "DIR")]
    project: Option<PathBuf>,
    /// What may be done without asking; may be given more than once.
    #[arg(long, value_name = "WHAT", value_enum)]
    allow: Vec<Allow>,
    /// Directory for the copies.
    #[arg(long, value_name = "DIR")]
    path: Option<String>,
    /// How much work may be lost, for what is critical.
    #[arg(long, value_name = "DURATION")]
    rpo: Option<Span>,
    /// How long a restore may take, for what is critical.
    #[arg(long, value_name = "DURATION")]
    rto: Option<Span>,
    /// If there is a recoup.toml, write recoup.toml.new beside it.
    #[arg(long)]
    force: bool,
    /// Write the repository password onto the recovery sheet too.
    #[arg(long)]
    with_secret: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Allow {
    /// Import the project's settings.
    Import,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    let variables = Variables::of_process();
    let project = arguments.project.clone().unwrap_or_else(|| PathBuf::from("."));
    let look = discover::look(&project, &variables)?;
    let style = context.style;
    let mut text = seen(&look, style);
    let (settings, refused) = import(&arguments, &look, &variables, context, &text).await?;
    let defaults = Answers::default();
    let answers = Answers {
        location: arguments.path.clone(),
        rpo: arguments.rpo.unwrap_or(defaults.rpo),
        rto: arguments.rto.unwrap_or(defaults.rto),
    };
    let proposal = discover::propose(&look, settings.as_ref(), &answers, &variables)?;
    let written = discover::write(&look, &proposal, arguments.force, &variables, &context.env)?;
    if arguments.with_secret {
        sheet_with_secret(&look, &written, &variables, context).await?;
    }
    if let Some(why) = &refused {
        text.push_str(&format!("\nThe settings were not imported: {why}\n"));
    }
    text.push_str(&proposed(&proposal, style));
    text.push_str(&done(&written, style));
    Ok(Answer::new("init", Outcome::Pass, text)
        .findings(proposal.findings.clone())
        .with(json!({ "proposal": proposal, "written": written, "imported": settings.is_some() })))
}

/// Imports the settings if that is allowed; otherwise says why not.
async fn import(
    arguments: &Arguments,
    look: &Look,
    variables: &Variables,
    context: &Context,
    so_far: &str,
) -> Result<(Option<Settings>, Option<String>)> {
    let Some(django) = &look.django else { return Ok((None, None)) };
    let Some(module) = &django.settings else { return Ok((None, None)) };
    let allowed = arguments.allow.contains(&Allow::Import)
        || (context.may_ask() && asked(so_far, module).map_err(|e| Error::io("ask at the terminal", e))?);
    if !allowed {
        return Ok((None, Some("that runs the project's code; allow it with --allow import".into())));
    }
    match discover::import(look, variables).await {
        Ok(settings) => Ok((Some(settings), None)),
        Err(error) => Ok((None, Some(escape(error.to_string().as_bytes())))),
    }
}

/// Enter is no.
fn asked(so_far: &str, module: &str) -> std::io::Result<bool> {
    let mut err = std::io::stderr().lock();
    write!(
        err,
        "{so_far}\nTo read DATABASES and MEDIA_ROOT the settings module {} has to be imported.\nThat runs your code, with no network and RECOUP_PROBE=1. Import it? [y/N] ",
        escape(module.as_bytes())
    )?;
    err.flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

async fn sheet_with_secret(
    look: &Look,
    written: &Written,
    variables: &Variables,
    context: &Context,
) -> Result<()> {
    let mut options = context.load_options()?;
    options.start.clone_from(&look.project);
    let session = Session::open(&options, &context.env)?;
    let loaded = session.loaded();
    let Some(declared) = &loaded.config.keys else { return Ok(()) };
    let password = resolve(&declared.password, &loaded.root, variables).await?.secret;
    let facts = keys::sheet_facts(loaded, &BTreeMap::new(), &context.env)?;
    let sheet = keys::sheet(&facts, Some(&password))?;
    recoup_store::local::durable::write(&written.sheet, sheet.as_bytes(), 0o600)
}

fn path(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

fn seen(look: &Look, style: Style) -> String {
    let mut out = format!("{}\n", style.bold("Looking at this project (reading files only)"));
    let rows: Vec<Vec<String>> = look
        .facts
        .iter()
        .map(|f| vec![format!("  {}", escape(f.origin.as_bytes())), escape(f.what.as_bytes())])
        .collect();
    out.push_str(&table(&[], &rows, &[]));
    for line in &look.not_understood {
        out.push_str(&format!("  not understood: {}\n", escape(line.as_bytes())));
    }
    out
}

fn proposed(proposal: &Proposal, style: Style) -> String {
    let rows: Vec<Vec<String>> = proposal
        .sources
        .iter()
        .map(|s| {
            let bytes = s.bytes.map_or("not there yet".to_owned(), |b| ByteSize(b).to_string());
            let items = s.items.map_or(String::new(), |n| match s.kind {
                "sqlite" => format!(", {n} tables"),
                _ => format!(", {n} files"),
            });
            vec![
                format!("  {}", s.kind),
                format!("{} ({bytes}{items})", escape(s.path.as_bytes())),
                s.class.to_owned(),
                escape(s.why.as_bytes()),
            ]
        })
        .collect();
    let mut out = format!("\n{}\n", style.bold("Found"));
    out.push_str(&table(&["  kind", "what", "proposed class", "why"], &rows, &[]));
    if !proposal.unprotected.is_empty() {
        out.push_str(&format!("{}\n", style.bold("Not protected by anything I know")));
        let rows: Vec<Vec<String>> = proposal
            .unprotected
            .iter()
            .map(|u| vec![format!("  {}", escape(u.what.as_bytes())), escape(u.why.as_bytes())])
            .collect();
        out.push_str(&table(&[], &rows, &[]));
    }
    if !proposal.keys.is_empty() {
        out.push_str(&format!(
            "Keys your data needs: {} (values never read into recoup)\n",
            proposal.keys.join(", ")
        ));
    }
    out
}

fn done(written: &Written, style: Style) -> String {
    let password = if written.password_is_new { "made" } else { "kept" };
    format!(
        "\nWrote {} ({} lines)\n{password} the repository password: {} (mode 0600)\nrecovery sheet: {}\n\n{}\n  recoup backup    make the first point\n  recoup drill     restore it aside and start the application on it\n  recoup status    is the promise kept, and how do we know\n",
        path(&written.config),
        written.lines,
        path(&written.password),
        path(&written.sheet),
        style.bold("Next"),
    )
}
