//! What is left out: restic's patterns for `recoup repo backup`, Git's for `ignore` in `recoup.toml`.

use super::glob::{Piece, chars, globbed, pieces};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use recoup_core::{Error, Kind, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The tag file of directories that hold only a cache and how it must begin (Cache Directory Tagging
/// Specification, bford.info/cachedir).
pub const CACHE_TAG: &str = "CACHEDIR.TAG:Signature: 8a477f597d28d172789f06886806bc55";

/// Everything that can leave an entry out.
#[derive(Clone, Default)]
pub struct Excludes {
    patterns: Vec<Pattern>,
    patterns_any_case: Vec<Pattern>,
    tags: Vec<Tag>,
    ignore: Option<Gitignore>,
    /// Leaves out what the `.gitignore` files of the walked tree say.
    pub git_ignore: bool,
    /// Stays on the file system of each root; a mount point itself is kept, empty.
    pub one_file_system: bool,
    /// Leaves out files larger than this, in bytes.
    pub larger_than: Option<u64>,
}

/// A tag file: a directory that holds it is kept with the tag alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) name: Vec<u8>,
    pub(super) header: Vec<u8>,
}

impl Excludes {
    /// Adds a pattern in restic's language, matched against absolute paths: `*`, `?` and `[a-z]`
    /// within a component, `**` across them, a leading `/` for the whole path, a leading `!` to take
    /// back in what an earlier pattern left out.
    ///
    /// # Errors
    /// `Kind::Config` (E0520) for a pattern that cannot be understood.
    pub fn pattern(&mut self, pattern: &[u8]) -> Result<&mut Self> {
        self.patterns.extend(Pattern::parse(pattern, false)?);
        Ok(self)
    }

    /// Adds a pattern that ignores the case of letters.
    ///
    /// # Errors
    /// As [`Excludes::pattern`].
    pub fn pattern_any_case(&mut self, pattern: &[u8]) -> Result<&mut Self> {
        self.patterns_any_case.extend(Pattern::parse(pattern, true)?);
        Ok(self)
    }

    /// Adds `FILENAME` or `FILENAME:HEADER`: what lies beside such a file is left out.
    ///
    /// # Errors
    /// `Kind::Config` (E0520) if the name is empty.
    pub fn if_present(&mut self, spec: &[u8]) -> Result<&mut Self> {
        let (name, header) = match spec.iter().position(|&b| b == b':') {
            Some(at) => (&spec[..at], &spec[at + 1..]),
            None => (spec, &b""[..]),
        };
        if name.is_empty() || name.contains(&b'/') {
            return Err(bad_pattern(spec, "it names no file"));
        }
        self.tags.push(Tag { name: name.to_vec(), header: header.to_vec() });
        Ok(self)
    }

    /// Leaves out what lies beside a valid `CACHEDIR.TAG`.
    pub fn caches(&mut self) -> &mut Self {
        // The constant names a file.
        let _always = self.if_present(CACHE_TAG.as_bytes());
        self
    }

    /// Takes Git's ignore lines, relative to the root of a source.
    ///
    /// # Errors
    /// `Kind::Config` (E0520) for a line that cannot be understood.
    pub fn git_lines<S: AsRef<str>>(&mut self, lines: &[S]) -> Result<&mut Self> {
        let mut builder = GitignoreBuilder::new("");
        for line in lines {
            builder.add_line(None, line.as_ref()).map_err(|e| {
                bad_pattern(line.as_ref().as_bytes(), "Git would not understand it").caused_by(e)
            })?;
        }
        let built = builder
            .build()
            .map_err(|e| Error::new(Kind::Config, "read the ignore lines").code("E0520").caused_by(e))?;
        self.ignore = (!built.is_empty()).then_some(built);
        Ok(self)
    }

    /// Whether patterns leave out `absolute`, which is `relative` beneath the root of a source.
    pub(super) fn by_name(&self, absolute: &[u8], relative: &[u8], is_dir: bool) -> bool {
        if !self.patterns.is_empty() && listed(&self.patterns, absolute) {
            return true;
        }
        if !self.patterns_any_case.is_empty() && listed(&self.patterns_any_case, &lower(absolute)) {
            return true;
        }
        match &self.ignore {
            Some(lines) if !relative.is_empty() => {
                lines.matched(Path::new(OsStr::from_bytes(relative)), is_dir).is_ignore()
            }
            _ => false,
        }
    }

    /// Whether any rule looks at absolute paths.
    pub(super) fn needs_paths(&self) -> bool {
        !(self.patterns.is_empty() && self.patterns_any_case.is_empty() && self.ignore.is_none())
    }

    pub(super) fn tags(&self) -> &[Tag] {
        &self.tags
    }
}

/// The patterns of an exclude file: one a line, blank lines and lines with `#` are dropped, `$NAME`,
/// `${NAME}` and `$$` are expanded through `variable`, as restic does.
pub fn lines_of_file(text: &[u8], variable: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    text.split(|&b| b == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| expand(line, variable))
        .collect()
}

fn expand(line: &[u8], variable: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.iter().position(|&b| b == b'$') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(b"$") {
            out.push(b'$');
            rest = after;
        } else if rest.first() == Some(&b'{') {
            let end = rest.iter().position(|&b| b == b'}').unwrap_or(rest.len() - 1);
            out.extend(variable(&rest[1..end.max(1)]).unwrap_or_default());
            rest = &rest[end + 1..];
        } else {
            let end = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'));
            let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
            out.extend(variable(name).unwrap_or_default());
            rest = after;
        }
    }
    out.extend_from_slice(rest);
    out
}

/// A list of patterns over the components of a path, for restores too. The last pattern that
/// matches decides.
fn listed(patterns: &[Pattern], path: &[u8]) -> bool {
    let parts: Vec<&[u8]> = path.split(|&b| b == b'/').collect();
    patterns.iter().fold(false, |out, pattern| if pattern.matches(&parts) { !pattern.negated } else { out })
}

/// One parsed pattern.
#[derive(Clone, Debug)]
struct Pattern {
    parts: Vec<Part>,
    anchored: bool,
    negated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Plain(Vec<u8>),
    Glob(Vec<Piece>),
    AnyDepth,
}

impl Pattern {
    /// `None` for an empty pattern, which restic ignores.
    fn parse(text: &[u8], any_case: bool) -> Result<Option<Self>> {
        let text = if any_case { lower(text) } else { text.to_vec() };
        let (negated, body) = match text.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, &text[..]),
        };
        if body.is_empty() {
            return Ok(None);
        }
        let mut parts = Vec::new();
        for part in body.split(|&b| b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(bad_pattern(&text, "it has a \"..\"")),
                b"**" => parts.push(Part::AnyDepth),
                part if part.iter().any(|b| b"\\[]*?".contains(b)) => {
                    parts.push(Part::Glob(
                        pieces(part).ok_or_else(|| bad_pattern(&text, "a class or escape is not closed"))?,
                    ));
                }
                part => parts.push(Part::Plain(part.to_vec())),
            }
        }
        Ok(Some(Pattern { parts, anchored: body.starts_with(b"/"), negated }))
    }

    /// A pattern matches a path if it matches consecutive components, from the start if it is
    /// anchored; what follows them does not matter, so that a directory takes its content along.
    fn matches(&self, path: &[&[u8]]) -> bool {
        if self.anchored {
            return path.first() == Some(&&b""[..]) && heads(&self.parts, &path[1..]);
        }
        (0..=path.len()).any(|at| heads(&self.parts, &path[at..]))
    }
}

fn heads(parts: &[Part], path: &[&[u8]]) -> bool {
    let Some((part, rest)) = parts.split_first() else { return true };
    match (part, path.split_first()) {
        (Part::AnyDepth, _) => (0..=path.len()).any(|at| heads(rest, &path[at..])),
        (_, None) => false,
        (Part::Plain(name), Some((first, after))) => name == first && heads(rest, after),
        (Part::Glob(glob), Some((first, after))) => globbed(glob, &chars(first)) && heads(rest, after),
    }
}

fn lower(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().to_lowercase().into_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    out
}

fn bad_pattern(text: &[u8], why: &str) -> Error {
    let shown = recoup_core::name::escape(text);
    Error::new(Kind::Config, format!("read the exclude pattern \"{shown}\": {why}")).code("E0520")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(patterns: &[&str], path: &str) -> bool {
        let mut excludes = Excludes::default();
        for pattern in patterns {
            excludes.pattern(pattern.as_bytes()).unwrap();
        }
        excludes.by_name(path.as_bytes(), b"", false)
    }

    #[test]
    fn patterns_match_as_restic_documents_them() {
        for (pattern, path, want) in [
            ("*.c", "/home/user/foo/test.c", true),
            ("foo", "/a/foo/b/c", true),
            ("foo", "/a/foobar", false),
            ("/foo", "/a/foo", false),
            ("/a/foo", "/a/foo/below", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/b/c", false),
            ("/a/**/c", "/a/b/b/c/d", true),
            ("/a/**", "/a", true),
            ("foo/**/bar", "/x/foo/bar", true),
            ("b/c", "/a/b/c", true),
            ("a?c", "/x/abc", true),
            ("a?c", "/x/aéc", true),
            ("[a-c]x", "/bx", true),
            ("[^a-c]x", "/bx", false),
            ("a\\*", "/a*", true),
            ("a\\*", "/ab", false),
            ("*a*b*c", "/xxaxxbxxc", true),
            ("*a*b*c", "/xxaxxcxxb", false),
            ("foo/", "/foo", true),
        ] {
            assert_eq!(out(&[pattern], path), want, "{pattern} {path}");
        }
        assert!(!out(&["*.log", "!keep.log"], "/x/keep.log"));
        assert!(out(&["!keep.log", "*.log"], "/x/keep.log"));
    }

    #[test]
    fn bad_patterns_are_named_before_anything_runs() {
        for bad in ["[", "a[b", "x\\", "[]", "[a-]", "../x"] {
            let error = Excludes::default().pattern(bad.as_bytes()).err().unwrap();
            assert_eq!(error.stable_code(), Some("E0520"), "{bad}");
        }
        assert!(Excludes::default().if_present(b":x").is_err());
    }

    #[test]
    fn case_and_git_lines() {
        let mut excludes = Excludes::default();
        excludes.pattern_any_case("*.JPG".as_bytes()).unwrap();
        assert!(excludes.by_name(b"/a/b.jPg", b"b", false));
        excludes.git_lines(&["cache/", "*.tmp", "!keep.tmp"]).unwrap();
        assert!(excludes.by_name(b"/r/x/cache", b"x/cache", true));
        assert!(!excludes.by_name(b"/r/x/cache", b"x/cache", false));
        assert!(excludes.by_name(b"/r/a.tmp", b"a.tmp", false));
        assert!(!excludes.by_name(b"/r/keep.tmp", b"keep.tmp", false));
    }

    #[test]
    fn exclude_files_have_comments_and_variables() {
        let lines = lines_of_file(b"# no\n\n $HOME/x \n${A}b$$\n$", &|name| match name {
            b"HOME" => Some(b"/home/u".to_vec()),
            b"A" => Some(b"a".to_vec()),
            _ => None,
        });
        assert_eq!(lines, [&b"/home/u/x"[..], b"ab$", b""]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_from_a_command_line_or_file_panics(text: Vec<u8>, path: Vec<u8>) {
            let mut excludes = Excludes::default();
            let _bad = excludes.pattern(&text).map(|e| e.pattern_any_case(&text).map(drop));
            excludes.by_name(&path, &path, true);
            lines_of_file(&[&text[..], b"${", &path].concat(), &|_| None);
        }
    }
}
