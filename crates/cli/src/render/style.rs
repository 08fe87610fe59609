//! Colour, which never carries meaning alone.

use clap::ValueEnum;
use std::io::IsTerminal;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Decided once per stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    on: bool,
}

impl Style {
    /// Decides for standard output.
    pub(crate) fn stdout(choice: ColorChoice, no_color: bool) -> Self {
        Style::decide(choice, no_color, std::io::stdout().is_terminal())
    }

    /// Decides for standard error.
    pub(crate) fn stderr(choice: ColorChoice, no_color: bool) -> Self {
        Style::decide(choice, no_color, std::io::stderr().is_terminal())
    }

    fn decide(choice: ColorChoice, no_color: bool, terminal: bool) -> Self {
        let on = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        Style { on }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }
    pub(crate) fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }
    pub(crate) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }
    pub(crate) fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }
    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }
}
