//! How much snapshots hold, counted in the four ways restic has, and what deduplication and compression
//! save.

use crate::blob::{BlobHandle, BlobKind};
use crate::id::Id;
use crate::read::{Visit, Walker};
use crate::repository::Repository;
use crate::tree::Node;
use recoup_core::Result;
use recoup_core::entry::PathProblem;
use recoup_core::name::TreePath;
use serde::Serialize;
use std::collections::HashSet;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What a restore of each snapshot takes; hard links count once.
    #[default]
    RestoreSize,
    /// Files with the same content count once.
    FilesByContents,
    /// The pieces of every path, each once; of files with the same content the first counts.
    BlobsPerFile,
    /// What the snapshots take in the repository.
    RawData,
}

/// Blobs of one kind that snapshots need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindTally {
    /// How many.
    pub blobs: u64,
    /// Their plaintext.
    pub bytes_plain: u64,
    /// What they take in packs, without headers.
    pub bytes_stored: u64,
    /// Plaintext as often as it is referred to.
    pub bytes_referred: u64,
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Tally {
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes, by the mode.
    pub bytes: u64,
    /// Entries or files, by the mode; 0 for raw data.
    pub files: u64,
    /// Blobs, by the mode; 0 where none are counted.
    pub blobs: u64,
    /// Pieces of files.
    pub data: KindTally,
    /// Directories.
    pub tree: KindTally,
    /// What could not be read; it is not in the sums.
    pub problems: Vec<PathProblem>,
}

impl KindTally {
    /// Plaintext to stored bytes, by compression alone.
    pub fn compression(&self) -> f64 {
        ratio(self.bytes_plain, self.bytes_stored)
    }

    /// Bytes referred to against bytes kept once.
    pub fn deduplication(&self) -> f64 {
        ratio(self.bytes_referred, self.bytes_plain)
    }
}

fn ratio(above: u64, below: u64) -> f64 {
    if below == 0 { 1.0 } else { above as f64 / below as f64 }
}

struct Counting {
    mode: Mode,
    tally: Tally,
    contents: HashSet<Id>,
    paths: HashSet<Id>,
    pieces: HashSet<(Id, Id)>,
    used: HashSet<BlobHandle>,
    index: std::sync::Arc<crate::index::Index>,
}

/// Counts what the snapshots with these `roots` hold.
///
/// # Errors
/// As the store says; `Kind::Refused`, E0439. Damage is in the report.
pub async fn tally(repository: &Repository, roots: &[Id], mode: Mode) -> Result<Tally> {
    let mut counting = Counting {
        mode,
        tally: Tally::default(),
        contents: HashSet::new(),
        paths: HashSet::new(),
        pieces: HashSet::new(),
        used: HashSet::new(),
        index: repository.index().await?,
    };
    for root in roots {
        counting.tally.snapshots += 1;
        counting.refer(BlobHandle::tree(*root));
        let mut links = HashSet::new();
        let mut walker = Walker::new(repository, *root);
        while let Some(visit) = walker.next().await? {
            match visit {
                Visit::Entry(path, node) => counting.meet(&path, &node, &mut links),
                Visit::Leave(..) => {}
                Visit::Problem(problem) => counting.tally.problems.push(problem),
            }
        }
    }
    let mut tally = counting.tally;
    if mode == Mode::RawData {
        tally.bytes = tally.data.bytes_stored + tally.tree.bytes_stored;
        tally.blobs = tally.data.blobs + tally.tree.blobs;
    }
    Ok(tally)
}

impl Counting {
    fn meet(&mut self, path: &TreePath, node: &Node, links: &mut HashSet<(u64, u64)>) {
        if let Some(tree) = node.subtree {
            self.refer(BlobHandle::tree(tree));
        }
        let content = node.content.as_deref().unwrap_or_default();
        for id in content {
            self.refer(BlobHandle::data(*id));
        }
        let mode = self.mode;
        match mode {
            Mode::RawData => {}
            Mode::RestoreSize => {
                self.tally.files += 1;
                let first = node.entry.links <= 1 || links.insert((node.entry.inode, node.entry.device_id));
                if first {
                    self.tally.bytes += node.entry.size;
                }
            }
            Mode::FilesByContents if node.is_file() => {
                if self.is_new_content(content) {
                    self.tally.files += 1;
                    self.tally.bytes += content.iter().map(|id| self.plain_bytes(id)).sum::<u64>();
                }
            }
            Mode::BlobsPerFile if node.is_file() && self.is_new_content(content) => {
                let name = Id::of(&path.to_bytes());
                self.tally.files += u64::from(!content.is_empty() && self.paths.insert(name));
                for id in content {
                    if self.pieces.insert((name, *id)) {
                        self.tally.blobs += 1;
                        self.tally.bytes += self.plain_bytes(id);
                    }
                }
            }
            Mode::FilesByContents | Mode::BlobsPerFile => {}
        }
    }

    fn is_new_content(&mut self, content: &[Id]) -> bool {
        let ids: Vec<u8> = content.iter().flat_map(Id::as_bytes).copied().collect();
        self.contents.insert(Id::of(&ids))
    }

    fn plain_bytes(&self, id: &Id) -> u64 {
        self.index.plain_bytes(&BlobHandle::data(*id)).unwrap_or_default()
    }

    fn refer(&mut self, blob: BlobHandle) {
        let Some(location) = self.index.lookup(&blob).next() else { return };
        let kind = match blob.kind {
            BlobKind::Data => &mut self.tally.data,
            BlobKind::Tree => &mut self.tally.tree,
        };
        kind.bytes_referred += location.entry.plain_bytes();
        if self.used.insert(blob) {
            kind.blobs += 1;
            kind.bytes_plain += location.entry.plain_bytes();
            kind.bytes_stored += u64::from(location.entry.length);
        }
    }
}
