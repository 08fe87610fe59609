//! `recoup repo mount` on the kernel of this host, beside a restore and beside restic's own mount. Where a
//! host cannot mount, the tests say why and see to it that the verb does too; what is shown is tested without
//! the kernel in `crates/repo-tests/tests/engine/view.rs`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests touch the world"
)]
#![cfg(feature = "mount")]

mod common;
#[path = "common/caseless.rs"]
mod caseless;

use common::{Ran, World};
use recoup_core::entry::EntryKind;
use recoup_testkit::on_disk;
use recoup_testkit::restored::differences;
use recoup_testkit::tree::Flat;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Why this host cannot mount; `None` if it can.
fn obstacle() -> Option<String> {
    if let Err(e) = std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        return Some(format!("/dev/fuse: {e}"));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    const SYS_ADMIN: u32 = 21;
    let may = u64::from_str_radix(capabilities.trim(), 16).unwrap() >> SYS_ADMIN & 1 == 1;
    let helper = Command::new("fusermount3").arg("-V").output().is_ok();
    (!may && !helper).then(|| "no right to mount, and no fusermount3".to_owned())
}

/// A mount that was asked for. It is gone when this is dropped.
struct Mounted {
    child: Child,
    at: PathBuf,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    said: Vec<String>,
}

impl Mounted {
    /// Mounts at `mnt` and waits until it says that it has.
    fn new(world: &World, args: &[&str]) -> Self {
        let at = world.path("mnt");
        let _ = std::fs::create_dir(&at);
        let mut command = world.repo_command();
        command.arg("mount").arg(&at).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut mounted = Mounted { child, at, lines, said: Vec::new() };
        mounted.wait_for("snapshots are at");
        mounted
    }

    /// Reads what it says until a line has `text`.
    fn wait_for(&mut self, text: &str) {
        for line in self.lines.by_ref() {
            self.said.push(line.unwrap());
            if self.said.last().unwrap().contains(text) {
                return;
            }
        }
        panic!("it ended without \"{text}\":\n{}", self.said.join("\n"));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; gives the exit code and all that it said.
    fn end(mut self) -> (Option<i32>, String) {
        let rest: Vec<String> = self.lines.by_ref().map(Result::unwrap).collect();
        self.said.extend(rest);
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, format!("{}\n{out}", self.said.join("\n")))
    }

    /// The directory that `snapshots/latest` leads to.
    fn latest(&self) -> PathBuf {
        self.at.join("snapshots/latest").canonicalize().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `test` if this host mounts; otherwise the verb must say that it does not.
fn where_possible(world: &World, test: impl FnOnce()) {
    let Some(why) = obstacle() else { return test() };
    println!("not tested on the kernel: {why}");
    std::fs::create_dir_all(world.path("mnt")).unwrap();
    let ran = world.repo(["mount", "mnt"]).expect_code(1);
    assert!(ran.stderr.contains("E0841"), "{}", ran.stderr);
}

fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).unwrap().next().is_none()
}

fn nasty() -> World {
    let world = World::with_repository();
    std::fs::create_dir(world.path("live")).unwrap();
    on_disk::make_nasty(&world.path("live"));
    on_disk::add_xattrs(&world.path("live"));
    world.repo(["backup", "live", "--tag", "one"]).expect_code(0);
    world
}

#[test]
fn a_mounted_snapshot_is_what_a_restore_gives_and_ends_in_order() {
    let world = nasty();
    where_possible(&world, || {
        world.repo(["restore", "latest", "--target", "restored", "--allow-special"]).expect_code(0);
        let restored = on_disk::flat(&world.path("restored/live"));
        let mounted = Mounted::new(&world, &[]);
        let seen = on_disk::flat(&mounted.latest().join("live"));
        assert_eq!(differences(&restored, &seen), "");
        let inodes = |flat: &Flat| {
            let files = flat.iter().filter(|(_, (e, _))| e.kind == EntryKind::File && e.links > 1);
            let mut by_inode: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
            for (path, (entry, _)) in files {
                by_inode.entry(entry.inode).or_default().insert(path.to_string());
            }
            by_inode.into_values().collect::<BTreeSet<_>>()
        };
        assert_eq!(inodes(&seen), inodes(&restored), "names of one file are names of one file");
        let refused = std::fs::write(mounted.latest().join("new"), "x").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        assert!(!is_empty(&world.path("repo/locks")), "a lock is held");
        mounted.signal(Signal::TERM);
        let (code, said) = mounted.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("unmounted"), "{said}");
        assert!(is_empty(&world.path("mnt")) && is_empty(&world.path("repo/locks")));
    });
}

/// Everything that is called by a snapshot's place, and the first names below it.
fn listing(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![(root.to_owned(), 0)];
    while let Some((dir, depth)) = todo.pop() {
        for item in std::fs::read_dir(dir).unwrap() {
            let path = item.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let below = path.strip_prefix(root).unwrap().display().to_string();
            if meta.is_symlink() {
                found.insert(format!("{below} -> {}", std::fs::read_link(&path).unwrap().display()));
            } else {
                found.insert(below);
            }
            if meta.is_dir() && depth < 3 {
                todo.push((path, depth + 1));
            }
        }
    }
    found
}

/// restic 0.14 shows no sticky bits, and no link target that is not UTF-8; later versions and recoup do.
fn as_old_restic_shows_it(mut flat: Flat) -> Flat {
    for (entry, _) in flat.values_mut() {
        entry.mode &= !0o1000;
        if let EntryKind::Symlink { target } = &mut entry.kind {
            *target = String::from_utf8_lossy(target).into_owned().into_bytes();
        }
    }
    flat
}

#[test]
fn the_shelves_and_the_content_are_those_of_restics_mount() {
    let world = nasty();
    world.repo(["backup", "live", "--tag", "one,two", "--host", "other"]).expect_code(0);
    world.repo(["backup", "live", "--tag", "a/b,..", "--time", "2020-01-01 00:00:00"]).expect_code(0);
    world.repo(["backup", "live", "--time", "2020-01-01 00:00:00"]).expect_code(0);
    where_possible(&world, || {
        let ours = Mounted::new(&world, &[]);
        let theirs = world.path("theirs");
        std::fs::create_dir(&theirs).unwrap();
        let mut restic = world.restic_command();
        let restic = restic.arg("mount").arg(&theirs).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = restic.spawn().unwrap();
        // It is kept open: restic would die of what it says next.
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let serves = said.by_ref().lines().any(|line| line.unwrap().contains("Now serving"));
        assert!(serves, "restic did not mount");
        let (a, b) = (listing(&ours.at), listing(&theirs));
        let mut contents = Vec::new();
        for root in [&ours.at, &theirs] {
            let live = root.join("tags/two/latest").canonicalize().unwrap().join("live");
            contents.push(as_old_restic_shows_it(on_disk::flat(&live)));
        }
        rustix::mount::unmount(&theirs, rustix::mount::UnmountFlags::DETACH).unwrap();
        child.wait().unwrap();
        assert_eq!(a, b);
        assert_eq!(differences(&contents[1], &contents[0]), "");
    });
}

#[test]
fn row_139_damage_is_an_input_output_error_and_never_zeros() {
    let world = World::with_repository();
    std::fs::create_dir(world.path("live")).unwrap();
    let noise = recoup_testkit::tree::noise(1, 6 << 20);
    std::fs::write(world.path("live/large"), &noise).unwrap();
    std::fs::write(world.path("live/small"), "small").unwrap();
    world.repo(["backup", "live"]).expect_code(0);
    let mut packs = Vec::new();
    for dir in std::fs::read_dir(world.path("repo/data")).unwrap() {
        packs.extend(std::fs::read_dir(dir.unwrap().path()).unwrap().map(|item| item.unwrap().path()));
    }
    let largest = packs.iter().max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let permissions = std::fs::metadata(largest).unwrap().permissions();
    std::fs::remove_file(largest).unwrap();
    std::fs::write(largest, &bytes).unwrap();
    std::fs::set_permissions(largest, permissions).unwrap();
    where_possible(&world, || {
        let mut mounted = Mounted::new(&world, &[]);
        let live = mounted.latest().join("live");
        let file = std::fs::File::open(live.join("large")).unwrap();
        let (mut good, mut bad) = (0, 0);
        for at in (0..noise.len()).step_by(4096) {
            let mut page = [0; 4096];
            match std::os::unix::fs::FileExt::read_exact_at(&file, &mut page, at as u64) {
                Ok(()) => {
                    assert!(page == noise[at..at + 4096], "at {at}");
                    good += 1;
                }
                Err(e) => {
                    assert_eq!(e.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{e}");
                    bad += 1;
                }
            }
        }
        assert!(good > 0 && bad > 0, "{good} good pages, {bad} bad");
        mounted.wait_for("E0432");
        drop(file);
        mounted.signal(Signal::INT);
        let (code, said) = mounted.end();
        assert_eq!(code, Some(0), "{said}");
    });
}

#[test]
fn a_mount_in_use_is_left_until_it_is_not_and_a_second_signal_ends_it_all_the_same() {
    let world = World::with_repository();
    std::fs::write(world.path("file"), "x").unwrap();
    world.repo(["backup", "file"]).expect_code(0);
    where_possible(&world, || {
        for second_signal in [false, true] {
            let mut mounted = Mounted::new(&world, &[]);
            let mut user = Command::new("sleep").arg("1000").current_dir(mounted.latest()).spawn().unwrap();
            mounted.signal(Signal::INT);
            mounted.wait_for("W0842");
            assert!(mounted.latest().join("file").exists(), "it goes on answering");
            if second_signal {
                mounted.signal(Signal::INT);
                let (code, said) = mounted.end();
                assert_eq!(code, Some(0), "{said}");
            }
            user.kill().unwrap();
            user.wait().unwrap();
            assert!(second_signal || !is_empty(&world.path("mnt")));
        }
    });
}

#[test]
fn umount_by_somebody_else_ends_it() {
    let world = World::with_repository();
    std::fs::write(world.path("file"), "x").unwrap();
    world.repo(["backup", "file"]).expect_code(0);
    where_possible(&world, || {
        let mounted = Mounted::new(&world, &["--owner-root", "--allow-other", "--host", "nobody"]);
        assert!(is_empty(&mounted.at.join("snapshots")), "no snapshot is of that host");
        if rustix::process::geteuid().is_root() {
            Ran::of(Command::new("umount").arg(&mounted.at)).expect_code(0);
        } else {
            Ran::of(Command::new("fusermount3").arg("-u").arg(&mounted.at)).expect_code(0);
        }
        let (code, said) = mounted.end();
        assert_eq!(code, Some(0), "{said}");
    });
}

#[test]
fn only_an_empty_directory_is_mounted_over() {
    let world = World::with_repository();
    std::fs::create_dir(world.path("full")).unwrap();
    std::fs::write(world.path("full/file"), "x").unwrap();
    for (name, why) in
        [("full", "it holds something"), ("missing", "cannot be listed"), ("password", "cannot be listed")]
    {
        let ran = world.repo(["mount", name]).expect_code(1);
        assert!(ran.stderr.contains("E0841") && ran.stderr.contains(why), "{}", ran.stderr);
    }
    assert!(is_empty(&world.path("repo/locks")));
}

#[test]
fn row_121_names_that_differ_in_case_alone_are_not_lost_where_case_does_not_count() {
    if let Some(why) = obstacle() {
        return println!("not tried: {why}");
    }
    let world = World::with_repository();
    let live = world.path("live");
    for dir in ["Photos", "photos", "plain"] {
        std::fs::create_dir_all(live.join(dir)).unwrap();
        std::fs::write(live.join(dir).join("inside"), dir).unwrap();
    }
    for name in ["README", "readme", "ReadMe", "other"] {
        std::fs::write(live.join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("elsewhere", live.join("OTHER")).unwrap();
    world.repo(["backup", "live"]).expect_code(0);

    let out = world.path("out");
    std::fs::create_dir(&out).unwrap();
    let mounted = caseless::Caseless::mount(&out).expect("a mount, as nothing stands against it");
    for round in 0..2 {
        let ran = world.repo(["restore", "latest", "--target", "out"]).expect_code(1);
        // One of each kind of twins is there, whole and under its own name; the others are named.
        let names: BTreeSet<String> = std::fs::read_dir(out.join("live"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), 4, "round {round}: {names:?}");
        for name in &names {
            let path = out.join("live").join(name);
            let path = if path.is_dir() { path.join("inside") } else { path };
            match std::fs::read_link(&path) {
                Ok(target) => assert_eq!((name.as_str(), target.to_str()), ("OTHER", Some("elsewhere"))),
                Err(_) => assert_eq!(std::fs::read_to_string(&path).unwrap(), *name, "round {round}"),
            }
        }
        for left in ["README", "readme", "ReadMe", "Photos", "photos", "OTHER", "other"] {
            let said = format!("not restored: live/{left} give an entry a name that the file system takes");
            let is_told = ran.stdout.contains(&said) || ran.stderr.contains(&said);
            assert!(names.contains(left) || is_told, "{left}: {}{}", ran.stdout, ran.stderr);
        }
    }
    drop(mounted);
}
