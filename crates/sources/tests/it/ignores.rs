//! `.gitignore` files on the way of a walk, beside Git itself.

use crate::common::{read, sh};
use recoup_sources::files::exclude::Excludes;
use recoup_sources::files::walk::{Options, Walk};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

#[allow(clippy::field_reassign_with_default, reason = "the other fields are private")]
fn asked() -> Excludes {
    let mut exclude = Excludes::default();
    exclude.git_ignore = true;
    exclude
}

/// Files that are left, without what Git keeps for itself.
fn kept(root: &Path) -> BTreeSet<String> {
    let exclude = asked();
    let (_, folder) = Walk::new(Options { exclude, ..Options::default() }).folder(root).unwrap();
    let seen = read(folder.as_ref());
    let is_file = |path: &&String| root.join(path).symlink_metadata().unwrap().is_file();
    seen.paths()
        .into_iter()
        .map(|path| path.to_string())
        .filter(|path| !path.starts_with(".git/"))
        .filter(|path| is_file(&path))
        .collect()
}

/// The same in Git's opinion; `None` where there is no Git.
fn kept_by_git(root: &Path) -> Option<BTreeSet<String>> {
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.env("HOME", root).env("GIT_CONFIG_NOSYSTEM", "1").current_dir(root).args(words);
        command.output()
    };
    git(&["init", "-q"]).ok().filter(|done| done.status.success())?;
    let listed = git(&["ls-files", "-z", "--others", "--exclude-standard"]).unwrap();
    let names = listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Some(names.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect())
}

#[test]
fn nested_gitignore_files_leave_out_what_git_leaves_out() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    sh(
        root,
        r"mkdir -p src/deep/er build/out docs/build node_modules/x 'sp ace' a/b/c logs
          touch src/a.py src/a.pyc src/deep/b.pyc src/deep/keep.pyc src/deep/er/x.tmp src/deep/er/y.tmp
          touch build/out/o build/keep docs/build/page node_modules/x/i.js 'sp ace/f ' top.log logs/a.log
          touch logs/important.log a/b/c/secret a/secret '#hash' '!bang' star1 star2 a/b/one a/b/two [x] x
          touch docs/README.MD docs/foo.txt src/foo.txt src/deep/er/foo.txt
          printf '%s\n' '*.pyc' '/build/' 'node_modules' '*.log' '!important.log' '\#hash' '\!bang' \
            'a/**/secret' 'star[!2]' '# comment' '' 'foo.txt' > .gitignore
          printf '%s\r\n' '!keep.pyc' 'er/*.tmp' > src/deep/.gitignore
          printf '%s\n' '!x.tmp' > src/deep/er/.gitignore
          printf '%s\n' '/one' 'two/' > a/b/.gitignore
          printf '\357\273\277!foo.txt\n[bad\n' > docs/.gitignore
          ln -s ../.gitignore logs/.gitignore",
    );
    let Some(git) = kept_by_git(root) else { return };
    let ours: BTreeSet<String> = kept(root);
    let git: BTreeSet<String> =
        git.into_iter().filter(|path| root.join(path).symlink_metadata().unwrap().is_file()).collect();
    assert_eq!(ours, git);
    for (path, is_kept) in [
        ("src/deep/keep.pyc", true),
        ("src/deep/b.pyc", false),
        ("src/deep/er/x.tmp", true),
        ("src/deep/er/y.tmp", false),
        ("docs/build/page", true),
        ("build/keep", false),
        ("logs/important.log", true),
        ("docs/foo.txt", true),
        ("src/foo.txt", false),
    ] {
        assert_eq!(ours.contains(path), is_kept, "{path}");
    }
}

#[test]
fn a_gitignore_that_is_too_long_is_told_and_leaves_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "yes '*' | head -c 2000000 > .gitignore; echo x > file");
    let exclude = asked();
    let (_, folder) = Walk::new(Options { exclude, ..Options::default() }).folder(dir.path()).unwrap();
    let listing = folder.list().unwrap();
    assert_eq!(listing.items.len(), 2);
    assert_eq!(listing.problems[0].1.stable_code(), Some("E0520"));
}

#[test]
fn without_the_option_gitignore_files_are_files() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "echo '*' > .gitignore; echo x > file");
    let (_, folder) = Walk::new(Options::default()).folder(dir.path()).unwrap();
    assert_eq!(folder.list().unwrap().items.len(), 2);
}
