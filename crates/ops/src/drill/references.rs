//! Do the files that rows name exist among the restored files?

use recoup_core::name::TreePath;
use std::path::Path;

/// How many of `names` are no file beneath `root`. A name that would leave the folder dangles, too.
pub(super) fn dangling(root: &Path, names: &[String]) -> u64 {
    names.iter().filter(|name| !is_there(root, name)).count() as u64
}

fn is_there(root: &Path, name: &str) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = TreePath::parse(name.as_bytes()) else { return false };
    let inside = root.join(std::ffi::OsStr::from_bytes(&path.to_bytes()));
    std::fs::symlink_metadata(inside).is_ok_and(|meta| meta.is_file() || meta.is_symlink())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the world")]
mod tests {
    use super::*;

    #[test]
    fn missing_files_and_ways_out_dangle() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("a")).unwrap();
        std::fs::write(root.path().join("a/b.pdf"), "x").unwrap();
        let names = ["a/b.pdf", "a/c.pdf", "../etc/passwd", "a"].map(str::to_owned);
        assert_eq!(dangling(root.path(), &names), 3);
    }
}
