//! The small closed types that records are made of. There is no type for any text: a secret, a row or the
//! content of a file has nowhere to stand.

use crate::{Error, Kind, code};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest name in a record.
const NAME_CHARS_MAX: usize = 128;
/// Longest reason that a person may give.
const REASON_CHARS_MAX: usize = 200;
/// SHA-256 as hex.
const HEX_CHARS_MAX: usize = 64;

/// A text that fits its rule, checked where it is made and where it is read.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                let fits: fn(&str) -> bool = $fits;
                if fits(&text) { Ok($name(text)) } else { Err(concat!("no ", stringify!($name)).to_owned()) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked!(
    /// The name of a source, a location, a run, a host: letters, digits and `. _ - @ : / +`.
    Name,
    |text| text.chars().count() <= NAME_CHARS_MAX && text.chars().all(is_of_a_name)
);
checked!(
    /// A hash or an id, as hex.
    Hex,
    |text| text.len() <= HEX_CHARS_MAX && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);
checked!(
    /// A stable code, as in `E0611`.
    Code,
    |text| text.len() == 5 && text.starts_with(['E', 'W', 'R']) && text[1..].bytes().all(|b| b.is_ascii_digit())
);
checked!(
    /// Why, in the words of a person: short, and harmless to show.
    Reason,
    |text| text.chars().count() <= REASON_CHARS_MAX && !text.chars().any(char::is_control)
);

impl Name {
    /// `text` as a name. What no name has becomes `_`, and what is too long is cut.
    pub fn of(text: &str) -> Self {
        let fit = |c| if is_of_a_name(c) { c } else { '_' };
        Name(text.chars().take(NAME_CHARS_MAX).map(fit).collect())
    }
}

impl Hex {
    /// `text`, if it is hex and no longer than a hash.
    pub fn of(text: &str) -> Option<Self> {
        Some(text).filter(|t| !t.is_empty()).and_then(|t| Hex::try_from(t.to_owned()).ok())
    }
}

impl Code {
    /// `text`, if it is a code that `recoup explain` knows.
    pub fn of(text: &str) -> Option<Self> {
        code::find(text).map(|known| Code(known.code.to_owned()))
    }
}

impl Reason {
    /// What a person gave as the reason: escaped, and cut where it is too long.
    pub fn of(text: &str) -> Self {
        Reason(crate::name::escape(text.trim().as_bytes()).chars().take(REASON_CHARS_MAX).collect())
    }
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ':' | '/' | '+')
}

/// An error, without any of its words: they may quote what nobody should keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which kind of error.
    pub kind: Name,
    /// Its stable code, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<Code>,
}

impl Fault {
    /// What is kept of `error`.
    pub fn of(error: &Error) -> Self {
        let kind = match error.kind() {
            Kind::NotFound => "not-found",
            Kind::Exists => "exists",
            Kind::Denied => "denied",
            Kind::Conflict => "conflict",
            Kind::Locked => "locked",
            Kind::Corrupt => "corrupt",
            Kind::Unavailable => "unavailable",
            Kind::TimedOut => "timed-out",
            Kind::Unsupported => "unsupported",
            Kind::Config => "config",
            Kind::Refused => "refused",
            Kind::Interrupted => "interrupted",
            Kind::Bug => "bug",
        };
        Fault { kind: Name::of(kind), code: error.stable_code().and_then(Code::of) }
    }
}
