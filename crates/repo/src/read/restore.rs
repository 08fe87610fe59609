//! A tree, or a part of it, back onto a target.
//!
//! The tree is walked twice: once to add up what will be written, so that a limit can say no before the
//! first byte (fault row 145), and once to write it. Files are written in batches of [`FILES_MAX`]; in a
//! batch every pack is read in order, each byte once, and every blob is hashed before it is written.
//! Memory is bounded by the batch and by [`READS_AT_ONCE`] reads of 16 MiB.

use super::glob::Pattern;
use super::links::{Link, Links};
use super::pieces::{Layout, lay_out, plan};
use super::progress::{Progress, Total};
use super::report::{RestoreReport, damage_ranges};
use super::select::{Selected, Step};
use super::walk::find_path;
use super::write::{Finished, Open, blocking, finish_file, one_read};
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;
use crate::tree::Node;
use futures_util::StreamExt;
use recoup_core::entry::{Entry, EntryKind, PathProblem, Target};
use recoup_core::name::TreePath;
use recoup_core::units::ByteSize;
use recoup_core::{Error, Kind, Result};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// Files that are open at a time.
const FILES_MAX: usize = 200;
/// Files that a thread begins or finishes in one go.
const FILES_PER_TASK: usize = 25;
/// Blobs of a batch; a single file may have more.
const BLOBS_MAX: usize = 50_000;
/// Packs that are read at a time.
const READS_AT_ONCE: usize = 6;

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
    /// What progress events speak of, as in `shop/media`.
    pub address: String,
}

/// Restores `tree` onto `target`. What is damaged is listed and left out, everything else is there
/// (fault rows 139, 154).
///
/// # Errors
/// `Kind::NotFound`, E0436, for a subpath that is not there; `Kind::Refused`, E0435, if it is more than
/// `bytes_max`; as the store says if it does not answer when asked for the index. Everything else
/// is an entry in [`RestoreReport::errors`].
pub async fn restore(
    repo: &Repository,
    tree: Id,
    options: &RestoreOptions,
    target: Arc<dyn Target>,
) -> Result<RestoreReport> {
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
    let mut run = Run {
        repo: repo.clone(),
        index,
        target,
        keep_damaged: options.keep_damaged,
        links: Links::default(),
        failed_dirs: HashSet::new(),
        not_restored: HashSet::new(),
        report: RestoreReport::default(),
        progress: Arc::new(Progress::new(repo, "restore", &options.address, total)),
    };
    match start {
        Start::Leaf(node) => {
            let path: TreePath = std::iter::once(node.name().clone()).collect();
            run.batch(vec![Step::Leaf(path, *node)]).await?;
        }
        Start::Dir(tree) => run.all(tree, options).await?,
    }
    run.progress.show(true);
    Ok(run.report)
}

enum Start {
    Dir(Id),
    Leaf(Box<Node>),
}

async fn start(repo: &Repository, tree: Id, subpath: &TreePath) -> Result<Start> {
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

async fn add_up(repo: &Repository, index: &Index, tree: Id, options: &RestoreOptions) -> Result<Total> {
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

fn content_bytes(repo: &Repository, index: &Index, node: &Node) -> u64 {
    let content = node.content.as_deref().unwrap_or_default();
    lay_out(index, content, node.entry.size, repo.limits().blob_bytes_max).bytes
}

/// One restore under way.
struct Run {
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
    async fn all(&mut self, tree: Id, options: &RestoreOptions) -> Result<()> {
        let repo = self.repo.clone();
        let mut selected = Selected::new(&repo, tree, &options.include, &options.exclude);
        let mut steps = Vec::new();
        let (mut files, mut blobs) = (0, 0);
        while let Some(step) = selected.next().await? {
            if let Step::Leaf(_, Node { content: Some(content), .. }) = &step {
                files += 1;
                blobs += content.len();
            }
            steps.push(step);
            if files >= FILES_MAX || blobs >= BLOBS_MAX || steps.len() >= 10 * FILES_MAX {
                self.batch(std::mem::take(&mut steps)).await?;
                (files, blobs) = (0, 0);
            }
        }
        self.batch(steps).await
    }

    /// Begins directories and files, writes contents, then finishes files, links and directories.
    async fn batch(&mut self, steps: Vec<Step>) -> Result<()> {
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
                Later::Link(path, entry, of) => self.link(&path, &entry, &of),
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
            match self.target.special(&path, &entry) {
                Ok(()) => self.report.others += 1,
                Err(error) => self.report.problem(PathProblem { path, error }),
            }
            self.progress.add(0, 1);
            return None;
        }
        match self.links.meet(&path, &node) {
            Link::SameAs(first) => return Some(Later::Link(path, entry, first)),
            Link::Differs(first) => {
                let error = Error::new(Kind::Corrupt, "take two entries for one file: their content differs")
                    .with("other", first)
                    .code("W0434");
                self.report.problem(PathProblem { path: path.clone(), error });
            }
            Link::First => {}
        }
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

    /// Begins files, several together, since handing a single small one to a thread takes longer than
    /// making it.
    async fn begin_files(&mut self, files: Vec<(TreePath, Entry, Layout)>) -> Result<Vec<Open>> {
        let target = &self.target;
        let begun = futures_util::stream::iter(groups(files))
            .map(|files| {
                let target = Arc::clone(target);
                blocking(move || files.into_iter().map(|file| begin_file(&*target, file)).collect::<Vec<_>>())
            })
            .buffered(READS_AT_ONCE);
        let mut begun = std::pin::pin!(begun);
        let mut open = Vec::new();
        while let Some(group) = begun.next().await {
            for file in group? {
                match file {
                    Ok(file) => open.push(file),
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
            Finished::Whole(bytes) => {
                self.report.files += 1;
                self.report.bytes += bytes;
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
        match self.target.hard_link(path, of) {
            Ok(()) => self.report.files += 1,
            Err(error) => self.report.problem(PathProblem { path: path.clone(), error }),
        }
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

fn begin_file(
    target: &dyn Target,
    (path, entry, layout): (TreePath, Entry, Layout),
) -> std::result::Result<Open, PathProblem> {
    match target.begin_file(&path, &entry, layout.bytes) {
        Ok(target) => {
            let damaged = Mutex::new(layout.missing.clone());
            Ok(Open { path, entry, layout, target, failed: Mutex::new(None), damaged })
        }
        Err(error) => Err(PathProblem { path, error }),
    }
}

/// What happens after the contents are written.
enum Later {
    File(TreePath, Entry, Layout),
    Link(TreePath, Entry, TreePath),
    Finish(TreePath, Entry),
}
