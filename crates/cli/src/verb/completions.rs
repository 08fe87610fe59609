//! `recoup completions` and `recoup man`.

use crate::context::Context;
use crate::render::Answer;
use clap::Args;
use clap_complete::Shell;
use recoup_core::event::Outcome;
use recoup_core::{Error, Result};

/// Print completions for a shell.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  recoup completions bash > /etc/bash_completion.d/recoup\n  recoup completions fish > ~/.config/fish/completions/recoup.fish"
)]
pub(crate) struct Arguments {
    /// Which shell.
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, _context: &Context) -> Result<Answer> {
    let mut out = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::command(), "recoup", &mut out);
    Ok(Answer::new("completions", Outcome::Pass, String::from_utf8_lossy(&out)))
}

/// Print the man page.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  recoup man > recoup.1 && man ./recoup.1")]
pub(crate) struct ManArguments {}

pub(crate) fn man(_arguments: &ManArguments, _context: &Context) -> Result<Answer> {
    let mut out = Vec::new();
    clap_mangen::Man::new(crate::command())
        .render(&mut out)
        .map_err(|cause| Error::io("write the man page", cause))?;
    Ok(Answer::new("man", Outcome::Pass, String::from_utf8_lossy(&out)))
}
