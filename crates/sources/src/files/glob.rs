//! Shell patterns: what matches one name, and the paths that match a whole pattern.

use super::walk::read_names;
use recoup_core::{Error, Kind, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Char(u32),
    One,
    Many,
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

/// The paths that match `pattern`: `*`, `?` and `[a-z]` within a component, as Go's `filepath.Glob` has them, so
/// that a name may begin with a dot. In order; empty if nothing matches. A directory that cannot be listed
/// matches nothing.
///
/// # Errors
/// `Kind::Config` (E0520) for a class or escape that is not closed.
pub fn expand(pattern: &[u8]) -> Result<Vec<PathBuf>> {
    let is_glob = |part: &&[u8]| part.iter().any(|byte| b"\\[*?".contains(byte));
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    if !is_glob(&pattern) {
        return Ok(Some(path(pattern)).filter(|path| exists(path)).into_iter().collect());
    }
    let mut found = vec![path(if pattern.starts_with(b"/") { b"/" } else { b"" })];
    for part in pattern.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
        if !is_glob(&part) {
            found = found
                .into_iter()
                .map(|dir| dir.join(OsStr::from_bytes(part)))
                .filter(|p| exists(p))
                .collect();
            continue;
        }
        let glob = pieces(part).ok_or_else(|| {
            let shown = recoup_core::name::escape(pattern);
            let why = "a class or escape is not closed";
            Error::new(Kind::Config, format!("read the pattern \"{shown}\": {why}")).code("E0520")
        })?;
        found = found.iter().flat_map(|dir| names_in(dir, &glob)).collect();
    }
    Ok(found)
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn names_in(dir: &Path, glob: &[Piece]) -> Vec<PathBuf> {
    use rustix::fs::{Mode, OFlags, open};
    let at = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(fd) = open(at, flags, Mode::empty()) else { return Vec::new() };
    let mut names = read_names(&fd).unwrap_or_default();
    names.retain(|name| globbed(glob, &chars(name.as_bytes())));
    names.sort();
    names.into_iter().map(|name| dir.join(name)).collect()
}

/// Matches with one point of return, so that the time stays proportional to pattern times name.
pub(super) fn globbed(glob: &[Piece], name: &[u32]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        let hit = match glob.get(g) {
            Some(Piece::Many) => {
                back = Some((g, n));
                g += 1;
                continue;
            }
            Some(Piece::One) => true,
            Some(Piece::Char(c)) => *c == name[n],
            Some(Piece::Class { negated, ranges }) => {
                ranges.iter().any(|(from, to)| (from..=to).contains(&&name[n])) != *negated
            }
            None => false,
        };
        if hit {
            (g, n) = (g + 1, n + 1);
        } else if let Some((star, from)) = back {
            back = Some((star, from + 1));
            (g, n) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|piece| *piece == Piece::Many)
}

/// `None` if a class or escape is not closed.
pub(super) fn pieces(part: &[u8]) -> Option<Vec<Piece>> {
    let text = chars(part);
    let mut at = 0;
    let mut out = Vec::new();
    while let Some(&c) = text.get(at) {
        at += 1;
        match char::from_u32(c) {
            Some('*') => out.push(Piece::Many),
            Some('?') => out.push(Piece::One),
            Some('\\') => {
                out.push(Piece::Char(*text.get(at)?));
                at += 1;
            }
            Some('[') => out.push(class(&text, &mut at)?),
            _ => out.push(Piece::Char(c)),
        }
    }
    Some(out)
}

fn class(text: &[u32], at: &mut usize) -> Option<Piece> {
    let caret = u32::from('^');
    let negated = text.get(*at) == Some(&caret);
    *at += usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        if text.get(*at) == Some(&u32::from(']')) && !ranges.is_empty() {
            *at += 1;
            return Some(Piece::Class { negated, ranges });
        }
        let from = class_char(text, at)?;
        let mut to = from;
        if text.get(*at) == Some(&u32::from('-')) {
            *at += 1;
            to = class_char(text, at)?;
        }
        ranges.push((from, to));
    }
}

fn class_char(text: &[u32], at: &mut usize) -> Option<u32> {
    let mut c = *text.get(*at)?;
    if c == u32::from('-') || c == u32::from(']') {
        return None;
    }
    if c == u32::from('\\') {
        *at += 1;
        c = *text.get(*at)?;
    }
    *at += 1;
    Some(c)
}

/// Characters of a name; every byte that is not UTF-8 counts as one replacement character.
pub(super) fn chars(bytes: &[u8]) -> Vec<u32> {
    let mut out = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().chars().map(u32::from));
        out.extend(chunk.invalid().iter().map(|_| 0xfffd));
    }
    out
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes the files that it looks for")]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_by_pattern_in_order_and_names_with_a_dot_too() {
        let home = tempfile::tempdir().unwrap();
        for name in ["a1/x.log", "a2/y.log", "a2/.hidden.log", "b/z.log", "a[3]/w.log"] {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| {
            let full = [home.path().as_os_str().as_bytes(), b"/", pattern.as_bytes()].concat();
            let found = expand(&full).unwrap();
            let names = found.iter().map(|path| path.strip_prefix(home.path()).unwrap().to_str().unwrap());
            names.map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("a?/*.log"), "a1/x.log a2/.hidden.log a2/y.log");
        assert_eq!(found("[ab]*/[^xy.]*"), "a[3]/w.log b/z.log");
        assert_eq!(found("a\\[3]/*"), "a[3]/w.log");
        assert_eq!(found("b/z.log"), "b/z.log");
        assert_eq!((found("nothing*"), found("nothing"), found("b/z.log/*")), Default::default());
        assert_eq!(expand(b"/[a").unwrap_err().stable_code(), Some("E0520"));
        assert_eq!(expand(b"/").unwrap(), [Path::new("/")]);
    }

    /// The plain definition, slow and short.
    fn naive(glob: &[Piece], name: &[u32]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((Piece::Many, rest)), _) => (0..=name.len()).any(|at| naive(rest, &name[at..])),
            (Some((Piece::One, rest)), Some((_, after))) => naive(rest, after),
            (Some((Piece::Char(c), rest)), Some((d, after))) => c == d && naive(rest, after),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn matching_equals_its_definition(glob in "[ab*?]{0,7}", name in "[ab]{0,9}") {
            let glob = pieces(glob.as_bytes()).unwrap();
            let name = chars(name.as_bytes());
            proptest::prop_assert_eq!(globbed(&glob, &name), naive(&glob, &name));
        }
    }
}
