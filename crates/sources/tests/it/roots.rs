//! Paths from a command line, against what stock restic makes of the same arguments.

use crate::common::{read, sh};
use recoup_core::entry::EntryKind;
use recoup_sources::files::exclude::Excludes;
use recoup_sources::files::roots::Roots;
use recoup_sources::files::walk::Options;
use std::collections::BTreeMap;
use std::path::Path;

const FIXTURE: &str = "mkdir -p w/a/b w/c 'w/sp ace' other/a cache/sub
    echo 1 > w/a/one; echo 2 > w/a/b/two.log; echo 3 > w/c/three; echo 4 > other/a/four; echo 5 > other/five.LOG
    ln -s a w/link; printf 'Signature: 8a477f597d28d172789f06886806bc55' > cache/CACHEDIR.TAG
    echo x > cache/sub/x; echo y > cache/y; mkdir w/tagged; touch w/tagged/.nobackup w/tagged/z; truncate -s 20000 w/c/large
    printf 'w/sp*\\n# no\\n' > excludes";

/// Path to kind, mode, size and time of change, from `restic ls`.
type Tree = BTreeMap<String, Node>;
type Node = (String, u64, u64, String);

/// Directories above the fixture change under us.
fn quiet(dir: &Path, path: String, node: Node) -> (String, Node) {
    let above = dir.starts_with(&path) && dir != Path::new(&path);
    let time = if above { String::new() } else { node.3 };
    (path, (node.0, node.1, node.2, time))
}

/// One repository for all cases: making one takes restic a second of key derivation.
struct Restic(tempfile::TempDir);

impl Restic {
    fn new() -> Self {
        let restic = Restic(tempfile::tempdir().unwrap());
        sh(restic.0.path(), "RESTIC_PASSWORD=x restic -r repo init");
        restic
    }

    fn tree(&self, dir: &Path, cwd: &str, args: &str) -> Tree {
        let script = format!(
            "cd {cwd}; export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=$ROOT/.cache TZ=UTC
             id=$(restic -r $ROOT/repo backup --force --json {args} | sed -n 's/.*\"snapshot_id\":\"\\([0-9a-f]*\\)\".*/\\1/p')
             restic -r $ROOT/repo ls --json $id"
        );
        let text = sh(dir, &format!("ROOT={}; {script}", self.0.path().display()));
        nodes_of(dir, &text)
    }
}

fn nodes_of(dir: &Path, text: &str) -> Tree {
    let nodes = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    nodes
        .filter(|n| n["struct_type"] == "node")
        .map(|n| {
            let text = |key: &str| n[key].as_str().unwrap().to_owned();
            let time: jiff::Timestamp = text("mtime").parse().unwrap();
            let number = |key: &str| n[key].as_u64().unwrap_or(0);
            (text("path"), (text("type"), number("mode") & 0o777, number("size"), time.to_string()))
        })
        .map(|(path, node)| quiet(dir, path, node))
        .collect()
}

/// Relative arguments need their own current directory, which a process has only one of: the tests
/// of this binary run in processes of their own, and this one runs alone in its own.
fn by_recoup(dir: &Path, cwd: &str, targets: &[&str], exclude: Excludes) -> Tree {
    std::env::set_current_dir(dir.join(cwd)).unwrap();
    let roots = Roots::new(targets, Options { exclude, ..Options::default() }).unwrap();
    let seen = read(&roots);
    assert_eq!(seen.problems.len(), 0);
    seen.entries
        .iter()
        .map(|(path, (entry, _))| {
            let kind = match entry.kind {
                EntryKind::Dir => "dir",
                EntryKind::Symlink { .. } => "symlink",
                _ => "file",
            };
            let path = format!("/{}", String::from_utf8_lossy(path));
            (path, (kind.to_owned(), u64::from(entry.mode & 0o777), entry.size, entry.mtime.to_string()))
        })
        .map(|(path, node)| quiet(dir, path, node))
        .collect()
}

#[test]
fn nesting_and_excludes_equal_those_of_restic() {
    let (restic, dir) = (Restic::new(), tempfile::tempdir().unwrap());
    sh(dir.path(), FIXTURE);
    let full = |p: &str| format!("{}/{p}", dir.path().display());
    let (abs_w, abs_deep) = (full("w"), full("w/a/b"));
    for (cwd, targets) in [
        (".", vec![abs_deep.as_str(), &abs_w]),
        ("w", vec![".", "../other"]),
        ("w/a", vec!["../../other/a", "../c/three"]),
        ("w", vec!["a", "../other/a", "a/b"]),
        ("w/a", vec!["..", "../c", "./one", "b/../b"]),
        (".", vec!["w/link", "w/a/one", "cache/"]),
    ] {
        let args = targets.join(" ");
        assert_eq!(
            by_recoup(dir.path(), cwd, &targets, Excludes::default()),
            restic.tree(dir.path(), cwd, &args),
            "{cwd}: {args}"
        );
    }
    for (args, exclude) in excludes(dir.path()) {
        let all = ["w", "other", "cache"];
        assert_eq!(
            by_recoup(dir.path(), ".", &all, exclude),
            restic.tree(dir.path(), ".", &format!("{args} w other cache")),
            "{args}"
        );
    }
}

fn excludes(dir: &Path) -> Vec<(String, Excludes)> {
    let make = |with: &dyn Fn(&mut Excludes)| {
        let mut excludes = Excludes::default();
        with(&mut excludes);
        excludes
    };
    let anchored = format!("{}/w/a", dir.display());
    vec![
        (
            "--exclude a --iexclude '*.log'".into(),
            make(&|e| {
                _ = e.pattern(b"a");
                _ = e.pattern_any_case(b"*.log");
            }),
        ),
        (
            format!("--exclude {anchored}/b --exclude-caches --exclude-larger-than 10k"),
            make(&|e| {
                _ = e.pattern(format!("{anchored}/b").as_bytes());
                _ = e.caches();
                e.larger_than = Some(10 * 1024);
            }),
        ),
        (
            "--exclude 'w/**/two.log' --exclude-if-present .nobackup --exclude-file excludes".into(),
            make(&|e| {
                _ = e.pattern(b"w/**/two.log");
                _ = e.if_present(b".nobackup");
                _ = e.pattern(b"w/sp*");
            }),
        ),
    ]
}

#[test]
fn what_does_not_exist_is_named_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "echo x > here");
    let targets = [dir.path().join("here"), dir.path().join("gone")];
    let roots = Roots::new(&targets, Options::default()).unwrap();
    assert_eq!(roots.missing()[0].1.stable_code(), Some("E0521"));
    assert_eq!(roots.paths(), [dir.path().join("here")]);
    assert!(Roots::new(&targets[1..], Options::default()).is_err());
}

#[test]
fn row_127_a_link_as_root_is_stored_as_a_link_and_said_so() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "mkdir real; echo x > real/x; ln -s real link");
    let roots = Roots::new(&[dir.path().join("link")], Options::default()).unwrap();
    assert_eq!(roots.findings()[0].id, "E0527");
    let seen = read(&roots);
    let last = seen.entries.last_key_value().unwrap();
    assert_eq!(last.1.0.kind, EntryKind::Symlink { target: b"real".to_vec() });
}

/// Row 126 for the root of a backup: what is mounted below stays out, the mount point itself is kept.
#[test]
fn row_126_another_file_system_is_left_out_as_restic_does() {
    if !crate::common::is_root() {
        return;
    }
    // Mounts of this thread and its children alone.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS | nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let (restic, dir) = (Restic::new(), tempfile::tempdir().unwrap());
    sh(
        dir.path(),
        "mount --make-rprivate /; mkdir -p w/mounted w/plain; echo 1 > w/one; mount -t tmpfs none w/mounted; mkdir w/mounted/d; echo 2 > w/mounted/two",
    );
    let make = |one_file_system| {
        let mut excludes = Excludes::default();
        excludes.one_file_system = one_file_system;
        excludes
    };
    assert_eq!(
        by_recoup(dir.path(), ".", &["w"], make(true)),
        restic.tree(dir.path(), ".", "--one-file-system w")
    );
    assert_eq!(by_recoup(dir.path(), ".", &["w"], make(false)), restic.tree(dir.path(), ".", "w"));
    sh(dir.path(), "umount w/mounted");
}
