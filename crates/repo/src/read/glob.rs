//! Which paths are meant: patterns as restic's `--include` and `--exclude` take them.
//!
//! A pattern that starts with `/` starts at the root, any other matches at any depth. `*`, `?` and
//! `[a-z]` stay within a name, `**` stands for any number of names. What a pattern means, it means
//! with everything below it. In a list the last word counts: `!` before a pattern takes back what those
//! before it meant.

use recoup_core::name::{NodeName, TreePath};
use recoup_core::{Error, Kind, Result};

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Lower-cased if case does not matter.
    parts: Vec<Part>,
    anchored: bool,
    any_case: bool,
    negated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Any,
    Name(Vec<u8>),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `Kind::Config` for an empty pattern.
    pub fn new(text: &[u8]) -> Result<Self> {
        let (negated, text) = text.strip_prefix(b"!").map_or((false, text), |rest| (true, rest));
        let names = text.split(|&b| b == b'/').filter(|part| !part.is_empty());
        let parts: Vec<Part> =
            names.map(|name| if name == b"**" { Part::Any } else { Part::Name(name.to_vec()) }).collect();
        if parts.is_empty() {
            return Err(Error::new(Kind::Config, "read an empty pattern"));
        }
        Ok(Pattern { parts, anchored: text.starts_with(b"/"), any_case: false, negated })
    }

    /// Reads a pattern for which large and small letters are the same.
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn any_case(text: &[u8]) -> Result<Self> {
        Ok(Pattern { any_case: true, ..Pattern::new(&lower(text))? })
    }

    /// Whether `path` or a directory above it matches.
    pub fn covers(&self, path: &TreePath) -> bool {
        let lowered;
        let names = if self.any_case {
            lowered = lower_names(path);
            &lowered
        } else {
            path.components()
        };
        let starts = if self.anchored { 0 } else { names.len().saturating_sub(1) };
        (0..=starts).any(|from| self.matches_prefix(&names[from..]))
    }

    /// Whether something below the directory `path` could match.
    pub fn may_match_below(&self, path: &TreePath) -> bool {
        if !self.anchored {
            return true;
        }
        let lowered;
        let names = if self.any_case {
            lowered = lower_names(path);
            &lowered
        } else {
            path.components()
        };
        self.parts.iter().zip(names).take_while(|(part, _)| **part != Part::Any).all(
            |(part, name)| match part {
                Part::Any => true,
                Part::Name(pattern) => matches_name(pattern, name.as_bytes()),
            },
        )
    }

    /// Whether the pattern matches some prefix of `names`. Backtracks to the last `**` only.
    fn matches_prefix(&self, names: &[NodeName]) -> bool {
        let (mut part, mut name) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match (self.parts.get(part), names.get(name)) {
                (None, _) => return true,
                (Some(Part::Any), _) => {
                    retry = Some((part, name));
                    part += 1;
                    continue;
                }
                (Some(Part::Name(pattern)), Some(raw)) if matches_name(pattern, raw.as_bytes()) => {
                    part += 1;
                    name += 1;
                    continue;
                }
                _ => {}
            }
            match retry {
                Some((at, from)) if from < names.len() => {
                    retry = Some((at, from + 1));
                    (part, name) = (at + 1, from + 1);
                }
                _ => return false,
            }
        }
    }
}

/// Whether `patterns` mean `path`.
pub(super) fn covered(patterns: &[Pattern], path: &TreePath) -> bool {
    patterns.iter().fold(false, |meant, pattern| match pattern.negated {
        false => meant || pattern.covers(path),
        true => meant && !pattern.covers(path),
    })
}

/// Whether `patterns` may mean something below the directory `path`.
pub(super) fn may_cover_below(patterns: &[Pattern], path: &TreePath) -> bool {
    patterns.iter().fold(false, |may, pattern| match pattern.negated {
        false => may || pattern.may_match_below(path),
        true => may && !pattern.covers(path),
    })
}

fn lower(text: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(text) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => text.to_ascii_lowercase(),
    }
}

/// A name that would be too long in small letters stays as it is.
fn lower_names(path: &TreePath) -> Vec<NodeName> {
    let lower_name = |name: &NodeName| NodeName::new(lower(name.as_bytes())).unwrap_or_else(|_| name.clone());
    path.components().iter().map(lower_name).collect()
}

/// Shell matching within one name; backtracks to the last `*` only, so it is never exponential.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
                continue;
            }
            Some(_) => {
                if let Some(used) = matches_one(&pattern[p..], name[n]) {
                    p += used;
                    n += 1;
                    continue;
                }
            }
            None => {}
        }
        let Some((at, from)) = retry else { return false };
        retry = Some((at, from + 1));
        (p, n) = (at + 1, from + 1);
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

/// Bytes of the pattern that match `byte`, if they do.
fn matches_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', rest @ ..] => match rest.iter().skip(1).position(|&b| b == b']') {
            Some(end) => in_class(&rest[..=end], byte).then_some(end + 3),
            None => (byte == b'[').then_some(1),
        },
        [first, ..] => (*first == byte).then_some(1),
        [] => None,
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, mut class) = match class {
        [b'^' | b'!', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    while let Some((&from, rest)) = class.split_first() {
        match rest {
            [b'-', to, after @ ..] => {
                found |= (from..=*to).contains(&byte);
                class = after;
            }
            _ => {
                found |= from == byte;
                class = rest;
            }
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covers(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern.as_bytes()).unwrap().covers(&TreePath::parse(path.as_bytes()).unwrap())
    }

    #[test]
    fn as_restic_means_them() {
        for (pattern, path) in [
            ("*.log", "a/b/x.log"),
            ("*.log", "dir.log/inside"),
            ("/a", "a/b/c"),
            ("/a/*/c", "a/b/c"),
            ("b/c", "a/b/c/d"),
            ("/a/**/z", "a/z"),
            ("/a/**/z", "a/b/c/z/deep"),
            ("[a-c]?[!x]", "bzy"),
            ("\\*", "*"),
            ("**/x", "x"),
            ("[", "["),
        ] {
            assert!(covers(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/b", "a/b"),
            ("*.log", "a.logs"),
            ("/a/*/c", "a/c"),
            ("/a/*/c", "a/b/x/c"),
            ("[!x]", "x"),
            ("\\*", "a"),
            ("a/c", "a/b/c"),
        ] {
            assert!(!covers(pattern, path), "{pattern} {path}");
        }
        assert!(Pattern::new(b"//").is_err());
    }

    #[test]
    fn the_last_word_counts_and_case_matters_only_where_it_is_asked_for() {
        let list = |texts: &[&str]| -> Vec<Pattern> {
            texts.iter().map(|text| Pattern::new(text.as_bytes()).unwrap()).collect()
        };
        let path = |text: &str| TreePath::parse(text.as_bytes()).unwrap();
        let logs = list(&["*.log", "!keep.log"]);
        assert!(covered(&logs, &path("a/x.log")) && !covered(&logs, &path("a/keep.log")));
        assert!(covered(&list(&["!keep.log", "*.log"]), &path("keep.log")), "a later pattern takes it again");
        assert!(!covered(&list(&["!x"]), &path("y")), "nothing is meant that no pattern means");
        assert!(covered(&list(&["\\!x"]), &path("!x")));
        let below = list(&["/a/b", "!/a/b/c"]);
        assert!(may_cover_below(&below, &path("a")) && !may_cover_below(&below, &path("a/b/c")));
        for text in ["*.LOG", "\u{c4}rger", "/DIR/[A-C]x"] {
            assert!(!Pattern::new(text.as_bytes()).unwrap().covers(&path("dir/bX/\u{e4}RGER/y.log")));
        }
        for (text, at) in [("*.LOG", "y.Log"), ("\u{c4}rger", "\u{e4}RGER"), ("/DIR/[A-C]x", "dir/BX")] {
            let pattern = Pattern::any_case(text.as_bytes()).unwrap();
            assert!(pattern.covers(&path(at)) && pattern.may_match_below(&path("dir")), "{text}");
        }
        assert!(Pattern::any_case(b"\xffX").unwrap().covers(&TreePath::parse(b"\xffx").unwrap()));
    }

    #[test]
    fn below_is_never_missed() {
        let may = |pattern: &str, path: &str| {
            Pattern::new(pattern.as_bytes())
                .unwrap()
                .may_match_below(&TreePath::parse(path.as_bytes()).unwrap())
        };
        assert!(may("/a/b/c", "a"));
        assert!(may("/a/**/c", "a/x/y"));
        assert!(may("c", "a"));
        assert!(!may("/a/b/c", "x"));
    }

    proptest! {
        #[test]
        fn anything_can_be_asked(pattern: Vec<u8>, name: Vec<u8>) {
            let _ = matches_name(&pattern, &name);
        }
    }
}
