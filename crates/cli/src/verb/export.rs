//! `recoup export`.

use crate::context::Context;
use crate::render::Answer;
use clap::{Args, Subcommand};
use recoup_core::event::Outcome;
use recoup_core::{Error, Result};
use recoup_ops::export::{ExportOptions, cron, systemd};
use serde_json::json;
use std::path::PathBuf;

/// The declared schedules as systemd units or cron lines.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup export systemd --write /etc/systemd/system\n  recoup export cron | crontab -"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The user who runs them; the current one if absent.
    #[arg(long, value_name = "NAME", global = true)]
    user: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Systemd(SystemdArguments),
    Cron(CronArguments),
}

/// A service and a timer for everything that has a schedule.
#[derive(Args, Debug)]
struct SystemdArguments {
    /// Write the units into DIR instead of standard output.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// A crontab for everything that has a schedule.
#[derive(Args, Debug)]
struct CronArguments {}

impl Arguments {
    /// The verb's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self.verb {
            Verb::Systemd(_) => "export systemd",
            Verb::Cron(_) => "export cron",
        }
    }
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<Answer> {
    let session = context.session()?;
    let loaded = session.loaded();
    let program = std::env::current_exe().map_err(|e| Error::io("find the recoup program", e))?;
    let options = ExportOptions {
        program,
        user: arguments.user.clone().unwrap_or_else(|| context.env.host.username.clone()),
        state_dir: loaded.variables.text("RECOUP_STATE_DIR").map(str::to_owned),
    };
    match &arguments.verb {
        Verb::Cron(_) => {
            let (text, findings) = cron(loaded, &options);
            Ok(Answer::new("export cron", Outcome::Pass, text.clone())
                .findings(findings)
                .with(json!({ "crontab": text })))
        }
        Verb::Systemd(a) => {
            let (units, findings) = systemd(loaded, &options);
            let mut text = String::new();
            for unit in &units {
                match &a.write {
                    Some(dir) => {
                        recoup_store::local::durable::write(
                            &dir.join(&unit.name),
                            unit.text.as_bytes(),
                            0o644,
                        )?;
                        text.push_str(&format!("wrote {}\n", unit.name));
                    }
                    None => text.push_str(&format!("# {}\n{}\n", unit.name, unit.text)),
                }
            }
            Ok(Answer::new("export systemd", Outcome::Pass, text)
                .findings(findings)
                .with(json!({ "units": units })))
        }
    }
}
