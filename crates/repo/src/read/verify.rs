//! Reads back what was restored.

use super::delta::has;
use super::pieces::{Layout, lay_out};
use super::progress::{Progress, Total};
use super::report::{RestoreReport, damage_ranges};
use super::restore::{RestoreOptions, Start, add_up, start};
use super::select::{Selected, Step};
use super::write::blocking;
use crate::id::Id;
use crate::repository::Repository;
use crate::tree::Node;
use recoup_core::entry::{EntryKind, PathProblem, Target};
use recoup_core::name::TreePath;
use recoup_core::{Error, Kind, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// Files that are read back in one go.
const FILES_AT_ONCE: usize = 50;

/// Reads every file that `report` says is there from the target and compares it with the hashes of the
/// snapshot. What differs becomes an error in `report`. What the policy left is not compared.
///
/// The caller has made everything durable; otherwise memory is read and not the disk.
///
/// # Errors
/// `Kind::Unsupported` if the target cannot be read; as the store says if a directory cannot be read again.
pub async fn verify(
    repo: &Repository,
    tree: Id,
    options: &RestoreOptions,
    target: Arc<dyn Target>,
    report: &mut RestoreReport,
) -> Result<()> {
    if target.in_place().is_none() {
        return Err(Error::new(Kind::Unsupported, "read back what was restored to this target"));
    }
    let index = repo.index().await?;
    let start = start(repo, tree, &options.subpath).await?;
    let total = match &start {
        Start::Dir(tree) => add_up(repo, &index, *tree, options).await?,
        Start::Leaf(_) => Total { bytes: 0, items: 1 },
    };
    let progress = Arc::new(Progress::new(repo, "verify", &options.address, total));
    let known: HashSet<TreePath> = report.errors.iter().map(|problem| problem.path.clone()).collect();
    let skips = |path: &TreePath| {
        report.left_paths.contains(path) || prefixes(path).any(|above| known.contains(&above))
    };
    let limit = repo.limits().blob_bytes_max;
    let lay = |path: TreePath, node: &Node| {
        let content = node.content.as_deref().unwrap_or_default();
        (path, lay_out(&index, content, node.entry.size, limit))
    };
    let mut files = Vec::new();
    let (mut verified, mut found) = (0, Vec::new());
    match start {
        Start::Leaf(node) => {
            let path: TreePath = std::iter::once(node.name().clone()).collect();
            if node.entry.kind == EntryKind::File && !skips(&path) {
                files.push(lay(path, &node));
            }
        }
        Start::Dir(tree) => {
            let mut selected = Selected::new(repo, tree, &options.include, &options.exclude);
            while let Some(step) = selected.next().await? {
                let Step::Leaf(path, node) = step else { continue };
                if node.entry.kind == EntryKind::File && !skips(&path) {
                    files.push(lay(path, &node));
                }
                if files.len() >= FILES_AT_ONCE {
                    verified += files.len();
                    found.extend(compare(&target, std::mem::take(&mut files), &progress).await?);
                }
            }
        }
    }
    verified += files.len();
    found.extend(compare(&target, files, &progress).await?);
    progress.show(true);
    report.verified = (verified - found.len()) as u64;
    report.errors.extend(found);
    Ok(())
}

/// The path itself and every directory above it.
fn prefixes(path: &TreePath) -> impl Iterator<Item = TreePath> {
    std::iter::successors(Some(path.clone()), TreePath::parent)
}

async fn compare(
    target: &Arc<dyn Target>,
    files: Vec<(TreePath, Layout)>,
    progress: &Arc<Progress>,
) -> Result<Vec<PathProblem>> {
    let (target, progress) = (Arc::clone(target), Arc::clone(progress));
    blocking(move || {
        let mut buffer = Vec::new();
        let mut differs = |(path, layout): (TreePath, Layout)| {
            let result = one_file(&*target, &path, &layout, &mut buffer);
            progress.add(layout.bytes, 1);
            result.err().map(|error| PathProblem { path, error })
        };
        files.into_iter().filter_map(&mut differs).collect()
    })
    .await
}

fn one_file(target: &dyn Target, path: &TreePath, layout: &Layout, buffer: &mut Vec<u8>) -> Result<()> {
    let place = target.in_place().ok_or_else(|| Error::bug("read back from a target that cannot be read"))?;
    let file = place.read_back(path)?;
    let differs = |text: String| {
        Error::new(Kind::Corrupt, text).code("E0483").effect("the file at the target is not what was stored")
    };
    if file.bytes() != layout.bytes {
        let text = format!("read back {} bytes: the file has {}", layout.bytes, file.bytes());
        return Err(differs(text));
    }
    let wrong: Vec<(u64, Option<u64>)> = layout
        .blobs
        .iter()
        .filter(|(id, at, bytes)| !has(&*file, id, *at, *bytes, buffer))
        .map(|(_, at, bytes)| (*at, Some(at + bytes)))
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(differs(format!("read back a file: bytes {} differ from what was stored", damage_ranges(wrong))))
}
