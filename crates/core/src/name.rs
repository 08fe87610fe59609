//! Names that were checked once, where they came in, and are trusted afterwards.

use crate::{Error, Kind, Result};
use std::fmt;
use std::sync::Arc;

/// One normal path component as raw bytes: not empty, no `/`, no NUL, not `.` or `..`.
///
/// Everything that a repository, a server or a directory names goes through here before it may
/// become part of a path (fault row 141).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<[u8]>);

impl NodeName {
    /// Longest name a Linux file system takes, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Checks `raw`.
    ///
    /// # Errors
    /// `Kind::Refused` if `raw` is not one normal component.
    pub fn new(raw: impl Into<Vec<u8>>) -> Result<Self> {
        let raw = raw.into();
        let problem = match raw.as_slice() {
            b"" => "it is empty",
            b"." | b".." => "it would leave its directory",
            r if r.contains(&b'/') => "it has a slash",
            r if r.contains(&0) => "it has a NUL byte",
            _ => return Ok(NodeName(raw.into())),
        };
        Err(Error::new(Kind::Refused, format!("use the name \"{}\": {problem}", escape(&raw))).code("E0405"))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A path beneath some root: normal components only, so it cannot leave the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Vec<NodeName>);

impl TreePath {
    /// The root itself.
    pub fn root() -> Self {
        TreePath::default()
    }

    /// Splits `raw` at `/`; a leading, trailing or doubled slash and `.` are dropped.
    ///
    /// # Errors
    /// `Kind::Refused` for `..` or NUL in a component.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        raw.split(|&b| b == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .map(NodeName::new)
            .collect::<Result<_>>()
            .map(TreePath)
    }

    /// This path with `name` below it.
    #[must_use]
    pub fn join(&self, name: &NodeName) -> Self {
        let mut parts = self.0.clone();
        parts.push(name.clone());
        TreePath(parts)
    }

    /// The path without its last component; `None` at the root.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(TreePath(rest.to_vec()))
    }

    /// The last component; `None` at the root.
    pub fn last(&self) -> Option<&NodeName> {
        self.0.last()
    }

    /// The components, outermost first.
    pub fn components(&self) -> &[NodeName] {
        &self.0
    }

    /// The raw bytes, joined with `/`, without a leading slash.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts: Vec<&[u8]> = self.0.iter().map(NodeName::as_bytes).collect();
        parts.join(&b'/')
    }

    /// Whether `self` is `other` or lies below it.
    pub fn starts_with(&self, other: &TreePath) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl FromIterator<NodeName> for TreePath {
    fn from_iter<I: IntoIterator<Item = NodeName>>(iter: I) -> Self {
        TreePath(iter.into_iter().collect())
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.to_bytes()))
    }
}

/// Text that is safe on a terminal: control, bidirectional and invisible characters and bytes that
/// are not UTF-8 are escaped (fault row 120).
pub fn escape(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                c if is_unsafe_to_show(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

fn is_unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            assert_eq!(NodeName::new(bad).unwrap_err().kind(), Kind::Refused, "{bad:?}");
        }
        assert!(NodeName::new(&b"..."[..]).is_ok());
        assert!(TreePath::parse(b"a/../b").is_err());
        assert_eq!(TreePath::parse(b"/a//./b/").unwrap().to_bytes(), b"a/b");
    }

    #[test]
    fn shown_names_cannot_speak_to_the_terminal() {
        assert_eq!(escape(b"a\x1b[31m\xff\n\\"), "a\\u{1b}[31m\\xff\\n\\\\");
        assert_eq!(escape("x\u{202e}y".as_bytes()), "x\\u{202e}y");
    }
}
