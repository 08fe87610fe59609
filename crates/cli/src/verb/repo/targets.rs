//! What `recoup repo backup` is told to back up: named, or listed in files, with restic's three forms of lists.

use clap::Args;
use recoup_core::event::{Finding, Severity};
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use recoup_sources::files::glob::expand;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Lists of what to back up. `-` is standard input.
#[derive(Args, Debug)]
pub(super) struct Lists {
    /// Back up what the lines of FILE name too. Shell patterns are expanded; empty lines and those that begin
    /// with # are skipped; `-` is standard input. May be given more than once.
    #[arg(long, value_name = "FILE")]
    files_from: Vec<PathBuf>,
    /// The same with every line as it is: no patterns, no comments, spaces kept.
    #[arg(long, value_name = "FILE")]
    files_from_verbatim: Vec<PathBuf>,
    /// The same with names that each end with a NUL byte, as `find -print0` writes them.
    #[arg(long, value_name = "FILE")]
    files_from_raw: Vec<PathBuf>,
}

/// What to back up, and what to say about it.
pub(super) struct Targets {
    pub(super) paths: Vec<PathBuf>,
    pub(super) findings: Vec<Finding>,
}

impl Lists {
    /// What the lists name, then what was `named` itself, as restic orders them.
    pub(super) fn and(&self, named: &[PathBuf]) -> Result<Targets> {
        let files = || self.files_from.iter().chain(&self.files_from_verbatim).chain(&self.files_from_raw);
        if files().filter(|file| is_stdin(file)).count() > 1 {
            return Err(Error::new(Kind::Config, "read two lists from standard input")
                .code("E0538")
                .effect("nothing was backed up"));
        }
        let mut targets = Targets { paths: Vec::new(), findings: Vec::new() };
        for file in &self.files_from {
            let text = read(file)?;
            for line in lines(&text).map(<[u8]>::trim_ascii) {
                if !line.is_empty() && !line.starts_with(b"#") {
                    targets.pattern(line)?;
                }
            }
        }
        for file in &self.files_from_verbatim {
            targets.paths.extend(lines(&read(file)?).filter(|line| !line.is_empty()).map(path));
        }
        for file in &self.files_from_raw {
            targets.paths.extend(names(file, &read(file)?)?);
        }
        targets.paths.extend_from_slice(named);
        Ok(targets)
    }
}

impl Targets {
    /// What a pattern stands for. A plain path stands for itself, there or not: what is missing is told later.
    fn pattern(&mut self, line: &[u8]) -> Result<()> {
        if !line.iter().any(|byte| b"\\*?[".contains(byte)) {
            self.paths.push(path(line));
            return Ok(());
        }
        let found = expand(line)?;
        if found.is_empty() {
            self.findings.push(Finding::new(
                "W0559",
                Severity::Warning,
                escape(line),
                "nothing matches this pattern of --files-from",
                "mend the pattern, or take it out of the list",
            ));
        }
        self.paths.extend(found);
        Ok(())
    }
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Lines without their ends, and without the mark that some editors put in front of UTF-8.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Names that each end with a NUL byte. One that does not was cut off, and an empty one is a mistake of whoever
/// wrote the list: neither is taken for a path.
fn names(file: &Path, text: &[u8]) -> Result<Vec<PathBuf>> {
    let wrong = |why: &str| {
        Error::new(Kind::Config, format!("read a list of names: {why}"))
            .with("file", escape(file.as_os_str().as_bytes()))
            .code("E0538")
            .effect("nothing was backed up")
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let text = text.strip_suffix(b"\0").ok_or_else(|| wrong("the last one does not end with a NUL byte"))?;
    let names: Vec<PathBuf> = text.split(|&byte| byte == 0).map(path).collect();
    if names.iter().any(|name| name.as_os_str().is_empty()) {
        return Err(wrong("one of them is empty"));
    }
    Ok(names)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = if is_stdin(file) {
        std::io::stdin().read_to_end(&mut text).map(|_| text)
    } else {
        std::fs::read(file)
    };
    read.map_err(|e| {
        Error::io("read a list of what to back up", e)
            .with("file", escape(file.as_os_str().as_bytes()))
            .effect("nothing was backed up")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_restic_reads_them() {
        let home = tempfile::tempdir().unwrap();
        let list = |name: &str, text: &[u8]| {
            let file = home.path().join(name);
            write(&file, text);
            vec![file]
        };
        let lists = Lists {
            files_from: list("a", b"\xef\xbb\xbf  /plain \r\n\n# no\n/nothing-*\n"),
            files_from_verbatim: list("b", b" # yes\n\n/x*\r\n"),
            files_from_raw: list("c", b"/new\nline\0 \0"),
        };
        let targets = lists.and(&["named".into()]).unwrap();
        let paths: Vec<&str> = targets.paths.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/plain", " # yes", "/x*", "/new\nline", " ", "named"]);
        assert_eq!(targets.findings.len(), 1, "the pattern that matches nothing");
        for bad in [&b"/a\0/b"[..], b"/a\0\0", b"\0"] {
            assert!(names(Path::new("list"), bad).is_err(), "{bad:?}");
        }
        assert!(names(Path::new("list"), b"").unwrap().is_empty());
        let twice = Lists { files_from: vec!["-".into()], files_from_raw: vec!["-".into()], ..lists };
        assert_eq!(twice.and(&[]).err().unwrap().stable_code(), Some("E0538"));
    }

    #[allow(clippy::disallowed_methods, reason = "a test writes its list")]
    fn write(file: &Path, text: &[u8]) {
        std::fs::write(file, text).unwrap();
    }
}
