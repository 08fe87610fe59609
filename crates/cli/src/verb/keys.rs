//! `recoup keys`.

use crate::context::Context;
use crate::render::Answer;
use clap::{Args, Subcommand};
use recoup_core::audit::{Details, Event, KeyUse};
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use recoup_ops::secret::resolve;
use recoup_ops::session::Session;
use recoup_ops::{audit, keys};
use serde_json::json;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The recovery sheet, and the word that it is stored away.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup keys sheet | lp\n  recoup keys sheet --with-secret --write sheet.txt\n  recoup keys confirm"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Sheet(SheetArguments),
    Confirm(ConfirmArguments),
}

/// Write the recovery sheet: where the copies are, what is in them, how to restore.
///
/// It says how to restore with recoup and with stock restic, for somebody who has neither seen before.
/// The password itself stands on it only with --with-secret.
#[derive(Args, Debug)]
struct SheetArguments {
    /// Put the repository password onto the sheet.
    #[arg(long)]
    with_secret: bool,
    /// Write it to FILE, mode 0600, instead of standard output.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Say that the sheet and the password are stored where a fire here does not reach them.
///
/// `recoup status` reminds until somebody says so.
#[derive(Args, Debug)]
struct ConfirmArguments {}

impl Arguments {
    /// The verb's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self.verb {
            Verb::Sheet(_) => "keys sheet",
            Verb::Confirm(_) => "keys confirm",
        }
    }
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    match arguments.verb {
        Verb::Sheet(a) => sheet(a, &session, context).await,
        Verb::Confirm(_) => confirm(&session, context).await,
    }
}

async fn sheet(arguments: SheetArguments, session: &Session, context: &Context) -> Result<Answer> {
    let loaded = session.loaded();
    // Before the first backup there is no repository to name; the sheet says so.
    let repository = match session.repository(&session.place(None)?).await {
        Ok(repository) => Some(repository.id().to_owned()),
        Err(_) => None,
    };
    let facts = keys::sheet_facts(loaded, repository.as_deref(), &context.env)?;
    let password = match (&loaded.config.keys, arguments.with_secret) {
        (Some(declared), true) => {
            used(session, KeyUse::PasswordShown).await?;
            Some(resolve(&declared.password, &loaded.root, &loaded.variables).await?.secret)
        }
        _ => None,
    };
    let text = keys::sheet(&facts, password.as_ref())?;
    let Some(file) = arguments.write else {
        return Ok(Answer::new("keys sheet", Outcome::Pass, text).with(json!({ "facts": facts })));
    };
    recoup_store::local::durable::write(&file, text.as_bytes(), 0o600)?;
    let shown = escape(file.as_os_str().as_bytes());
    Ok(Answer::new("keys sheet", Outcome::Pass, format!("wrote {shown}; print it, then delete it\n"))
        .with(json!({ "written": shown })))
}

async fn confirm(session: &Session, context: &Context) -> Result<Answer> {
    let place = session.place(None)?;
    let repository = session.repository(&place).await.map_err(|e| match e.kind() {
        Kind::NotFound => Error::new(Kind::Config, "confirm the sheet of a repository that is not there yet")
            .with("location", &place.name)
            .hint("run `recoup backup` first, then print the sheet again: it names the repository"),
        _ => e,
    })?;
    used(session, KeyUse::SheetConfirmed).await?;
    let said = keys::confirm(session.state(), repository.id(), &context.env)?;
    let text = format!("noted: the sheet is stored away, says {}\n", escape(said.by.as_bytes()));
    Ok(Answer::new("keys confirm", Outcome::Pass, text).with(said))
}

/// Nobody uses a key without a trace.
async fn used(session: &Session, key: KeyUse) -> Result<()> {
    audit::record(session, Event::KeyUse, None, Details { key: Some(key), ..Details::default() }).await
}
