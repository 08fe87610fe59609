//! The files of one batch: begun, filled, finished. Two batches are under way at a time, so that the threads have work
//! while one batch waits for its last file.

use super::delta::{self, Begun, How};
use super::pieces::{Layout, plan};
use super::progress::Progress;
use super::write::{Finished, Open, blocking, finish_file, one_read};
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;
use futures_util::StreamExt;
use recoup_core::entry::{Entry, PathProblem, Target};
use recoup_core::name::TreePath;
use recoup_core::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Files that a thread begins or finishes in one go.
const FILES_PER_TASK: usize = 25;
/// Packs that are read at a time, by all batches together.
pub(super) const READS_AT_ONCE: usize = 6;

/// What the files of every batch share.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) repo: Repository,
    pub(super) index: Arc<Index>,
    pub(super) target: Arc<dyn Target>,
    pub(super) keep_damaged: bool,
    pub(super) progress: Arc<Progress>,
    /// Leave to read a pack.
    pub(super) reads: Arc<Semaphore>,
}

/// What became of a file.
pub(super) enum Event {
    /// Nothing was to be written: how, and how long it is.
    Settled(TreePath, How, u64),
    /// It could not be begun.
    NotBegun(PathProblem),
    /// It was filled.
    Finished(Finished),
}

/// A batch under way. It ends when this is dropped, but for what its threads have in hand.
pub(super) struct UnderWay(JoinHandle<Result<Vec<Event>>>);

impl UnderWay {
    pub(super) async fn wait(mut self) -> Result<Vec<Event>> {
        (&mut self.0).await.map_err(|cause| Error::bug("restore a batch").caused_by(cause)).flatten()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Means {
    /// Begins files, writes their contents and finishes them.
    pub(super) fn start(&self, files: Vec<(TreePath, Entry, Layout)>) -> UnderWay {
        let means = self.clone();
        UnderWay(tokio::spawn(async move {
            let mut events = Vec::with_capacity(files.len());
            let open = means.begin_files(files, &mut events).await?;
            let open = means.write(open).await?;
            means.finish_files(open, &mut events).await?;
            Ok(events)
        }))
    }

    /// Begins files, several together, since handing a single small one to a thread takes longer than
    /// making it.
    async fn begin_files(
        &self,
        files: Vec<(TreePath, Entry, Layout)>,
        events: &mut Vec<Event>,
    ) -> Result<Vec<Open>> {
        let begun = futures_util::stream::iter(groups(files))
            .map(|files| {
                let target = Arc::clone(&self.target);
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
                        events.push(Event::Settled(path, how, bytes));
                    }
                    Err(problem) => events.push(Event::NotBegun(problem)),
                }
            }
        }
        Ok(open)
    }

    /// Fills the open files.
    async fn write(&self, open: Vec<Open>) -> Result<Vec<Open>> {
        let mut wanted: HashMap<Id, Vec<(usize, u64)>> = HashMap::new();
        for (number, file) in open.iter().enumerate() {
            for (id, offset, _) in &file.layout.blobs {
                wanted.entry(*id).or_default().push((number, *offset));
            }
        }
        let reads = plan(&self.index, wanted);
        let open = Arc::new(open);
        let mut under_way = futures_util::stream::iter(reads)
            .map(|read| {
                let (open, progress) = (Arc::clone(&open), Arc::clone(&self.progress));
                async move {
                    let _leave = self
                        .reads
                        .acquire()
                        .await
                        .map_err(|cause| Error::bug("read a pack").caused_by(cause))?;
                    one_read(self.repo.clone(), read, open, progress).await
                }
            })
            .buffer_unordered(READS_AT_ONCE);
        while let Some(result) = under_way.next().await {
            result?;
        }
        drop(under_way);
        Arc::try_unwrap(open).map_err(|_| Error::bug("finish files that are still being written"))
    }

    async fn finish_files(&self, open: Vec<Open>, events: &mut Vec<Event>) -> Result<()> {
        let keep = self.keep_damaged;
        let finish = |files: Vec<Open>| {
            blocking(move || files.into_iter().map(|file| finish_file(file, keep)).collect::<Vec<_>>())
        };
        let done = futures_util::stream::iter(groups(open)).map(finish).buffered(READS_AT_ONCE);
        let mut done = std::pin::pin!(done);
        while let Some(group) = done.next().await {
            for file in group? {
                self.progress.add(0, 1);
                events.push(Event::Finished(file));
            }
        }
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
