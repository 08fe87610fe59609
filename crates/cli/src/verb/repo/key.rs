//! `recoup repo key`.

use super::open::{Ask, Options, secret};
use crate::context::Context;
use crate::render::Answer;
use crate::render::table::table;
use clap::{Args, Subcommand};
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_core::units::Span;
use recoup_core::{Error, Kind, Result};
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::keys::{self, KeyInfo, KeyOptions};
use serde_json::json;

/// List, add, remove and replace the passwords of a repository.
///
/// Every key file holds the same master key, sealed with a password of its own. A new one is read back
/// and opened before anything else happens. The key in use is never removed.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup repo -r /srv/backup key list\n  recoup repo -r /srv/backup key add --new-password-file new-pw\n  recoup repo -r /srv/backup key remove 4f1c02aa"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the key files.
    List,
    /// Add a password. Others can work meanwhile.
    Add(New),
    /// Replace the password in use by a new one.
    Passwd(New),
    /// Remove a key file, by id.
    Remove {
        /// The id, or the beginning of it.
        #[arg(value_name = "KEY")]
        id: String,
        /// Wait this long for others who hold the repository.
        #[arg(long, value_name = "DURATION", default_value = "0s")]
        retry_lock: Span,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup repo -r /srv/backup key passwd --new-password-file new-pw")]
struct New {
    /// Read the new password from FILE.
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<String>,
    /// Run COMMAND and take its output as the new password.
    #[arg(long, value_name = "COMMAND", conflicts_with = "new_password_file")]
    new_password_command: Option<String>,
    /// The new password is 256 random bits: skip the expensive derivation that a thought-up one needs.
    #[arg(long)]
    generated_password: bool,
    /// Host name in the key file, instead of this machine's.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// User name in the key file, instead of yours.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Wait this long for others who hold the repository.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    retry_lock: Span,
}

impl New {
    async fn password(&self, context: &Context) -> Result<Secret> {
        let ask = Ask { name: "the new key", twice: true };
        let (file, command) = (self.new_password_file.as_ref(), self.new_password_command.as_ref());
        let password = secret(file, command, None, context, &ask).await?;
        if password.expose().is_empty() {
            return Err(Error::new(Kind::Config, "take an empty password")
                .code("E0801")
                .effect("no key was changed"));
        }
        Ok(password)
    }

    fn options(&self) -> KeyOptions {
        KeyOptions {
            strength: if self.generated_password {
                PasswordStrength::Generated
            } else {
                PasswordStrength::Human
            },
            hostname: self.host.clone(),
            username: self.user.clone(),
            lock_wait: self.retry_lock.0,
        }
    }
}

pub(crate) async fn run(arguments: Arguments, open: &Options, context: &Context) -> Result<Answer> {
    let repository = open.repository(context).await?;
    match arguments.verb {
        Verb::List => Ok(listed(&keys::list(&repository).await?)),
        Verb::Add(new) => {
            let password = new.password(context).await?;
            let id = keys::add(&repository, &password, &new.options()).await?;
            let text = format!("added key {}; it was read back and takes the new password\n", id.short());
            Ok(Answer::new("repo key", Outcome::Pass, text).with(json!({ "added": id })))
        }
        Verb::Passwd(new) => {
            let password = new.password(context).await?;
            let (id, old) = keys::change_password(&repository, &password, &new.options()).await?;
            let text = format!(
                "added key {}, which takes the new password, and removed key {}\n",
                id.short(),
                old.short()
            );
            Ok(Answer::new("repo key", Outcome::Pass, text).with(json!({ "added": id, "removed": old })))
        }
        Verb::Remove { id, retry_lock } => {
            let id = keys::find(&repository, &id).await?;
            keys::remove(&repository, id, retry_lock.0).await?;
            let text = format!("removed key {}\n", id.short());
            Ok(Answer::new("repo key", Outcome::Pass, text).with(json!({ "removed": id })))
        }
    }
}

fn listed(keys: &[KeyInfo]) -> Answer {
    let (mut rows, mut documents, mut findings) = (Vec::new(), Vec::new(), Vec::new());
    for key in keys {
        let mark = if key.is_current { "*" } else { "" };
        let shown = |text: &str| escape(text.as_bytes());
        match &key.file {
            Ok(file) => {
                let created = file.created.map_or("unknown".into(), |created| {
                    created.to_string().chars().take(19).collect::<String>().replace('T', " ")
                });
                rows.push(vec![
                    mark.into(),
                    key.id.short(),
                    shown(&file.username),
                    shown(&file.hostname),
                    created,
                ]);
                documents.push(json!({
                    "id": key.id, "current": key.is_current, "username": file.username,
                    "hostname": file.hostname, "created": file.created.map(|created| created.at),
                }));
            }
            Err(err) => {
                let code = err.stable_code().unwrap_or("E0414");
                let fix = recoup_core::code::find(code).map_or("", |c| c.next);
                let object = format!("key {}", key.id);
                findings.push(Finding::new(code, Severity::High, object, err.to_string(), fix));
            }
        }
    }
    let outcome = if findings.is_empty() { Outcome::Pass } else { Outcome::Fail };
    let text = table(&["", "id", "user", "host", "created"], &rows, &[]);
    Answer::new("repo key", outcome, text).findings(findings).with(json!({ "keys": documents }))
}
