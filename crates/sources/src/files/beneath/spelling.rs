//! File systems that take two spellings for one name, as those without case do (fault row 121): there an entry
//! would replace its twin, and both would count as restored.

use super::super::walk::read_names;
use super::{Inner, failed, lock, stat_of};
use recoup_core::name::{NodeName, TreePath, escape};
use recoup_core::{Error, Kind, Result};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::MutexGuard;

/// Whether an empty file `temp`, made in `dir` and removed again, is found under its name in capitals. One that is
/// there already does as well, and stays. Where none can be made nothing will be restored.
pub(super) fn has_no_case(dir: &OwnedFd, temp: &str) -> bool {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(dir, temp, flags, Mode::RUSR | Mode::WUSR);
    let found = || stat_of(dir, temp.to_ascii_uppercase().as_bytes()).is_ok();
    match made {
        Ok(_) => {
            let found = found();
            let _gone = unlinkat(dir, temp, AtFlags::empty());
            found
        }
        Err(Errno::EXIST) => found(),
        Err(_) => false,
    }
}

/// The name under which `name` stands in `dir`, if it stands there under another.
fn other_spelling(dir: &OwnedFd, name: &NodeName) -> Result<Option<OsString>, Errno> {
    let there = match stat_of(dir, name.as_bytes()) {
        Err(Errno::NOENT) => return Ok(None),
        there => there?,
    };
    // A descriptor of its own: the other one is read by several threads.
    let listed = openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let names = read_names(&listed)?;
    if names.iter().any(|found| found.as_bytes() == name.as_bytes()) {
        return Ok(None);
    }
    let is_it = |found: &OsString| {
        stat_of(dir, found.as_bytes())
            .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (there.st_dev, there.st_ino))
    };
    Ok(names.into_iter().find(is_it))
}

impl Inner {
    /// Refuses a name that the file system takes for another entry's. As long as the answer lives, no other
    /// thread gives one.
    ///
    /// # Errors
    /// `Kind::Refused`, E0539.
    pub(super) fn claim(
        &self,
        dir: &OwnedFd,
        path: &TreePath,
        name: &NodeName,
    ) -> Result<Option<MutexGuard<'_, ()>>> {
        if !self.has_no_case {
            return Ok(None);
        }
        let guard = lock(&self.naming);
        match other_spelling(dir, name) {
            Ok(None) => Ok(Some(guard)),
            Ok(Some(other)) => Err(Error::new(
                Kind::Refused,
                "give an entry a name that the file system takes for another's",
            )
            .with("path", path)
            .with("other", escape(other.as_bytes()))
            .code("E0539")
            .effect("it was not restored; the other one is untouched")),
            Err(e) => Err(failed("look for other spellings of a name", path, e)),
        }
    }

    /// Whether the entry is there under another name only, so that it is not there.
    pub(super) fn is_only_spelled_alike(&self, dir: &OwnedFd, name: &NodeName) -> bool {
        self.has_no_case && matches!(other_spelling(dir, name), Ok(Some(_)))
    }
}
