//! `recoup repo init`.

use super::open::{From, Options};
use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use recoup_core::Result;
use recoup_core::event::Outcome;
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::repository::InitOptions;
use recoup_repo::repository::Repository;
use recoup_store::local::Local;
use serde_json::json;

/// Create an empty repository, format version 2.
///
/// Refused where anything of a repository is left, so that a lost config can never be replaced by a
/// new one.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo init -r /srv/backup --password-file pw\n  recoup repo init -r /srv/second --from-repo /srv/backup --copy-chunker-params"
)]
pub(crate) struct Arguments {
    /// The password is 256 random bits: skip the expensive derivation that a thought-up one needs.
    #[arg(long)]
    generated_password: bool,
    /// Cut files as the source repository does, so that copies and new backups share data.
    #[arg(long)]
    copy_chunker_params: bool,
    #[command(flatten)]
    from: From,
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let chunker_polynomial = match arguments.copy_chunker_params {
        true => Some(arguments.from.options().repository(context).await?.chunker_polynomial()),
        false => None,
    };
    Local::create(open.path()?).await?;
    let store = open.store(context)?;
    let password = open.password(context, true).await?;
    let strength =
        if arguments.generated_password { PasswordStrength::Generated } else { PasswordStrength::Human };
    let options = InitOptions { password_strength: strength, chunker_polynomial };
    let repository = Repository::init(store, &password, &options, &context.env).await?;
    let location = repository.store().location();
    let text = format!(
        "created repository {} at {location}\nWithout the password nobody can read it, you included. Keep it somewhere else too.\n",
        &repository.id()[..10.min(repository.id().len())]
    );
    Ok(Answer::new("repo init", Outcome::Pass, text)
        .with(json!({ "repository": repository.id(), "location": location })))
}
