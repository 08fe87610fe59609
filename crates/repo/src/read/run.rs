//! One restore under way, batch by batch.

use super::delta::{self, Begun};
use super::links::{Link, Links};
use super::pieces::{Layout, lay_out, plan};
use super::progress::Progress;
use super::report::{RestoreReport, damage_ranges};
use super::restore::RestoreOptions;
use super::select::{Selected, Step};
use super::write::{Finished, Open, blocking, finish_file, one_read};
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;
use crate::tree::Node;
use futures_util::StreamExt;
use recoup_core::entry::{Entry, EntryKind, PathProblem, Standing, Target};
use recoup_core::name::TreePath;
use recoup_core::units::ByteSize;
use recoup_core::{Error, Kind, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Files that are open at a time.
const FILES_MAX: usize = 200;
/// Files that a thread begins or finishes in one go.
const FILES_PER_TASK: usize = 25;
/// Blobs of a batch; a single file may have more.
const BLOBS_MAX: usize = 50_000;
/// Bytes of a batch, as the entries claim them; a single file may have more. A file counts as restored at the end
/// of its batch, so this is what a restore that is stopped has to do again.
const BYTES_MAX: u64 = 512 << 20;
/// Packs that are read at a time.
const READS_AT_ONCE: usize = 6;

/// One restore under way.
pub(super) struct Run {
    repo: Repository,
    index: Arc<Index>,
    target: Arc<dyn Target>,
    keep_damaged: bool,
    links: Links,
    /// Directories that could not be made; what they hold is left out with them.
    failed_dirs: HashSet<TreePath>,
    /// First names that did not make it, so that further names cannot be linked to them.
    not_restored: HashSet<TreePath>,
    report: RestoreReport,
    progress: Arc<Progress>,
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
            repo: repo.clone(),
            index,
            target,
            keep_damaged,
            links: Links::default(),
            failed_dirs: HashSet::new(),
            not_restored: HashSet::new(),
            report: RestoreReport::default(),
            progress,
        }
    }

    pub(super) fn end(mut self) -> RestoreReport {
        self.progress.show(true);
        self.report.complete = true;
        self.report
    }

    pub(super) async fn all(&mut self, tree: Id, options: &RestoreOptions) -> Result<()> {
        let repo = self.repo.clone();
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

    /// Begins directories and files, writes contents, then finishes files, links and directories.
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
        let open = self.begin_files(begun).await?;
        let open = self.write(open).await?;
        self.finish_files(open).await?;
        for step in later {
            match step {
                // What was left may hold anything: this name gets a file of its own.
                Later::Link(path, node, of) if self.report.left_paths.contains(&of) => {
                    if let Some(Later::File(path, entry, layout)) = self.content(path, node) {
                        let open = self.begin_files(vec![(path, entry, layout)]).await?;
                        let open = self.write(open).await?;
                        self.finish_files(open).await?;
                    }
                }
                Later::Link(path, node, of) => self.link(&path, &node.entry, &of),
                Later::Finish(path, entry) => self.finish_dir(path, &entry),
                Later::File(..) => {}
            }
        }
        self.progress.show(false);
        Ok(())
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
        if let Err(error) = self.target.begin_dir(&path, &node.entry) {
            self.failed_dirs.insert(path.clone());
            let error = error.effect("nothing below this directory was restored");
            self.report.problem(PathProblem { path, error });
        }
    }

    fn finish_dir(&mut self, path: TreePath, entry: &Entry) {
        if self.failed_dirs.contains(&path) || self.is_lost(&path) {
            return;
        }
        match self.target.finish_dir(&path, entry) {
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
        let layout = lay_out(&self.index, &content, entry.size, self.repo.limits().blob_bytes_max);
        if layout.bytes != entry.size && layout.missing.is_empty() {
            let text = format!(
                "compare sizes: the entry claims {} bytes, its content has {}",
                entry.size, layout.bytes
            );
            let error = Error::new(Kind::Corrupt, text).code("W0433");
            self.report.problem(PathProblem { path: path.clone(), error });
        }
        if !layout.missing.is_empty() && !self.keep_damaged {
            self.damaged(&path, layout.missing);
            self.progress.add(layout.bytes, 1);
            return None;
        }
        Some(Later::File(path, entry, layout))
    }

    fn special(&mut self, path: TreePath, entry: &Entry) {
        self.progress.add(0, 1);
        let standing = self.target.in_place().map_or(Ok(Standing::Nothing), |it| it.look(&path, entry));
        let done = match standing {
            Ok(Standing::Left) => return self.report.left(path),
            Ok(standing) => self.target.special(&path, entry).map(|()| standing),
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

    /// Begins files, several together, since handing a single small one to a thread takes longer than
    /// making it.
    async fn begin_files(&mut self, files: Vec<(TreePath, Entry, Layout)>) -> Result<Vec<Open>> {
        let target = &self.target;
        let begun = futures_util::stream::iter(groups(files))
            .map(|files| {
                let target = Arc::clone(target);
                blocking(move || delta::begin_files(&*target, files))
            })
            .buffered(READS_AT_ONCE);
        let mut begun = std::pin::pin!(begun);
        let mut open = Vec::new();
        while let Some(group) = begun.next().await {
            for file in group? {
                match file {
                    Ok(Begun::Open(file)) => {
                        self.progress.add(file.kept, 0);
                        open.push(*file);
                    }
                    Ok(Begun::Settled(path, how, bytes)) => {
                        self.progress.add(bytes, 1);
                        self.report.settled(path, how, bytes);
                    }
                    Err(problem) => {
                        self.not_restored.insert(problem.path.clone());
                        self.report.problem(problem);
                    }
                }
            }
        }
        Ok(open)
    }

    fn damaged(&mut self, path: &TreePath, ranges: Vec<(u64, Option<u64>)>) {
        let text = format!("restore a file: bytes {} are lost", damage_ranges(ranges));
        let error = Error::new(Kind::Corrupt, text).code("E0432");
        self.not_restored.insert(path.clone());
        self.report.problem(PathProblem { path: path.clone(), error });
    }

    /// Fills the open files.
    async fn write(&mut self, open: Vec<Open>) -> Result<Vec<Open>> {
        let mut wanted: HashMap<Id, Vec<(usize, u64)>> = HashMap::new();
        for (number, file) in open.iter().enumerate() {
            for (id, offset, _) in &file.layout.blobs {
                wanted.entry(*id).or_default().push((number, *offset));
            }
        }
        let reads = plan(&self.index, wanted);
        let open = Arc::new(open);
        let mut under_way = futures_util::stream::iter(reads)
            .map(|read| one_read(self.repo.clone(), read, Arc::clone(&open), Arc::clone(&self.progress)))
            .buffer_unordered(READS_AT_ONCE);
        while let Some(result) = under_way.next().await {
            result?;
        }
        drop(under_way);
        Arc::try_unwrap(open).map_err(|_| Error::bug("finish files that are still being written"))
    }

    async fn finish_files(&mut self, open: Vec<Open>) -> Result<()> {
        let keep = self.keep_damaged;
        let finish = |files: Vec<Open>| {
            blocking(move || files.into_iter().map(|file| finish_file(file, keep)).collect::<Vec<_>>())
        };
        let done = futures_util::stream::iter(groups(open)).map(finish).buffered(READS_AT_ONCE);
        let mut done = std::pin::pin!(done);
        while let Some(group) = done.next().await {
            for file in group? {
                self.finished(file);
            }
        }
        Ok(())
    }

    fn finished(&mut self, file: Finished) {
        self.progress.add(0, 1);
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
        self.progress.add(0, 1);
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
        if let Some(place) = self.target.in_place() {
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
        self.target.hard_link(path, of)?;
        self.report.files += 1;
        self.report.came(is_new);
        Ok(())
    }
}

/// Files in groups of [`FILES_PER_TASK`], in order.
fn groups<T>(files: Vec<T>) -> Vec<Vec<T>> {
    let mut groups = Vec::new();
    let mut files = files.into_iter().peekable();
    while files.peek().is_some() {
        groups.push(files.by_ref().take(FILES_PER_TASK).collect());
    }
    groups
}

/// What happens after the contents are written.
enum Later {
    File(TreePath, Entry, Layout),
    Link(TreePath, Node, TreePath),
    Finish(TreePath, Entry),
}
