//! The name of an object: a relative path of normal ASCII components, as in `data/ab/ab12...`.

use recoup_core::{Error, Kind, Result};
use std::fmt;

/// A checked object name. It can never leave its location.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Checks `path`: components of `A-Z a-z 0-9 . _ -` joined with `/`, none of them `.` or `..`.
    ///
    /// # Errors
    /// `Kind::Refused` for anything else.
    pub fn new(path: impl Into<String>) -> Result<Self> {
        let path = path.into();
        let fits = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if path.split('/').all(fits) {
            return Ok(Key(path));
        }
        let shown = recoup_core::name::escape(path.as_bytes());
        Err(Error::new(Kind::Refused, "use an object name with unusual characters").with("name", shown))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, last)| last)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
