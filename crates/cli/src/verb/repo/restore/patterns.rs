//! Which part of a snapshot is meant, in restic's manner.

use clap::Args;
use recoup_core::name::escape;
use recoup_core::{Error, Result};
use recoup_ops::env::Variables;
use recoup_repo::read::glob::Pattern;
use recoup_sources::files::exclude::lines_of_file;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What to restore, and what not. Each may be given more than once.
#[derive(Args, Debug)]
pub(super) struct PatternArguments {
    /// Only what matches PATTERN; may be given more than once.
    #[arg(short, long, value_name = "PATTERN")]
    include: Vec<OsString>,
    /// The same, whether letters are large or small.
    #[arg(long, value_name = "PATTERN")]
    iinclude: Vec<OsString>,
    /// Read such patterns from FILE, one a line.
    #[arg(long, value_name = "FILE")]
    include_file: Vec<PathBuf>,
    /// The same, whether letters are large or small.
    #[arg(long, value_name = "FILE")]
    iinclude_file: Vec<PathBuf>,
    /// Nothing that matches PATTERN; may be given more than once.
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// The same, whether letters are large or small.
    #[arg(long, value_name = "PATTERN")]
    iexclude: Vec<OsString>,
    /// Read such patterns from FILE, one a line.
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// The same, whether letters are large or small.
    #[arg(long, value_name = "FILE")]
    iexclude_file: Vec<PathBuf>,
}

impl PatternArguments {
    /// The patterns of what is meant, and of what is not.
    pub(super) fn build(&self) -> Result<(Vec<Pattern>, Vec<Pattern>)> {
        let include = list(&self.include, &self.include_file, &self.iinclude, &self.iinclude_file)?;
        let exclude = list(&self.exclude, &self.exclude_file, &self.iexclude, &self.iexclude_file)?;
        if include.is_empty() && !(self.include_file.is_empty() && self.iinclude_file.is_empty()) {
            // An empty list would mean everything, and somebody meant a part.
            return Err(Error::new(
                recoup_core::Kind::Config,
                "restore a part: the include files have no pattern",
            )
            .code("E0801")
            .effect("nothing was written"));
        }
        Ok((include, exclude))
    }
}

fn list(
    texts: &[OsString],
    files: &[PathBuf],
    any_case: &[OsString],
    any_case_files: &[PathBuf],
) -> Result<Vec<Pattern>> {
    let mut patterns = Vec::new();
    for text in texts {
        patterns.push(Pattern::new(text.as_bytes())?);
    }
    for line in lines(files)? {
        patterns.push(Pattern::new(&line)?);
    }
    for text in any_case {
        patterns.push(Pattern::any_case(text.as_bytes())?);
    }
    for line in lines(any_case_files)? {
        patterns.push(Pattern::any_case(&line)?);
    }
    Ok(patterns)
}

fn lines(files: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    let variables = Variables::of_process();
    let lookup = |name: &[u8]| {
        let name = std::str::from_utf8(name).ok()?;
        Some(variables.get(name)?.as_bytes().to_vec())
    };
    let mut lines = Vec::new();
    for file in files {
        let text = std::fs::read(file).map_err(|e| {
            Error::io("read a file of patterns", e)
                .with("file", escape(file.as_os_str().as_bytes()))
                .effect("nothing was written")
        })?;
        lines.extend(lines_of_file(&text, &lookup));
    }
    Ok(lines)
}
