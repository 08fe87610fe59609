//! Asks, as the drilled user, what that user can reach. The answer is for people.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "this stage is a small program of its own whose words are read by the one before it"
)]

use rustix::fs::{Access, access};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `words` are paths that must be readable, `--`, and programs that must be found. Exit code 0 if all is well.
pub(super) fn reach(words: &[String]) -> i32 {
    let split = words.iter().position(|w| w == "--").unwrap_or(words.len());
    let (paths, programs) = words.split_at(split);
    let mut problems = Vec::new();
    problems.extend(paths.iter().filter_map(|p| unreadable(Path::new(p))));
    problems.extend(programs.iter().skip(1).filter_map(|p| unrunnable(p)));
    for problem in &problems {
        eprintln!("{problem}");
    }
    i32::from(!problems.is_empty())
}

fn unreadable(path: &Path) -> Option<String> {
    let barrier = path.ancestors().collect::<Vec<_>>().into_iter().rev().find_map(|folder| {
        let wanted = if folder == path { Access::READ_OK } else { Access::EXEC_OK };
        access(folder, wanted).err().map(|why| (folder, why))
    });
    barrier.map(|(folder, why)| format!("cannot read {} because of {}: {why}", shown(path), shown(folder)))
}

fn unrunnable(program: &str) -> Option<String> {
    if program.starts_with("/proc/self/") {
        return None;
    }
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![program.into()]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join(program)).collect()
    };
    let found = candidates.iter().any(|c| c.is_file() && access(c, Access::EXEC_OK).is_ok());
    let where_ = candidates.first().map(|c| shown(c)).unwrap_or_default();
    (!found).then(|| {
        format!("cannot run {} (looked at {where_}...)", recoup_core::name::escape(program.as_bytes()))
    })
}

fn shown(path: &Path) -> String {
    recoup_core::name::escape(path.as_os_str().as_bytes())
}
