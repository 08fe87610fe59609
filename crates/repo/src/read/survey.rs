//! What a restore would do. Nothing is written: the target is only looked at.

use super::delta::{How, compare, is_whole};
use super::links::{Link, Links};
use super::pieces::{Layout, lay_out};
use super::report::{RestoreReport, damage_ranges};
use super::restore::{RestoreOptions, Start, begin};
use super::select::{Selected, Step};
use super::sweep;
use super::write::blocking;
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;
use crate::tree::Node;
use recoup_core::entry::{Entry, EntryKind, PathProblem, Standing, Target};
use recoup_core::name::TreePath;
use recoup_core::{Error, Kind, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// What [`super::restore()`] would do with the same options, as its report. `target` is `None` if there is nothing
/// yet where it would go. `seen` is told of every file and link, and what would happen to it.
///
/// # Errors
/// As [`super::restore()`].
pub async fn survey(
    repo: &Repository,
    tree: Id,
    options: &RestoreOptions,
    target: Option<Arc<dyn Target>>,
    seen: &mut dyn FnMut(&TreePath, &'static str),
) -> Result<RestoreReport> {
    let (index, start, _) = begin(repo, tree, options).await?;
    let mut survey = Survey {
        repo,
        index,
        target: target.clone(),
        keep_damaged: options.keep_damaged,
        links: Links::default(),
        replaced: HashSet::new(),
        report: RestoreReport::default(),
        seen,
    };
    match start {
        Start::Leaf(node) => {
            let path: TreePath = std::iter::once(node.name().clone()).collect();
            survey.leaf(path, *node).await?;
        }
        Start::Dir(tree) => {
            let mut selected = Selected::new(repo, tree, &options.include, &options.exclude);
            while let Some(step) = selected.next().await? {
                match step {
                    Step::Problem(problem) => survey.report.problem(problem),
                    Step::Begin(path, node) => survey.dir(path, &node.entry),
                    Step::Finish(..) => {}
                    Step::Leaf(path, node) => survey.leaf(path, node).await?,
                }
            }
        }
    }
    let mut report = survey.report;
    report.complete = true;
    if let Some(target) = target.filter(|_| options.delete && report.errors.is_empty()) {
        let doomed = sweep::plan(repo, tree, options, &target, &mut report).await?;
        report.deleted = doomed.into_iter().map(|doomed| doomed.path).collect();
    }
    Ok(report)
}

struct Survey<'a> {
    repo: &'a Repository,
    index: Arc<Index>,
    target: Option<Arc<dyn Target>>,
    keep_damaged: bool,
    links: Links,
    /// Files that would be replaced by directories: what stands below them does not stand there yet.
    replaced: HashSet<TreePath>,
    report: RestoreReport,
    seen: &'a mut dyn FnMut(&TreePath, &'static str),
}

impl Survey<'_> {
    fn look(&self, path: &TreePath, entry: &Entry) -> Result<Standing> {
        let mut above = std::iter::successors(path.parent(), TreePath::parent);
        if !self.replaced.is_empty() && above.any(|dir| self.replaced.contains(&dir)) {
            return Ok(Standing::Nothing);
        }
        let place = self.target.as_ref().and_then(|target| target.in_place());
        place.map_or(Ok(Standing::Nothing), |place| place.look(path, entry))
    }

    fn dir(&mut self, path: TreePath, entry: &Entry) {
        match self.look(&path, entry) {
            Ok(standing) => {
                self.report.dirs += 1;
                match standing {
                    Standing::Left => {}
                    Standing::Nothing => (self.seen)(&path, "create"),
                    _ => {
                        (self.seen)(&path, "replace");
                        self.replaced.insert(path);
                    }
                }
            }
            Err(error) => self.report.problem(PathProblem { path, error }),
        }
    }

    async fn leaf(&mut self, path: TreePath, node: Node) -> Result<()> {
        let standing = match self.look(&path, &node.entry) {
            Ok(standing) => standing,
            Err(error) => {
                self.report.problem(PathProblem { path, error });
                return Ok(());
            }
        };
        let first = match self.links.meet(&path, &node) {
            Link::SameAs(first) => Some(first),
            Link::First | Link::Differs(_) => None,
        };
        if node.entry.kind != EntryKind::File || first.is_some() {
            return self.other(path, &node.entry, standing, first);
        }
        let content = node.content.unwrap_or_default();
        let layout = lay_out(&self.index, &content, node.entry.size, self.repo.limits().blob_bytes_max);
        if !layout.missing.is_empty() && !self.keep_damaged {
            let text = format!("restore a file: bytes {} are lost", damage_ranges(layout.missing));
            let error = Error::new(Kind::Corrupt, text).code("E0432");
            self.report.problem(PathProblem { path, error });
            return Ok(());
        }
        self.file(path, layout, standing).await
    }

    /// Links, devices, pipes, and further names of a file.
    fn other(
        &mut self,
        path: TreePath,
        entry: &Entry,
        standing: Standing,
        first: Option<TreePath>,
    ) -> Result<()> {
        if matches!(standing, Standing::Left) {
            (self.seen)(&path, "leave");
            self.report.left(path);
            return Ok(());
        }
        let place = self.target.as_ref().and_then(|target| target.in_place());
        let is_link = match (place, &first) {
            (Some(place), Some(first)) if !matches!(standing, Standing::Nothing) => {
                place.is_link(&path, first)?
            }
            _ => false,
        };
        if entry.kind == EntryKind::File {
            self.report.files += 1;
        } else {
            self.report.others += 1;
        }
        if is_link {
            self.report.unchanged += 1;
            (self.seen)(&path, "keep");
        } else {
            self.came(&path, matches!(standing, Standing::Nothing));
        }
        Ok(())
    }

    async fn file(&mut self, path: TreePath, layout: Layout, standing: Standing) -> Result<()> {
        let how = match standing {
            Standing::Left => Some(How::Left),
            Standing::Finished => Some(How::Resumed),
            Standing::Same(old) if old.bytes() == layout.bytes => Some(How::Unchanged),
            Standing::Same(_) | Standing::Replaced => {
                self.report.whole(layout.bytes, 0);
                self.came(&path, false);
                return Ok(());
            }
            Standing::Nothing => {
                self.report.whole(layout.bytes, 0);
                self.came(&path, true);
                return Ok(());
            }
            Standing::File(old) => {
                let (kept, whole) = blocking(move || {
                    let same = compare(&*old, &layout, &mut Vec::new());
                    let whole = is_whole(&*old, &layout, &same);
                    let kept = layout.blobs.iter().zip(&same).filter(|(_, same)| **same);
                    let kept: u64 = kept.map(|((_, _, bytes), _)| bytes).sum();
                    ((kept, layout.bytes), whole)
                })
                .await?;
                let (kept, bytes) = kept;
                if !whole {
                    self.report.whole(bytes, kept);
                    self.came(&path, false);
                    return Ok(());
                }
                (self.seen)(&path, "keep");
                self.report.settled(path, How::Unchanged, bytes);
                return Ok(());
            }
        };
        if let Some(how) = how {
            (self.seen)(&path, if how == How::Left { "leave" } else { "keep" });
            self.report.settled(path, how, layout.bytes);
        }
        Ok(())
    }

    fn came(&mut self, path: &TreePath, is_new: bool) {
        (self.seen)(path, if is_new { "create" } else { "replace" });
        self.report.came(is_new);
    }
}
