//! Which repository, and its password, in restic's manner.

use crate::context::Context;
use clap::Args;
use recoup_core::event::Event;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_ops::env::Variables;
use recoup_ops::secret::{SecretRef, resolve};
use recoup_repo::Limits;
use recoup_repo::repository::Repository;
use recoup_store::Store;
use recoup_store::local::Local;
use recoup_store::wrap::retry::{Policy, Retry};
use std::path::PathBuf;
use std::sync::Arc;

/// Options that every repository verb takes, before or after its name.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Repository options")]
pub(crate) struct Options {
    /// The repository: a directory, or local:DIR.
    #[arg(
        short,
        long,
        value_name = "REPO",
        global = true,
        hide_env_values = true,
        env = "RESTIC_REPOSITORY"
    )]
    repo: Option<String>,
    /// Read the repository's name from FILE.
    #[arg(long, value_name = "FILE", global = true, hide_env_values = true, env = "RESTIC_REPOSITORY_FILE")]
    repository_file: Option<PathBuf>,
    /// Read the password from FILE; RESTIC_PASSWORD also works.
    #[arg(
        short = 'p',
        long,
        value_name = "FILE",
        global = true,
        hide_env_values = true,
        env = "RESTIC_PASSWORD_FILE"
    )]
    password_file: Option<String>,
    /// Run COMMAND and take its output as the password.
    #[arg(
        long,
        value_name = "COMMAND",
        global = true,
        hide_env_values = true,
        env = "RESTIC_PASSWORD_COMMAND"
    )]
    password_command: Option<String>,
    /// The same as --output json.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Options {
    /// The place, not opened. Calls that fail for a moment are made again.
    ///
    /// # Errors
    /// `Kind::Config` if none is named; `Kind::Unsupported` for places this version cannot reach.
    pub(crate) fn store(&self, context: &Context) -> Result<Arc<dyn Store>> {
        let path = self.path()?;
        let local = Arc::new(Local::new(path));
        Ok(Arc::new(Retry::new(local, Policy::default(), context.env.events.clone())))
    }

    /// The directory of the repository.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let from_file = || -> Result<Option<String>> {
            let Some(file) = &self.repository_file else { return Ok(None) };
            let text = std::fs::read_to_string(file).map_err(|e| Error::io("read the repository file", e))?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
        };
        let named = match &self.repo {
            Some(name) => Some(name.clone()),
            None => from_file()?,
        };
        let Some(name) = named.filter(|n| !n.is_empty()) else {
            return Err(Error::new(Kind::Config, "find out which repository is meant")
                .code("E0801")
                .hint("give -r DIR or set RESTIC_REPOSITORY"));
        };
        let foreign = ["s3:", "sftp:", "rest:", "rclone:", "b2:", "azure:", "gs:", "swift:"];
        if let Some(scheme) = foreign.iter().find(|s| name.starts_with(**s)) {
            return Err(Error::new(Kind::Unsupported, "open this kind of repository")
                .with("kind", scheme.trim_end_matches(':'))
                .code("E0803")
                .effect("nothing was read or written"));
        }
        Ok(PathBuf::from(name.strip_prefix("local:").unwrap_or(&name)))
    }

    /// The password, from wherever it is kept; asked for at a terminal otherwise.
    pub(crate) async fn password(&self, context: &Context, twice: bool) -> Result<Secret> {
        let variables = Variables::of_process();
        let reference = if let Some(file) = &self.password_file {
            SecretRef::File(file.clone())
        } else if let Some(command) = &self.password_command {
            let words = shlex::split(command).filter(|w| !w.is_empty()).ok_or_else(|| {
                Error::new(Kind::Config, "split the password command into words: a quote is not closed")
                    .code("E0801")
            })?;
            SecretRef::Command(words)
        } else if variables.get("RESTIC_PASSWORD").is_some() {
            SecretRef::Env("RESTIC_PASSWORD".into())
        } else {
            return ask(context, twice);
        };
        let here = std::env::current_dir().map_err(|e| Error::io("find the current directory", e))?;
        let resolved = resolve(&reference, &here, &variables).await?;
        for finding in resolved.findings {
            context.env.emit(Event::Finding(finding));
        }
        Ok(resolved.secret)
    }

    /// The repository, open.
    pub(crate) async fn repository(&self, context: &Context) -> Result<Repository> {
        let store = self.store(context)?;
        let password = self.password(context, false).await?;
        Repository::open(store, &password, Limits::default(), &context.env).await
    }
}

fn ask(context: &Context, twice: bool) -> Result<Secret> {
    if !context.may_ask() {
        return Err(Error::new(Kind::Config, "find the password of the repository")
            .code("E0801")
            .effect("nothing was read or written")
            .hint("give --password-file or --password-command, or set RESTIC_PASSWORD"));
    }
    let prompt = |text: &str| {
        rpassword::prompt_password(text).map_err(|e| Error::io("ask for the password at the terminal", e))
    };
    let password = prompt("password of the repository: ")?;
    if twice && prompt("the same again: ")? != password {
        return Err(Error::new(Kind::Config, "take the password: the two are different").code("E0801"));
    }
    Ok(Secret::new(password.into_bytes()))
}
