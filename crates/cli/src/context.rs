//! What every verb is handed: the global options and the world.

use crate::render::answer::Format;
use crate::render::progress::{Bars, JsonLines, Plain};
use crate::render::style::{ColorChoice, Style};
use clap::{ArgAction, Args};
use recoup_core::env::Env;
use recoup_core::event::{Event, Silent, Sink};
use recoup_core::units::Span;
use recoup_core::{Error, Result};
use recoup_ops::config::LoadOptions;
use recoup_ops::env::Variables;
use recoup_ops::session::Session;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Options that every verb takes, before or after its name.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Work as if started in DIR.
    #[arg(
        short = 'C',
        long = "directory",
        value_name = "DIR",
        global = true,
        hide_env_values = true,
        env = "RECOUP_DIRECTORY"
    )]
    pub(crate) directory: Option<PathBuf>,
    /// Read this configuration file instead of the nearest recoup.toml.
    #[arg(long, value_name = "FILE", global = true, hide_env_values = true, env = "RECOUP_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Lay recoup.NAME.toml over the configuration.
    #[arg(long = "env", value_name = "NAME", global = true, hide_env_values = true, env = "RECOUP_ENV")]
    pub(crate) environment: Option<String>,
    /// Use only this location.
    #[arg(long, value_name = "NAME", global = true, hide_env_values = true, env = "RECOUP_LOCATION")]
    pub(crate) location: Option<String>,
    /// The moment that is meant: RFC 3339, "today 14:02", latest, before POINT.
    #[arg(long, value_name = "MOMENT", global = true, hide_env_values = true, env = "RECOUP_AT")]
    pub(crate) at: Option<String>,
    /// The form of the result on standard output.
    #[arg(
        long,
        value_name = "FORM",
        global = true,
        hide_env_values = true,
        env = "RECOUP_OUTPUT",
        default_value = "text",
        value_enum
    )]
    pub(crate) output: Format,
    /// Show no progress, only the result.
    #[arg(short, long, global = true, hide_env_values = true, env = "RECOUP_QUIET")]
    pub(crate) quiet: bool,
    /// Say more; may be given twice.
    #[arg(short, long, action = ArgAction::Count, global = true, hide_env_values = true, env = "RECOUP_VERBOSE")]
    pub(crate) verbose: u8,
    /// When to colour; NO_COLOR is honoured.
    #[arg(
        long,
        value_name = "WHEN",
        global = true,
        hide_env_values = true,
        env = "RECOUP_COLOR",
        default_value = "auto",
        value_enum
    )]
    pub(crate) color: ColorChoice,
    /// Never draw progress bars.
    #[arg(long, global = true, hide_env_values = true, env = "RECOUP_NO_PROGRESS")]
    pub(crate) no_progress: bool,
    /// Never ask; what would be asked is an error instead.
    #[arg(long, global = true, hide_env_values = true, env = "RECOUP_NO_INPUT")]
    pub(crate) no_input: bool,
    /// Give up after this long, as in 30m.
    #[arg(long, value_name = "DURATION", global = true, hide_env_values = true, env = "RECOUP_TIMEOUT")]
    pub(crate) timeout: Option<Span>,
    /// Set by NO_COLOR, whatever its value.
    #[arg(long = "no-color", hide = true, global = true, hide_env_values = true, env = "NO_COLOR", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) no_color: Option<String>,
}

/// Remembers the command that goes on after an interruption, and hands every event on.
pub(crate) struct Remembering {
    inner: Arc<dyn Sink>,
    resume: Arc<Mutex<Option<String>>>,
}

impl Sink for Remembering {
    fn emit(&self, event: Event) {
        if let Event::Checkpoint { stage, message } = &event
            && stage == "resume"
        {
            *self.resume.lock().unwrap_or_else(PoisonError::into_inner) = Some(message.clone());
        }
        self.inner.emit(event);
    }
}

/// The global options and the world.
pub(crate) struct Context {
    /// As given on the command line.
    pub(crate) globals: Globals,
    /// Clock, randomness, events, host.
    pub(crate) env: Env,
    /// Colour on standard output.
    pub(crate) style: Style,
    resume: Arc<Mutex<Option<String>>>,
    opened: Mutex<Option<Session>>,
}

impl Context {
    /// Builds the world once, with the sink that the options ask for.
    pub(crate) fn new(globals: Globals) -> Self {
        let no_color = globals.no_color.is_some();
        let style = Style::stdout(globals.color, no_color);
        let quiet = recoup_ops::env::real(Arc::new(Silent));
        let inner = sink(&globals, &quiet, Style::stderr(globals.color, no_color));
        let resume = Arc::default();
        let events = Arc::new(Remembering { inner, resume: Arc::clone(&resume) });
        Context { globals, env: Env { events, ..quiet }, style, resume, opened: Mutex::default() }
    }

    /// How the configuration is found.
    ///
    /// # Errors
    /// If there is no current directory.
    pub(crate) fn load_options(&self) -> Result<LoadOptions> {
        let start = std::env::current_dir().map_err(|e| Error::io("find the current directory", e))?;
        Ok(LoadOptions {
            start,
            file: self.globals.config.clone(),
            overlay: self.globals.environment.clone(),
            variables: Variables::of_process(),
        })
    }

    /// The configuration, read, with its state directory. Its warnings go out as events.
    ///
    /// # Errors
    /// `Kind::Config` with everything that is wrong in it.
    pub(crate) fn session(&self) -> Result<Session> {
        let session = Session::open(&self.load_options()?, &self.env)?;
        for warning in &session.loaded().warnings {
            self.env.emit(Event::Finding(warning.finding()));
        }
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
        Ok(session)
    }

    /// Writes into the audit log of the application, if a verb has opened one, that a guard said no.
    pub(crate) async fn refused(&self, verb: &str, error: &Error) {
        let session = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(session) = session {
            recoup_ops::audit::refused(&session, verb, error).await;
        }
    }

    /// The command that goes on with what this run has begun, if there is such a thing by now.
    pub(crate) fn resume(&self) -> Option<String> {
        self.resume.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a person can be asked.
    pub(crate) fn may_ask(&self) -> bool {
        !self.globals.no_input && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }
}

fn sink(globals: &Globals, env: &Env, style: Style) -> Arc<dyn Sink> {
    if globals.output == Format::Jsonl {
        return Arc::new(JsonLines);
    }
    if globals.quiet {
        return Arc::new(Silent);
    }
    if std::io::stderr().is_terminal() && !globals.no_progress {
        return Arc::new(Bars::new(style));
    }
    Arc::new(Plain::new(env.clock.clone(), style))
}
