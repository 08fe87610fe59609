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
    #[arg(skip)]
    is_source: bool,
}

/// The repository that something is copied from.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Source repository")]
pub(crate) struct From {
    /// The repository to copy from.
    #[arg(long, value_name = "REPO", hide_env_values = true, env = "RESTIC_FROM_REPOSITORY")]
    pub(crate) from_repo: Option<String>,
    /// Read the name of the source from FILE.
    #[arg(long, value_name = "FILE", hide_env_values = true, env = "RESTIC_FROM_REPOSITORY_FILE")]
    from_repository_file: Option<PathBuf>,
    /// Read the password of the source from FILE; RESTIC_FROM_PASSWORD also works.
    #[arg(long, value_name = "FILE", hide_env_values = true, env = "RESTIC_FROM_PASSWORD_FILE")]
    from_password_file: Option<String>,
    /// Run COMMAND and take its output as the password of the source.
    #[arg(long, value_name = "COMMAND", hide_env_values = true, env = "RESTIC_FROM_PASSWORD_COMMAND")]
    from_password_command: Option<String>,
}

impl From {
    /// The same as options of an ordinary repository.
    pub(crate) fn options(&self) -> Options {
        Options {
            repo: self.from_repo.clone(),
            repository_file: self.from_repository_file.clone(),
            password_file: self.from_password_file.clone(),
            password_command: self.from_password_command.clone(),
            json: false,
            is_source: true,
        }
    }
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
            return Err(Error::new(Kind::Config, "find out which repository is meant").code("E0801").hint(
                if self.is_source {
                    "give --from-repo DIR or set RESTIC_FROM_REPOSITORY"
                } else {
                    "give -r DIR or set RESTIC_REPOSITORY"
                },
            ));
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

    /// The files that are needed to open it.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.repository_file.iter().cloned().chain(self.password_file.iter().map(PathBuf::from)).collect()
    }

    /// The password, from wherever it is kept; asked for at a terminal otherwise.
    pub(crate) async fn password(&self, context: &Context, twice: bool) -> Result<Secret> {
        let variable = if self.is_source { "RESTIC_FROM_PASSWORD" } else { "RESTIC_PASSWORD" };
        let name = if self.is_source { "the source repository" } else { "the repository" };
        let (file, command) = (self.password_file.as_ref(), self.password_command.as_ref());
        secret(file, command, Some(variable), context, &Ask { name, twice }).await
    }

    /// The repository, open.
    pub(crate) async fn repository(&self, context: &Context) -> Result<Repository> {
        let store = self.store(context)?;
        let password = self.password(context, false).await?;
        Repository::open(store, &password, Limits::default(), &context.env).await
    }
}

/// What a person is asked if a password is nowhere else.
pub(crate) struct Ask {
    /// Whose password it is.
    pub(crate) name: &'static str,
    /// Whether it is a new one.
    pub(crate) twice: bool,
}

/// A password from a file, a command, a variable or the terminal; never from the command line.
pub(crate) async fn secret(
    file: Option<&String>,
    command: Option<&String>,
    variable: Option<&str>,
    context: &Context,
    ask_for: &Ask,
) -> Result<Secret> {
    let variables = Variables::of_process();
    let reference = if let Some(file) = file {
        SecretRef::File(file.clone())
    } else if let Some(command) = command {
        let words = shlex::split(command).filter(|w| !w.is_empty()).ok_or_else(|| {
            Error::new(Kind::Config, "split the password command into words: a quote is not closed")
                .code("E0801")
        })?;
        SecretRef::Command(words)
    } else if let Some(name) = variable.filter(|name| variables.get(name).is_some()) {
        SecretRef::Env(name.into())
    } else {
        return ask(context, ask_for);
    };
    let here = std::env::current_dir().map_err(|e| Error::io("find the current directory", e))?;
    let resolved = resolve(&reference, &here, &variables).await?;
    for finding in resolved.findings {
        context.env.emit(Event::Finding(finding));
    }
    Ok(resolved.secret)
}

fn ask(context: &Context, ask_for: &Ask) -> Result<Secret> {
    if !context.may_ask() {
        return Err(Error::new(Kind::Config, format!("find the password of {}", ask_for.name))
            .code("E0801")
            .effect("nothing was read or written")
            .hint("give --password-file or --password-command, or set RESTIC_PASSWORD"));
    }
    let prompt = |text: &str| {
        rpassword::prompt_password(text).map_err(|e| Error::io("ask for the password at the terminal", e))
    };
    let password = prompt(&format!("password of {}: ", ask_for.name))?;
    if ask_for.twice && prompt("the same again: ")? != password {
        return Err(Error::new(Kind::Config, "take the password: the two are different").code("E0801"));
    }
    Ok(Secret::new(password.into_bytes()))
}
