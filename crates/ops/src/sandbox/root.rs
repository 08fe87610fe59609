//! The file system of a sandbox: everything of the host read-only, private layers where an
//! application writes, restored data over the live paths, and no socket of the host.
//!
//! A new root is put together in `scratch/root` while the old one is still there, then takes its
//! place. The private layers are overlays whose upper side is memory: what the application writes
//! vanishes with the sandbox, and a scratch folder inside the project cannot overlap its own layer.
//! Restored database files are bound over their paths from a private copy on disk, so that a large
//! one needs no memory; their journals go to the layer around them.
#![allow(clippy::disallowed_methods, reason = "this module puts files and folders into private mounts only")]

use super::layers;
use super::mounts::{self, Mount};
use super::spec::{Data, Impossible, Shape, Spec};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

type Try<T> = std::result::Result<T, Impossible>;

/// What the rest of the sandbox must know of its root.
pub(super) struct Root {
    /// Folders with a private layer, with a handle on the host's own folder below.
    pub(super) layers: Vec<(PathBuf, OwnedFd)>,
    /// Sockets that were covered.
    pub(super) sockets: usize,
}

struct Builder<'a> {
    spec: &'a Spec,
    /// The new root, on the old one.
    new: PathBuf,
    /// Memory for the upper sides.
    private: PathBuf,
    count: usize,
    options: &'static str,
}

/// Builds the root of `spec` and steps into it. `sockets` are covered.
pub(super) fn enter(spec: &Spec, sockets: &[PathBuf]) -> Try<Root> {
    let mut builder = Builder {
        spec,
        new: spec.scratch.join("root"),
        private: spec.scratch.join("private"),
        count: 0,
        options: if spec.user.through_user_namespace { ",userxattr" } else { "" },
    };
    builder.copy_read_only()?;
    let mut layers = Vec::new();
    for (folder, needed) in
        layers::choose(spec).map_err(|e| Impossible::host("plan the private layers", e))?
    {
        match builder.layer(&folder) {
            Ok(handle) => layers.push((folder, handle)),
            Err(why) if needed => return Err(why),
            Err(_) => {}
        }
    }
    builder.open_the_way()?;
    for data in &spec.data {
        builder.data(data)?;
    }
    builder.cover_databases()?;
    builder.system_folders()?;
    let sockets = builder.cover(sockets)?;
    builder.name_server()?;
    builder.step_in()?;
    Ok(Root { layers, sockets })
}

impl Builder<'_> {
    fn inside(&self, path: &Path) -> PathBuf {
        self.new.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn copy_read_only(&mut self) -> Try<()> {
        for folder in [&self.new, &self.private] {
            fs::create_dir_all(folder)
                .map_err(|e| failed("make a folder in the scratch space", folder, e))?;
        }
        memory(&self.private, "size=1g,mode=0755")?;
        bind(Path::new("/"), &self.new, true)?;
        for found in list(&self.new)? {
            read_only(&found)?;
        }
        Ok(())
    }

    /// Lays a private writable layer over `folder` and puts the mounts below it back.
    fn layer(&mut self, folder: &Path) -> Try<OwnedFd> {
        let handle = rustix::fs::open(
            folder,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|e| failed("look at", folder, e))?;
        let at = self.inside(folder);
        let below = list(folder)?;
        self.overlay(folder, &at)?;
        let mut done: Vec<&Path> = Vec::new();
        for Mount { at: found, .. } in below.iter().filter(|m| m.at != folder) {
            if done.iter().any(|d| found.starts_with(d)) || found.starts_with(&self.spec.scratch) {
                continue;
            }
            let again = self.inside(found);
            bind(found, &again, true)?;
            for copy in list(&again)? {
                read_only(&copy)?;
            }
            done.push(found);
        }
        Ok(handle)
    }

    fn overlay(&mut self, lower: &Path, at: &Path) -> Try<()> {
        self.count += 1;
        let upper = self.private.join(format!("{}/upper", self.count));
        let work = self.private.join(format!("{}/work", self.count));
        for side in [&upper, &work] {
            fs::create_dir_all(side).map_err(|e| failed("make a private layer for", lower, e))?;
        }
        let like = fs::metadata(lower).map_err(|e| failed("look at", lower, e))?;
        self.give(&upper, &like).map_err(|e| failed("make a private layer for", lower, e))?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}{}",
            quoted(lower),
            quoted(&upper),
            quoted(&work),
            self.options
        );
        mount(
            Some("recoup"),
            at,
            Some("overlay"),
            MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
            Some(options.as_str()),
        )
        .map_err(|e| failed("lay a private layer (overlayfs) over", lower, e))
    }

    /// Mode and owner as on the host; the project and the folders of the data belong to the user.
    fn give(&self, upper: &Path, like: &fs::Metadata) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        if !self.spec.user.through_user_namespace {
            std::os::unix::fs::chown(upper, Some(like.uid()), Some(like.gid()))?;
        }
        fs::set_permissions(upper, fs::Permissions::from_mode(like.mode() & 0o7777))
    }

    /// Lets the user into the project and to the data: folders on the way may be passed, the project
    /// itself and the folders around databases belong to it. All of it happens on private layers.
    fn open_the_way(&self) -> Try<()> {
        let user = self.spec.user;
        let own = |path: &Path| -> io::Result<()> {
            let at = self.inside(path);
            if !user.through_user_namespace {
                std::os::unix::fs::chown(&at, Some(user.uid), Some(user.gid))?;
            }
            let mode = fs::metadata(&at)?.permissions().mode();
            fs::set_permissions(&at, fs::Permissions::from_mode(mode | 0o700))
        };
        for goal in layers::goals(self.spec) {
            for folder in goal.ancestors().skip(1) {
                let at = self.inside(folder);
                let Ok(meta) = fs::metadata(&at) else { continue };
                if layers::may_pass(&meta, user) {
                    continue;
                }
                let more = fs::Permissions::from_mode(meta.permissions().mode() | 0o111);
                fs::set_permissions(&at, more).map_err(|e| failed("let the user pass", folder, e))?;
            }
        }
        for folder in layers::owned(self.spec) {
            fs::create_dir_all(self.inside(&folder)).map_err(|e| failed("make", &folder, e))?;
            own(&folder).map_err(|e| failed("give to the user", &folder, e))?;
        }
        Ok(())
    }

    fn data(&mut self, data: &Data) -> Try<()> {
        let at = self.inside(&data.live);
        match data.shape {
            Shape::Folder => {
                fs::create_dir_all(&at).map_err(|e| failed("make", &data.live, e))?;
                self.overlay(&data.restored, &at)
            }
            Shape::Database | Shape::File => {
                if data.shape == Shape::Database {
                    self.hide_journals(&at, &data.live)?;
                }
                if fs::symlink_metadata(&at).is_err() {
                    fs::File::create(&at).map_err(|e| failed("make", &data.live, e))?;
                }
                bind(&data.restored, &at, false)
            }
        }
    }

    /// The journals of the live database must not be taken for those of the restored one.
    fn hide_journals(&self, at: &Path, live: &Path) -> Try<()> {
        for suffix in ["-wal", "-shm", "-journal"] {
            let mut name = at.as_os_str().to_owned();
            name.push(suffix);
            match fs::remove_file(&name) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("hide the journal of", live, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `/run`, `/dev` and `/proc` of its own.
    fn system_folders(&self) -> Try<()> {
        for (folder, options) in [("/run", "size=64m,mode=0755"), ("/dev", "size=1m,mode=0755")] {
            let at = self.inside(Path::new(folder));
            if at.is_dir() {
                memory(&at, options)?;
            }
        }
        for device in ["null", "zero", "full", "random", "urandom", "tty"] {
            let host = Path::new("/dev").join(device);
            let at = self.inside(&host);
            if host.exists() {
                fs::File::create(&at).map_err(|e| failed("make", &host, e))?;
                bind(&host, &at, false)?;
            }
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "fd/0"),
            ("stdout", "fd/1"),
            ("stderr", "fd/2"),
            ("ptmx", "pts/ptmx"),
        ] {
            let at = self.inside(&Path::new("/dev").join(name));
            std::os::unix::fs::symlink(target, &at).map_err(|e| failed("make", &at, e))?;
        }
        for folder in ["shm", "pts"] {
            let at = self.inside(&Path::new("/dev").join(folder));
            fs::create_dir(&at).map_err(|e| failed("make", &at, e))?;
        }
        memory(&self.inside(Path::new("/dev/shm")), "size=256m,mode=1777")?;
        let pts = self.inside(Path::new("/dev/pts"));
        let _ = mount(
            Some("devpts"),
            &pts,
            Some("devpts"),
            MsFlags::MS_NOSUID,
            Some("newinstance,ptmxmode=0666,mode=0620"),
        );
        let proc = self.inside(Path::new("/proc"));
        let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), &proc, Some("proc"), safe, None::<&str>)
            .map_err(|e| failed("mount a private", Path::new("/proc"), e))
    }

    fn cover(&self, sockets: &[PathBuf]) -> Try<usize> {
        use std::os::unix::fs::FileTypeExt;
        let mut covered = 0;
        for socket in sockets {
            // Symbolic links on the way (/var/run) would lead out of the new root.
            let Ok(real) = fs::canonicalize(socket) else { continue };
            let at = self.inside(&real);
            if fs::symlink_metadata(&at).is_ok_and(|m| m.file_type().is_socket()) {
                bind(Path::new("/dev/null"), &at, false)?;
                covered += 1;
            }
        }
        Ok(covered)
    }

    fn cover_databases(&self) -> Try<()> {
        let empty = self.private.join("empty");
        fs::create_dir_all(&empty).map_err(|e| failed("make", &empty, e))?;
        for (number, host) in self.spec.covered.iter().enumerate() {
            let at = self.inside(host);
            if !fs::symlink_metadata(&at).is_ok_and(|m| m.is_file()) {
                continue;
            }
            // One file each, so that an opening tells which one was meant.
            let own = empty.join(number.to_string());
            fs::File::create(&own).map_err(|e| failed("make", &own, e))?;
            bind(&own, &at, false)?;
        }
        Ok(())
    }

    /// All names are asked of the sandbox's own answerer.
    fn name_server(&self) -> Try<()> {
        let Ok(real) = fs::canonicalize("/etc/resolv.conf") else { return Ok(()) };
        let text = "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n";
        let own = self.private.join("resolv.conf");
        fs::write(&own, text).map_err(|e| failed("make", &own, e))?;
        let at = self.inside(&real);
        if fs::symlink_metadata(&at).is_err() {
            if let Some(folder) = at.parent() {
                fs::create_dir_all(folder).map_err(|e| failed("make", folder, e))?;
            }
            fs::File::create(&at).map_err(|e| failed("make", &at, e))?;
        }
        bind(&own, &at, false)
    }

    fn step_in(&self) -> Try<()> {
        let doing = "change to the new root";
        nix::unistd::chdir(&self.new).map_err(|e| Impossible::host(doing, e))?;
        nix::unistd::pivot_root(".", ".").map_err(|e| Impossible::host(doing, e))?;
        umount2(".", MntFlags::MNT_DETACH).map_err(|e| Impossible::host("let go of the old root", e))?;
        nix::unistd::chdir("/").map_err(|e| Impossible::host(doing, e))
    }
}

fn list(root: &Path) -> Try<Vec<Mount>> {
    mounts::beneath(root).map_err(|e| Impossible::host("list the mounts", e))
}

fn memory(at: &Path, options: &str) -> Try<()> {
    mount(Some("recoup"), at, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .map_err(|e| failed("mount private memory at", at, e))
}

fn bind(from: &Path, to: &Path, whole: bool) -> Try<()> {
    let flags = if whole { MsFlags::MS_BIND | MsFlags::MS_REC } else { MsFlags::MS_BIND };
    mount(Some(from), to, None::<&str>, flags, None::<&str>).map_err(|e| failed("bind", from, e))
}

/// Makes one mount read-only, or takes it away where that is refused.
fn read_only(found: &Mount) -> Try<()> {
    let flags =
        found.flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    match mount(None::<&str>, &found.at, None::<&str>, flags, None::<&str>) {
        Ok(()) => Ok(()),
        // A mount hidden by another one, or of a user whose files even root may not see.
        Err(nix::Error::ENOENT | nix::Error::EACCES | nix::Error::EINVAL) if found.at.metadata().is_err() => {
            Ok(())
        }
        Err(why) => umount2(&found.at, MntFlags::MNT_DETACH)
            .map_err(|_| failed(&format!("make read-only ({})", found.kind), &found.at, why)),
    }
}

/// Overlay options are separated by commas and layers by colons.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.chars().flat_map(|c| if matches!(c, '\\' | ',' | ':') { vec!['\\', c] } else { vec![c] }).collect()
}

fn failed(doing: &str, path: &Path, why: impl std::fmt::Display) -> Impossible {
    use std::os::unix::ffi::OsStrExt;
    let shown = recoup_core::name::escape(path.as_os_str().as_bytes());
    Impossible::host(&format!("{doing} {shown}"), why)
}
