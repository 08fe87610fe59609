//! A small disk that can be filled up. Only root may make one.

use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::path::Path;

/// A tmpfs of a fixed size, unmounted when dropped.
#[derive(Debug)]
pub struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    /// `None`, with a word on stderr, where the test may not mount.
    pub fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = CString::new(format!("size={bytes},mode=0700")).unwrap();
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        match rustix::mount::mount("tmpfs", dir.path(), "tmpfs", flags, options.as_c_str()) {
            Ok(()) => Some(Small { dir }),
            Err(e) => {
                eprintln!("not run: a small disk needs root and the right to mount: {e}");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Err(e) = rustix::mount::unmount(self.dir.path(), UnmountFlags::DETACH) {
            eprintln!("unmount {}: {e}", self.dir.path().display());
        }
    }
}
