//! A tree, or a part of it, back onto a target.
//!
//! The tree is walked twice: once to add up what will be written, so that a limit can say no before the
//! first byte (fault row 145), and once to write it. Files are written in batches of a few hundred; in a
//! batch every pack is read in order, each byte once, and every blob is hashed before it is written.
//! Memory is bounded by the batch and by a few reads of 16 MiB.

use super::glob::Pattern;
use super::links::{Link, Links};
use super::pieces::lay_out;
use super::progress::{Progress, Total};
use super::report::RestoreReport;
use super::run::Run;
use super::select::{Selected, Step};
use super::walk::find_path;
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;
use crate::tree::Node;
use recoup_core::entry::Target;
use recoup_core::name::TreePath;
use recoup_core::units::ByteSize;
use recoup_core::{Error, Kind, Result};
use std::sync::Arc;

/// What to restore.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// Only what one of these covers; empty for everything.
    pub include: Vec<Pattern>,
    /// Nothing that one of these covers.
    pub exclude: Vec<Pattern>,
    /// Start at this path of the tree; paths at the target are relative to it.
    pub subpath: TreePath,
    /// Refuse to write more than this many bytes of content.
    pub bytes_max: Option<u64>,
    /// Keep what could be read of a damaged file under a `.recoup-damaged` name.
    pub keep_damaged: bool,
    /// What the snapshot does not have is to be deleted afterwards, see [`super::delete_others`]. Refuses to begin
    /// if nothing is selected, since everything would go.
    pub delete: bool,
    /// What progress events speak of, as in `shop/media`.
    pub address: String,
}

/// Restores `tree` onto `target`. What is damaged is listed and left out, everything else is there
/// (fault rows 139, 154).
///
/// # Errors
/// `Kind::NotFound`, E0436, for a subpath that is not there; `Kind::Refused`, E0435, if it is more than
/// `bytes_max`; `Kind::Refused`, E0484, if others are to be deleted and nothing is selected; as the store says if it does not answer when asked for the index. Everything else
/// is an entry in [`RestoreReport::errors`].
pub async fn restore(
    repo: &Repository,
    tree: Id,
    options: &RestoreOptions,
    target: Arc<dyn Target>,
) -> Result<RestoreReport> {
    let (index, start, total) = begin(repo, tree, options).await?;
    let progress = Arc::new(Progress::new(repo, "restore", &options.address, total));
    let mut run = Run::new(repo, index, target, options.keep_damaged, progress);
    let done = match start {
        Start::Leaf(node) => {
            let path: TreePath = std::iter::once(node.name().clone()).collect();
            run.batch(vec![Step::Leaf(path, *node)]).await
        }
        Start::Dir(tree) => run.all(tree, options).await,
    };
    match done {
        Ok(()) => run.end().await,
        Err(err) => {
            run.settle().await;
            Err(err)
        }
    }
}

/// What is to be restored and how much it is, unless it must not be: a dry run and a restore say no to the same.
///
/// # Errors
/// As [`restore()`], before the first byte.
pub(super) async fn begin(
    repo: &Repository,
    tree: Id,
    options: &RestoreOptions,
) -> Result<(Arc<Index>, Start, Total)> {
    let index = repo.index().await?;
    let start = start(repo, tree, &options.subpath).await?;
    let total = match &start {
        Start::Dir(tree) => add_up(repo, &index, *tree, options).await?,
        Start::Leaf(node) => Total { bytes: content_bytes(repo, &index, node), items: 1 },
    };
    if let Some(allowed) = options.bytes_max.filter(|allowed| total.bytes > *allowed) {
        let text = format!("restore {} or more: {} are allowed", ByteSize(total.bytes), ByteSize(allowed));
        return Err(Error::new(Kind::Refused, text).code("E0435").effect("nothing was written"));
    }
    refuse_to_clear(options, &start, &total)?;
    Ok((index, start, total))
}

pub(super) enum Start {
    Dir(Id),
    Leaf(Box<Node>),
}

pub(super) async fn start(repo: &Repository, tree: Id, subpath: &TreePath) -> Result<Start> {
    if subpath.components().is_empty() {
        return Ok(Start::Dir(tree));
    }
    match find_path(repo, &tree, subpath).await? {
        Some(Node { subtree: Some(tree), .. }) => Ok(Start::Dir(tree)),
        Some(node) => Ok(Start::Leaf(Box::new(node))),
        None => {
            Err(Error::new(Kind::NotFound, "find the path to restore").with("path", subpath).code("E0436"))
        }
    }
}

pub(super) async fn add_up(
    repo: &Repository,
    index: &Index,
    tree: Id,
    options: &RestoreOptions,
) -> Result<Total> {
    let mut selected = Selected::new(repo, tree, &options.include, &options.exclude);
    let mut links = Links::default();
    let mut total = Total::default();
    while let Some(step) = selected.next().await? {
        if let Step::Leaf(path, node) = step {
            total.items += 1;
            if !matches!(links.meet(&path, &node), Link::SameAs(_)) {
                total.bytes = total.bytes.saturating_add(content_bytes(repo, index, &node));
            }
            // Directories that hold each other twice have more files than anybody can count.
            if options.bytes_max.is_some_and(|allowed| total.bytes > allowed) {
                break;
            }
        }
    }
    Ok(total)
}

pub(super) fn content_bytes(repo: &Repository, index: &Index, node: &Node) -> u64 {
    let content = node.content.as_deref().unwrap_or_default();
    lay_out(index, content, node.entry.size, repo.limits().blob_bytes_max).bytes
}

/// An empty selection would be the order to delete everything; a wrong pattern gives one easily.
fn refuse_to_clear(options: &RestoreOptions, start: &Start, total: &Total) -> Result<()> {
    let why = match start {
        _ if !options.delete => return Ok(()),
        Start::Leaf(_) => "delete beside a single file",
        Start::Dir(_) if total.items == 0 => "delete everything: no file of the snapshot is selected",
        Start::Dir(_) => return Ok(()),
    };
    Err(Error::new(Kind::Refused, why)
        .code("E0484")
        .effect("nothing was written and nothing was deleted")
        .hint("look at the patterns and at what the snapshot has: recoup repo ls SNAPSHOT"))
}
