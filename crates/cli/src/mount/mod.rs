//! A repository behind a mountpoint, by the kernel's FUSE. It never decides what is shown: that is
//! [`recoup_repo::view`].
//!
//! The kernel's questions are answered by threads of their own. Nothing here writes: the mount is
//! read-only, and set-uid bits and devices in it have no effect.

mod kernel;

use kernel::Kernel;
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use recoup_repo::view::View;
use rustix::mount::UnmountFlags;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Questions that are answered at the same time.
const THREADS_MAX: usize = 8;

/// Who may look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MountOptions {
    /// Others than the user who mounts.
    pub(crate) allow_other: bool,
    /// The kernel compares owners and modes. Without it whoever may look may read everything.
    pub(crate) check_permissions: bool,
}

/// A mount. Dropping it unmounts.
pub(crate) struct Mount {
    mountpoint: PathBuf,
    unmounter: fuser::SessionUnmounter,
    served: JoinHandle<std::io::Result<()>>,
    is_over: bool,
}

/// What came of an attempt to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmounted {
    /// It is gone.
    Yes,
    /// Somebody works in it.
    InUse,
}

impl Mount {
    /// Mounts `view` at the empty directory `mountpoint`.
    ///
    /// # Errors
    /// E0841 if the directory is none, holds something, or the host does not mount.
    pub(crate) async fn new(view: View, mountpoint: &Path, options: MountOptions) -> Result<Self> {
        let mountpoint = usable(mountpoint)?;
        let config = config(&view, options);
        let kernel = Kernel::new(view, Handle::current());
        let at = mountpoint.clone();
        let session = tokio::task::spawn_blocking(move || fuser::Session::new(kernel, &at, &config));
        let session = session.await.map_err(|cause| Error::bug("mount a repository").caused_by(cause))?;
        let mut session = session.map_err(|cause| refused(&mountpoint, cause))?;
        let unmounter = session.unmount_callable();
        let served = tokio::task::spawn_blocking(move || session.run());
        Ok(Mount { mountpoint, unmounter, served, is_over: false })
    }

    /// Where it is.
    pub(crate) fn mountpoint(&self) -> String {
        escape(self.mountpoint.as_os_str().as_bytes())
    }

    /// Waits until it is unmounted, by whomever.
    ///
    /// # Errors
    /// E0841 if the kernel broke off.
    pub(crate) async fn ended(&mut self) -> Result<()> {
        let served = (&mut self.served).await;
        self.is_over = true;
        let served = served.map_err(|cause| Error::bug("serve a mounted repository").caused_by(cause))?;
        served.map_err(|cause| {
            Error::io("serve a mounted repository", cause).with("mountpoint", self.mountpoint()).code("E0841")
        })
    }

    /// Unmounts, unless somebody works in it.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn unmount(&mut self) -> Result<Unmounted> {
        match rustix::mount::unmount(&self.mountpoint, UnmountFlags::empty()) {
            // EINVAL: it is no mountpoint any more.
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(Unmounted::Yes),
            Err(rustix::io::Errno::BUSY) => Ok(Unmounted::InUse),
            // Only root may by itself; fusermount may for everybody, and lets those who work in it finish.
            Err(_) => {
                let done = self.unmounter.unmount();
                let failed =
                    |cause| Error::io("unmount a repository", cause).with("mountpoint", self.mountpoint());
                done.map(|()| Unmounted::Yes).map_err(failed)
            }
        }
    }

    /// Takes it out of the tree of directories now; those who work in it get errors once this program ends.
    pub(crate) fn detach(&mut self) {
        let _ = rustix::mount::unmount(&self.mountpoint, UnmountFlags::DETACH);
        let _ = self.unmounter.unmount();
        self.is_over = true;
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !self.is_over {
            self.detach();
        }
    }
}

/// The absolute path of an empty directory.
fn usable(mountpoint: &Path) -> Result<PathBuf> {
    let shown = || escape(mountpoint.as_os_str().as_bytes());
    let refused = |why: &str| {
        let text = format!("mount at this directory: {why}");
        Error::new(Kind::Refused, text)
            .with("mountpoint", shown())
            .code("E0841")
            .effect("nothing was mounted")
    };
    let there = std::fs::read_dir(mountpoint).and_then(|mut items| items.next().transpose());
    match there {
        Ok(None) => {}
        Ok(Some(_)) => return Err(refused("it holds something, or something is mounted there already")),
        Err(cause) if cause.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()) => {
            return Err(refused("an earlier mount is there whose program is gone")
                .hint(format!("umount {}", shown())));
        }
        Err(cause) => {
            return Err(refused("it cannot be listed").caused_by(cause).hint(format!("mkdir {}", shown())));
        }
    }
    mountpoint.canonicalize().map_err(|cause| refused("it cannot be found").caused_by(cause))
}

fn refused(mountpoint: &Path, cause: std::io::Error) -> Error {
    let hint = match cause.kind() {
        std::io::ErrorKind::NotFound => {
            "load the kernel module with `modprobe fuse`; install fuse3 if you are not root"
        }
        std::io::ErrorKind::PermissionDenied => {
            "mount as root, or install fuse3; --allow-other needs user_allow_other in /etc/fuse.conf"
        }
        _ => "install fuse3, or restore what you need with `recoup repo restore`",
    };
    Error::io("mount a repository", cause)
        .with("mountpoint", escape(mountpoint.as_os_str().as_bytes()))
        .code("E0841")
        .effect("nothing was mounted")
        .hint(hint)
}

fn config(view: &View, options: MountOptions) -> fuser::Config {
    use fuser::MountOption as O;
    let mut config = fuser::Config::default();
    // A comma would begin another option.
    let name: String = view.location().chars().filter(|c| !c.is_control() && *c != ',').collect();
    config.mount_options =
        vec![O::FSName(name), O::Subtype("recoup".into()), O::RO, O::NoDev, O::NoSuid, O::NoAtime];
    if options.allow_other {
        config.acl = fuser::SessionACL::All;
        if options.check_permissions {
            config.mount_options.push(O::DefaultPermissions);
        }
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    config.n_threads = Some(threads.clamp(2, THREADS_MAX));
    config
}
