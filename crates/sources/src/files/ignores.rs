//! The `.gitignore` files that a walk meets. Each holds for its directory and what is below; the nearest one
//! that says something about an entry decides, and within it the last line that does (gitignore(5)).
//! What Git is told elsewhere, and what it tracks although it is ignored, does not matter here.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use recoup_core::{Error, Kind, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The name that Git knows.
pub(super) const NAME: &str = ".gitignore";
/// The longest file that is read.
pub(super) const BYTES_MAX: u64 = 1 << 20;

/// The rules of one directory, and those above.
pub(super) struct Ignores {
    above: Option<Arc<Ignores>>,
    rules: Gitignore,
    /// So much of a path below the root leads to this directory, in bytes.
    prefix: usize,
}

impl Ignores {
    /// The rules in `text`, for the directory `relative` below the root. A line that Git would not understand
    /// says nothing, and neither does one that is not UTF-8.
    ///
    /// # Errors
    /// `Kind::Refused` (E0520) if the rules are too many for the matcher.
    pub(super) fn new(above: Option<Arc<Ignores>>, relative: &[u8], text: &[u8]) -> Result<Arc<Self>> {
        let mut builder = GitignoreBuilder::new("");
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for line in text.split(|&byte| byte == b'\n') {
            if let Ok(line) = str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)) {
                let _understood = builder.add_line(None, line);
            }
        }
        let rules = builder.build().map_err(|cause| {
            Error::new(Kind::Refused, "use the lines of a .gitignore").code("E0520").caused_by(cause)
        })?;
        let prefix = if relative.is_empty() { 0 } else { relative.len() + 1 };
        Ok(Arc::new(Ignores { above, rules, prefix }))
    }

    /// Whether the entry `relative` below the root is left out.
    pub(super) fn leaves_out(&self, relative: &[u8], is_dir: bool) -> bool {
        let mut next = Some(self);
        while let Some(here) = next {
            let path = Path::new(OsStr::from_bytes(relative.get(here.prefix..).unwrap_or_default()));
            let said = here.rules.matched(path, is_dir);
            if !said.is_none() {
                return said.is_ignore();
            }
            next = here.above.as_deref();
        }
        false
    }
}

/// One after the other, as deep as they may be.
impl Drop for Ignores {
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some(above) = next {
            next = Arc::into_inner(above).and_then(|mut above| above.above.take());
        }
    }
}
