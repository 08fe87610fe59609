//! Which folders of the host get a private writable layer.

use super::mounts;
use super::spec::{Shape, Spec, User};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where applications write logs, caches and temporary files. Without a layer the place is read-only.
const USUAL: [&str; 3] = ["/tmp", "/var", "/var/tmp"];

/// The folders, outermost first, each with whether a drill is impossible without it.
pub(super) fn choose(spec: &Spec) -> io::Result<Vec<(PathBuf, bool)>> {
    let mut wanted: BTreeMap<PathBuf, bool> = BTreeMap::new();
    for folder in USUAL.iter().map(Path::new).filter(|f| f.is_dir() && !f.is_symlink()) {
        wanted.insert(folder.to_owned(), false);
    }
    for goal in goals(spec) {
        for folder in goal.ancestors().skip(1) {
            if std::fs::metadata(folder).is_ok_and(|meta| !may_pass(&meta, spec.user)) {
                wanted.insert(folder.to_owned(), true);
            }
        }
    }
    for folder in owned(spec) {
        let there = folder.ancestors().find(|f| f.is_dir()).unwrap_or(Path::new("/"));
        wanted.insert(there.to_owned(), true);
    }
    if spec.user.through_user_namespace {
        // A layer cannot take over folders of users that the namespace does not know, so the folders
        // of the application get layers of their own.
        return Ok(wanted.into_iter().collect());
    }
    let points: Vec<PathBuf> = mounts::beneath(Path::new("/"))?.into_iter().map(|m| m.at).collect();
    Ok(reduce(wanted, &points))
}

/// A folder inside another one's layer needs none of its own, unless another mount lies between.
fn reduce(wanted: BTreeMap<PathBuf, bool>, points: &[PathBuf]) -> Vec<(PathBuf, bool)> {
    let mut kept: Vec<(PathBuf, bool)> = Vec::new();
    for (folder, needed) in wanted {
        let mount_of =
            |path: &Path| path.ancestors().find(|a| points.iter().any(|p| p == a)).map(Path::to_owned);
        let outer = kept.iter_mut().find(|(k, _)| folder.starts_with(k) && mount_of(k) == mount_of(&folder));
        match outer {
            Some((_, already)) => *already |= needed,
            None => kept.push((folder, needed)),
        }
    }
    kept
}

/// The folders that the user owns inside: the project, those around databases and files, and those
/// that are missing on the host.
pub(super) fn owned(spec: &Spec) -> Vec<PathBuf> {
    let mut folders = vec![spec.project.clone()];
    for data in &spec.data {
        let folder = match data.shape {
            Shape::Folder if data.live.is_dir() => None,
            Shape::Folder => Some(data.live.clone()),
            Shape::Database | Shape::File => data.live.parent().map(Path::to_owned),
        };
        folders.extend(folder.filter(|f| f != Path::new("/")));
    }
    folders.sort();
    folders.dedup();
    folders
}

/// What the user must be able to reach.
pub(super) fn goals(spec: &Spec) -> Vec<PathBuf> {
    let mut goals = vec![spec.project.clone()];
    goals.extend(spec.data.iter().map(|d| d.live.clone()));
    goals.extend(spec.program.iter().cloned());
    goals
}

/// Whether `user` may pass through the folder. Access lists are not looked at: a layer too many does
/// no harm.
pub(super) fn may_pass(meta: &std::fs::Metadata, user: User) -> bool {
    let mode = meta.mode();
    if user.through_user_namespace {
        return true;
    }
    if meta.uid() == user.uid {
        return mode & 0o100 != 0;
    }
    if meta.gid() == user.gid {
        return mode & 0o010 != 0;
    }
    mode & 0o001 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_covers_what_lies_inside_it_up_to_the_next_mount() {
        let wanted = [
            ("/srv/app", true),
            ("/srv/app/data", true),
            ("/srv/app/media", true),
            ("/tmp", false),
            ("/tmp/x", true),
        ];
        let wanted = wanted.map(|(p, n)| (PathBuf::from(p), n)).into();
        let points = ["/", "/srv/app/media"].map(PathBuf::from);
        let kept = reduce(wanted, &points);
        let expected = [("/srv/app", true), ("/srv/app/media", true), ("/tmp", true)];
        assert_eq!(kept, expected.map(|(p, n)| (PathBuf::from(p), n)));
    }
}
