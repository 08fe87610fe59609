//! One error type for every floor: what was attempted, on what, and which of a closed set of
//! outcomes it is. Hints are added where the user is.

use std::error::Error as StdError;
use std::fmt;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The closed set of outcomes. Whether a retry can help belongs to the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The thing asked for is not there.
    NotFound,
    /// The thing to be created is there already.
    Exists,
    /// The operating system or a server says this identity may not.
    Denied,
    /// Somebody else changed it in between.
    Conflict,
    /// A lock of somebody else is held.
    Locked,
    /// Bytes are not what their name or seal says.
    Corrupt,
    /// A server, disk or network does not answer now.
    Unavailable,
    /// It took longer than allowed.
    TimedOut,
    /// This build, host or peer cannot do it.
    Unsupported,
    /// The configuration or the command line is wrong.
    Config,
    /// A guard of recoup said no.
    Refused,
    /// Stopped halfway; it can be resumed.
    Interrupted,
    /// A mistake in recoup itself.
    Bug,
}

impl Kind {
    /// Whether the same call may succeed if it is made again.
    pub fn is_retryable(self) -> bool {
        matches!(self, Kind::Unavailable | Kind::TimedOut)
    }
}

/// An error with its story: the kind, the attempt, the things it concerns, and the cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    doing: String,
    code: Option<&'static str>,
    context: Vec<(&'static str, String)>,
    effect: Option<String>,
    hint: Option<String>,
    excerpt: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `doing` says what was attempted, as in "read the index".
    pub fn new(kind: Kind, doing: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            doing: doing.into(),
            code: None,
            context: Vec::new(),
            effect: None,
            hint: None,
            excerpt: None,
            source: None,
        }))
    }

    /// An error from the operating system; the kind follows from `cause`.
    pub fn io(doing: impl Into<String>, cause: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match cause.kind() {
            Io::NotFound => Kind::NotFound,
            Io::AlreadyExists => Kind::Exists,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Kind::Denied,
            Io::TimedOut => Kind::TimedOut,
            Io::Unsupported => Kind::Unsupported,
            _ => Kind::Unavailable,
        };
        Error::new(kind, doing).caused_by(cause)
    }

    /// A mistake in recoup: a state that the code says cannot be.
    pub fn bug(doing: impl Into<String>) -> Self {
        Error::new(Kind::Bug, doing)
    }

    /// Names one thing the error concerns, as in `("pack", id)`.
    #[must_use]
    pub fn with(mut self, what: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((what, value.to_string()));
        self
    }

    /// Gives the error its stable code, which `recoup explain` explains.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.0.code = Some(code);
        self
    }

    /// Says what this means for the data, as in "nothing was written".
    #[must_use]
    pub fn effect(mut self, effect: impl Into<String>) -> Self {
        self.0.effect = Some(effect.into());
        self
    }

    /// Says what to do next, where the floor that raised it knows better than the command line.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Attaches the rendered excerpt of a configuration file.
    #[must_use]
    pub fn excerpt(mut self, excerpt: impl Into<String>) -> Self {
        self.0.excerpt = Some(excerpt.into());
        self
    }

    /// Attaches the cause.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    /// Which outcome it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
    /// What was attempted.
    pub fn doing(&self) -> &str {
        &self.0.doing
    }
    /// The stable code, if the error has one.
    pub fn stable_code(&self) -> Option<&'static str> {
        self.0.code
    }
    /// The things it concerns, in the order they were added.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }
    /// What it means for the data.
    pub fn effect_on_data(&self) -> Option<&str> {
        self.0.effect.as_deref()
    }
    /// What to do next.
    pub fn next_step(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
    /// The excerpt of a configuration file.
    pub fn excerpt_text(&self) -> Option<&str> {
        self.0.excerpt.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.doing)?;
        for (i, (what, value)) in self.0.context.iter().enumerate() {
            let lead = if i == 0 { " (" } else { ", " };
            write!(f, "{lead}{what} {value}")?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        if let Some(cause) = &self.0.source {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:?}] {self}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_attempt_things_and_cause() {
        let cause = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "no");
        let err = Error::io("read the pack", cause).with("pack", "ab12").with("location", "local");
        assert_eq!(err.to_string(), "read the pack (pack ab12, location local): no");
        assert_eq!(err.kind(), Kind::Denied);
        assert!(!err.kind().is_retryable());
    }
}
