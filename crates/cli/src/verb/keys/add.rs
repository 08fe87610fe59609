//! `recoup keys add`.

use super::used;
use crate::context::Context;
use crate::render::Answer;
use clap::{Args, Subcommand};
use recoup_core::Result;
use recoup_core::audit::KeyUse;
use recoup_core::event::Outcome;
use recoup_ops::keychain::{add_password, add_signing};
use std::path::PathBuf;

/// Make a signing key for this machine, or another password for every repository.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup keys add signing\n  recoup keys add password --file ~/.config/recoup/second.password"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the signing key of this machine and print the two lines of the table `keys` that declare it.
    ///
    /// It goes where `signing` says, or into ~/.config/recoup, mode 0600. One that is there is kept.
    Signing,
    /// Make another random password that opens the repository at every location.
    ///
    /// All locations get a key for it, or none: one that cannot be opened stops everything before it begins.
    Password {
        /// The new file for it, outside the project; mode 0600.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    used(&session, KeyUse::Added).await?;
    match arguments.what {
        What::Signing => {
            let added = add_signing(&session)?;
            let made = if added.made { "made" } else { "kept" };
            let mut text = format!("{made} the signing key {}\n  {}\n", added.file, added.fingerprint);
            if added.declared {
                text.push_str("recoup.toml declares it already\n");
            } else {
                text.push_str("put these two lines into [keys] of recoup.toml:\n\n");
                added.lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
            }
            Ok(Answer::new("keys add", Outcome::Pass, text).with(added))
        }
        What::Password { file } => {
            let added = add_password(&session, &file).await?;
            let mut text = format!("made another password: {} (mode 0600)\n", added.file);
            for (location, id) in &added.locations {
                text.push_str(&format!("  {location}: key {} takes it\n", id.short()));
            }
            Ok(Answer::new("keys add", Outcome::Pass, text).with(added))
        }
    }
}
