//! What `recoup repo backup` is told to leave out.

use clap::{ArgAction, Args, ValueEnum};
use recoup_core::name::escape;
use recoup_core::units::ByteSize;
use recoup_core::{Error, Kind, Result};
use recoup_ops::env::Variables;
use recoup_sources::files::exclude::{Excludes, lines_of_file};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(super) struct ExcludeArguments {
    /// Leave out what matches PATTERN, in restic's grammar; may be given more than once.
    #[arg(short, long, value_name = "PATTERN")]
    pub(super) exclude: Vec<String>,
    /// The same, whatever the case.
    #[arg(long, value_name = "PATTERN")]
    iexclude: Vec<String>,
    /// Read patterns from FILE, one a line.
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// The same, whatever the case; always in restic's grammar.
    #[arg(long, value_name = "FILE")]
    iexclude_file: Vec<PathBuf>,
    /// Which grammar the patterns of --exclude-file are in.
    #[arg(long, value_name = "GRAMMAR", value_enum, default_value = "restic")]
    exclude_syntax: Grammar,
    /// Leave out directories that hold NAME, optionally beginning with HEADER.
    #[arg(long, value_name = "NAME[:HEADER]")]
    exclude_if_present: Vec<String>,
    /// Leave out directories marked with CACHEDIR.TAG.
    #[arg(long, action = ArgAction::SetTrue)]
    exclude_caches: bool,
    /// Leave out what the .gitignore files of the tree say, as Git would. What is named itself is never left out
    /// by them, and neither .git nor what Git is told elsewhere matters.
    #[arg(long)]
    exclude_gitignore: bool,
    /// Leave out files larger than SIZE, as in "500 MiB".
    #[arg(long, value_name = "SIZE")]
    exclude_larger_than: Option<ByteSize>,
    /// Stay on the file systems of the given paths.
    #[arg(short = 'x', long)]
    one_file_system: bool,
}

/// The grammar of an exclude file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Grammar {
    /// As restic has it.
    Restic,
    /// As Git has it.
    Git,
}

impl ExcludeArguments {
    pub(super) fn build(&self) -> Result<Excludes> {
        let mut excludes = Excludes::default();
        for pattern in &self.exclude {
            excludes.pattern(pattern.as_bytes())?;
        }
        for pattern in &self.iexclude {
            excludes.pattern_any_case(pattern.as_bytes())?;
        }
        let variables = Variables::of_process();
        let lookup = |name: &[u8]| {
            let name = std::str::from_utf8(name).ok()?;
            Some(variables.get(name)?.as_bytes().to_vec())
        };
        for file in &self.exclude_file {
            let text = read_patterns(file)?;
            if self.exclude_syntax == Grammar::Git {
                let text = String::from_utf8(text).map_err(|e| {
                    Error::new(Kind::Config, "read an exclude file as UTF-8").caused_by(e).code("E0520")
                })?;
                excludes.git_lines(&text.lines().collect::<Vec<_>>())?;
                continue;
            }
            for line in lines_of_file(&text, &lookup) {
                excludes.pattern(&line)?;
            }
        }
        for file in &self.iexclude_file {
            for line in lines_of_file(&read_patterns(file)?, &lookup) {
                excludes.pattern_any_case(&line)?;
            }
        }
        for spec in &self.exclude_if_present {
            excludes.if_present(spec.as_bytes())?;
        }
        if self.exclude_caches {
            excludes.caches();
        }
        excludes.git_ignore = self.exclude_gitignore;
        excludes.one_file_system = self.one_file_system;
        excludes.larger_than = self.exclude_larger_than.map(|s| s.0);
        Ok(excludes)
    }
}

fn read_patterns(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|e| {
        Error::io("read an exclude file", e)
            .with("file", escape(file.as_os_str().as_bytes()))
            .effect("nothing was backed up")
    })
}
