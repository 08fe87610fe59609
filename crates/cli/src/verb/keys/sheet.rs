//! `recoup keys sheet` and `recoup keys confirm`.

use super::used;
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::audit::KeyUse;
use recoup_core::event::Outcome;
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use recoup_ops::keys;
use recoup_ops::secret::resolve;
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Print the text of the recovery kit without making one: where the copies are, what is in them, how to restore.
///
/// It says how to restore with recoup and with stock restic, for somebody who has neither seen before.
/// The password itself stands on it only with --with-secret. `recoup keys kit` makes a kit that can be proven.
#[derive(Args, Debug)]
pub(super) struct SheetArguments {
    /// Put the repository password onto the sheet.
    #[arg(long)]
    with_secret: bool,
    /// Write it to FILE, mode 0600, instead of standard output.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Say that the sheet and the password are stored where a fire here does not reach them.
///
/// `recoup status` reminds until somebody says so, or until a kit was made.
#[derive(Args, Debug)]
pub(super) struct ConfirmArguments {}

pub(super) async fn sheet(arguments: SheetArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let loaded = session.loaded();
    let mut repositories = BTreeMap::new();
    for place in session.places(None)? {
        // Before the first backup there is no repository to name; the sheet says so.
        if let Ok(repository) = session.repository(&place).await {
            repositories.insert(place.name, repository.id().to_owned());
        }
    }
    let facts = keys::sheet_facts(loaded, &repositories, &context.env)?;
    let password = match (&loaded.config.keys, arguments.with_secret) {
        (Some(declared), true) => {
            used(&session, KeyUse::PasswordShown).await?;
            Some(resolve(&declared.password, &loaded.root, &loaded.variables).await?.secret)
        }
        _ => None,
    };
    let text = keys::sheet(&facts, password.as_ref())?;
    let Some(file) = arguments.write else {
        return Ok(Answer::new("keys sheet", Outcome::Pass, text.as_str()).with(json!({ "facts": facts })));
    };
    recoup_store::local::durable::write(&file, text.as_bytes(), 0o600)?;
    let shown = escape(file.as_os_str().as_bytes());
    Ok(Answer::new("keys sheet", Outcome::Pass, format!("wrote {shown}; print it, then delete it\n"))
        .with(json!({ "written": shown })))
}

pub(super) async fn confirm(_arguments: ConfirmArguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let place = session.place(None)?;
    let repository = session.repository(&place).await.map_err(|e| match e.kind() {
        Kind::NotFound => Error::new(Kind::Config, "confirm the sheet of a repository that is not there yet")
            .with("location", &place.name)
            .hint("run `recoup backup` first, then print the sheet again: it names the repository"),
        _ => e,
    })?;
    used(&session, KeyUse::SheetConfirmed).await?;
    let said = keys::confirm(session.state(), repository.id(), &context.env)?;
    let text = format!("noted: the sheet is stored away, says {}\n", escape(said.by.as_bytes()));
    Ok(Answer::new("keys confirm", Outcome::Pass, text).with(said))
}
