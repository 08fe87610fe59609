//! One restore under way, batch by batch.

use super::batch::{Event, Means, READS_AT_ONCE, UnderWay};
use super::links::{Link, Links};
use super::pieces::{Layout, lay_out};
use super::progress::Progress;
use super::report::{RestoreReport, damage_ranges};
use super::restore::RestoreOptions;
use super::select::{Selected, Step};
use super::write::Finished;
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;
use crate::tree::Node;
use recoup_core::entry::{Entry, EntryKind, PathProblem, Standing, Target};
use recoup_core::name::TreePath;
use recoup_core::units::ByteSize;
use recoup_core::{Error, Kind, Result};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Files that are open at a time.
const FILES_MAX: usize = 200;
/// Blobs of a batch; a single file may have more.
const BLOBS_MAX: usize = 50_000;
/// Bytes of a batch, as the entries claim them; a single file may have more. A file counts as restored at the end
/// of its batch, so twice this is what a restore that is stopped has to do again.
const BYTES_MAX: u64 = 512 << 20;

/// One restore under way.
pub(super) struct Run {
    means: Means,
    links: Links,
    /// Directories that could not be made; what they hold is left out with them.
    failed_dirs: HashSet<TreePath>,
    /// First names that did not make it, so that further names cannot be linked to them.
    not_restored: HashSet<TreePath>,
    report: RestoreReport,
    /// The batch before this one, if it may not be over yet, and what is to be done after its files.
    before: Option<(UnderWay, Vec<Later>)>,
}

impl Run {
    pub(super) fn new(
        repo: &Repository,
        index: Arc<Index>,
        target: Arc<dyn Target>,
        keep_damaged: bool,
        progress: Arc<Progress>,
    ) -> Self {
        Run {
            means: Means {
                repo: repo.clone(),
                index,
                target,
                keep_damaged,
                progress,
                reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            },
            links: Links::default(),
            failed_dirs: HashSet::new(),
            not_restored: HashSet::new(),
            report: RestoreReport::default(),
            before: None,
        }
    }

    pub(super) async fn end(mut self) -> Result<RestoreReport> {
        self.end_before().await?;
        self.means.progress.show(true);
        self.report.complete = true;
        Ok(self.report)
    }

    /// Lets the files that are under way come to their end after something went wrong: who notes what is finished must
    /// not miss them, and nothing may appear at the target afterwards.
    pub(super) async fn settle(self) {
        if let Some((under_way, _)) = self.before {
            let _ = under_way.wait().await;
        }
    }

    pub(super) async fn all(&mut self, tree: Id, options: &RestoreOptions) -> Result<()> {
        let repo = self.means.repo.clone();
        let mut selected = Selected::new(&repo, tree, &options.include, &options.exclude);
        let mut steps = Vec::new();
        let (mut files, mut blobs, mut bytes) = (0, 0, 0_u64);
        while let Some(step) = selected.next().await? {
            if let Step::Leaf(_, Node { content: Some(content), entry, .. }) = &step {
                files += 1;
                blobs += content.len();
                bytes = bytes.saturating_add(entry.size);
            }
            steps.push(step);
            let full = files >= FILES_MAX || blobs >= BLOBS_MAX || bytes >= BYTES_MAX;
            if full || steps.len() >= 10 * FILES_MAX {
                self.batch(std::mem::take(&mut steps)).await?;
                (files, blobs, bytes) = (0, 0, 0);
            }
        }
        self.batch(steps).await
    }

    /// Begins directories and files, writes contents, then finishes files, links and directories: all of it, or
    /// the last part when the next batch has begun.
    pub(super) async fn batch(&mut self, steps: Vec<Step>) -> Result<()> {
        let mut later = Vec::new();
        let mut begun: Vec<(TreePath, Entry, Layout)> = Vec::new();
        for step in steps {
            match step {
                Step::Problem(problem) => self.report.problem(problem),
                Step::Begin(path, node) => self.begin_dir(path, &node),
                Step::Finish(path, node) => later.push(Later::Finish(path, node.entry)),
                Step::Leaf(path, _) if self.is_lost(&path) => {}
                Step::Leaf(path, node) => match self.leaf(path, node) {
                    Some(Later::File(path, entry, layout)) => begun.push((path, entry, layout)),
                    Some(step) => later.push(step),
                    None => {}
                },
            }
        }
        let under_way = self.means.start(begun);
        let ended = self.end_before().await;
        self.before = Some((under_way, later));
        ended
    }

    /// Waits for the files of the batch before, then makes its links and finishes its directories.
    async fn end_before(&mut self) -> Result<()> {
        let Some((under_way, later)) = self.before.take() else { return Ok(()) };
        let events = under_way.wait().await?;
        self.take(events);
        for step in later {
            match step {
                // What was left may hold anything: this name gets a file of its own.
                Later::Link(path, node, of) if self.report.left_paths.contains(&of) => {
                    if let Some(Later::File(path, entry, layout)) = self.content(path, node) {
                        let events = self.means.start(vec![(path, entry, layout)]).wait().await?;
                        self.take(events);
                    }
                }
                Later::Link(path, node, of) => self.link(&path, &node.entry, &of),
                Later::Finish(path, entry) => self.finish_dir(path, &entry),
                Later::File(..) => {}
            }
        }
        self.means.progress.show(false);
        Ok(())
    }

    /// Takes note of what became of files.
    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Settled(path, how, bytes) => self.report.settled(path, how, bytes),
                Event::NotBegun(problem) => {
                    self.not_restored.insert(problem.path.clone());
                    self.report.problem(problem);
                }
                Event::Finished(file) => self.finished(file),
            }
        }
    }

    fn is_lost(&self, path: &TreePath) -> bool {
        if self.failed_dirs.is_empty() {
            return false;
        }
        let mut at = path.parent();
        while let Some(dir) = at {
            if self.failed_dirs.contains(&dir) {
                return true;
            }
            at = dir.parent();
        }
        false
    }

    fn begin_dir(&mut self, path: TreePath, node: &Node) {
        if self.is_lost(&path) {
            return;
        }
        if let Err(error) = self.means.target.begin_dir(&path, &node.entry) {
            self.failed_dirs.insert(path.clone());
            let error = error.effect("nothing below this directory was restored");
            self.report.problem(PathProblem { path, error });
        }
    }

    fn finish_dir(&mut self, path: TreePath, entry: &Entry) {
        if self.failed_dirs.contains(&path) || self.is_lost(&path) {
            return;
        }
        match self.means.target.finish_dir(&path, entry) {
            Ok(()) => self.report.dirs += 1,
            Err(error) => self.report.problem(PathProblem { path, error }),
        }
    }

    /// Decides what is to be done for anything but a directory; special files are made at once.
    fn leaf(&mut self, path: TreePath, node: Node) -> Option<Later> {
        let entry = node.entry.clone();
        if entry.kind != EntryKind::File {
            self.special(path, &entry);
            return None;
        }
        match self.links.meet(&path, &node) {
            Link::SameAs(first) => return Some(Later::Link(path, node, first)),
            Link::Differs(first) => {
                let error = Error::new(Kind::Corrupt, "take two entries for one file: their content differs")
                    .with("other", first)
                    .code("W0434");
                self.report.problem(PathProblem { path: path.clone(), error });
            }
            Link::First => {}
        }
        self.content(path, node)
    }

    /// What a file consists of, unless some of it is lost.
    fn content(&mut self, path: TreePath, node: Node) -> Option<Later> {
        let entry = node.entry;
        let content = node.content.unwrap_or_default();
        let layout =
            lay_out(&self.means.index, &content, entry.size, self.means.repo.limits().blob_bytes_max);
        if layout.bytes != entry.size && layout.missing.is_empty() {
            let text = format!(
                "compare sizes: the entry claims {} bytes, its content has {}",
                entry.size, layout.bytes
            );
            let error = Error::new(Kind::Corrupt, text).code("W0433");
            self.report.problem(PathProblem { path: path.clone(), error });
        }
        if !layout.missing.is_empty() && !self.means.keep_damaged {
            self.damaged(&path, layout.missing);
            self.means.progress.add(layout.bytes, 1);
            return None;
        }
        Some(Later::File(path, entry, layout))
    }

    fn special(&mut self, path: TreePath, entry: &Entry) {
        self.means.progress.add(0, 1);
        let standing = self.means.target.in_place().map_or(Ok(Standing::Nothing), |it| it.look(&path, entry));
        let done = match standing {
            Ok(Standing::Left) => return self.report.left(path),
            Ok(standing) => self.means.target.special(&path, entry).map(|()| standing),
            Err(error) => Err(error),
        };
        match done {
            Ok(standing) => {
                self.report.others += 1;
                self.report.came(matches!(standing, Standing::Nothing));
            }
            Err(error) => self.report.problem(PathProblem { path, error }),
        }
    }

    fn damaged(&mut self, path: &TreePath, ranges: Vec<(u64, Option<u64>)>) {
        let text = format!("restore a file: bytes {} are lost", damage_ranges(ranges));
        let error = Error::new(Kind::Corrupt, text).code("E0432");
        self.not_restored.insert(path.clone());
        self.report.problem(PathProblem { path: path.clone(), error });
    }

    fn finished(&mut self, file: Finished) {
        match file {
            Finished::Whole { bytes, kept, is_new, flaky } => {
                self.report.whole(bytes, kept);
                self.report.came(is_new);
                for problem in flaky {
                    self.report.problem(problem);
                }
            }
            Finished::Damaged(path, ranges, trouble) => {
                self.damaged(&path, ranges);
                if let Some(error) = trouble {
                    self.report.problem(PathProblem { path, error });
                }
            }
            Finished::Failed(path, error) => {
                self.not_restored.insert(path.clone());
                self.report.problem(PathProblem { path, error });
            }
        }
    }

    fn link(&mut self, path: &TreePath, entry: &Entry, of: &TreePath) {
        self.means.progress.add(0, 1);
        if self.not_restored.contains(of) || self.is_lost(of) {
            let error =
                Error::new(Kind::Corrupt, "give a file another name: the file itself was not restored")
                    .with("file", of)
                    .with("size", ByteSize(entry.size))
                    .code("E0432");
            return self.report.problem(PathProblem { path: path.clone(), error });
        }
        if let Err(error) = self.try_link(path, entry, of) {
            self.report.problem(PathProblem { path: path.clone(), error });
        }
    }

    fn try_link(&mut self, path: &TreePath, entry: &Entry, of: &TreePath) -> Result<()> {
        let mut is_new = true;
        if let Some(place) = self.means.target.in_place() {
            match place.look(path, entry)? {
                Standing::Left => {
                    self.report.left(path.clone());
                    return Ok(());
                }
                Standing::Nothing => {}
                _ if place.is_link(path, of)? => {
                    self.report.files += 1;
                    self.report.unchanged += 1;
                    return Ok(());
                }
                _ => is_new = false,
            }
        }
        self.means.target.hard_link(path, of)?;
        self.report.files += 1;
        self.report.came(is_new);
        Ok(())
    }
}

/// What happens after the contents are written.
enum Later {
    File(TreePath, Entry, Layout),
    Link(TreePath, Node, TreePath),
    Finish(TreePath, Entry),
}
