//! Where nothing may be cleared away, whoever asks.

use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Something that must not lie beneath a target in which files are deleted.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// In words, as in `the repository`.
    pub what: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// Refuses a directory in which whatever a snapshot does not have would be deleted, if that cannot be meant: the
/// root of the system or of a file system, a home or what holds one, and what holds something `guarded`.
/// A directory that is not there yet is fine.
///
/// # Errors
/// `Kind::Refused`, E0534; as the operating system says.
pub fn may_clear(root: &Path, guarded: &[Guarded]) -> Result<()> {
    let shown = escape(root.as_os_str().as_bytes());
    let failed = |e| Error::io("look at the directory to restore into", e).with("path", &shown).code("E0535");
    let here = match std::fs::metadata(root) {
        Ok(here) => here,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let refuse = |why: &str| {
        Error::new(Kind::Refused, format!("delete in a directory that is {why}"))
            .with("path", &shown)
            .code("E0534")
            .effect("nothing was written and nothing was deleted")
            .hint("restore into a directory of its own, or without --delete")
    };
    let is_here = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (here.dev(), here.ino()))
    };
    if is_here(Path::new("/")) {
        return Err(refuse("the root of the system"));
    }
    if is_mount(root).map_err(failed)? {
        return Err(refuse("the root of a file system"));
    }
    let holds = |path: &Path| {
        let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        whole.ancestors().any(is_here)
    };
    let homes = homes_of(&std::fs::read("/etc/passwd").unwrap_or_default());
    if homes.iter().any(|home| holds(home)) {
        return Err(refuse("a home, or holds one"));
    }
    match guarded.iter().find(|guarded| holds(&guarded.path)) {
        Some(Guarded { what, .. }) => Err(refuse(&format!("or holds {what}"))),
        None => Ok(()),
    }
}

fn is_mount(root: &Path) -> std::io::Result<bool> {
    let found = statx(CWD, root, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    // Old kernels do not say; then a mount shows by another file system above it.
    let (here, above) = (std::fs::metadata(root)?, std::fs::metadata(root.join(".."))?);
    let other = here.dev() != above.dev() || here.ino() == above.ino();
    Ok(other || found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The homes of people and of root. Those of services are where their data is, which is restored like any other.
fn homes_of(passwd: &[u8]) -> Vec<PathBuf> {
    let home = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|&b| b == b':').collect();
        let number: u32 = std::str::from_utf8(fields.get(2)?).ok()?.parse().ok()?;
        let home = fields.get(5).filter(|home| home.starts_with(b"/"))?;
        let is_person = number == 0 || (1000..65534).contains(&number);
        is_person.then(|| PathBuf::from(std::ffi::OsStr::from_bytes(home)))
    };
    passwd.split(|&b| b == b'\n').filter_map(home).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_those_of_people() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\nwww:x:33:33::/var/www:/bin/false\nana:x:1000:1000::/home/ana:\nnobody:x:65534:65534::/nonexistent:\nbroken\n";
        assert_eq!(homes_of(passwd), [PathBuf::from("/root"), PathBuf::from("/home/ana")]);
    }
}
