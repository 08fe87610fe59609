//! Finding entries in snapshots: by name and time, or by the id of what holds them.

use crate::blob::BlobHandle;
use crate::id::Id;
use crate::read::glob::Pattern;
use crate::read::{Visit, Walker};
use crate::repository::Repository;
use crate::tree::Node;
use jiff::Timestamp;
use recoup_core::entry::{EntryKind, PathProblem};
use recoup_core::name::{NodeName, TreePath};
use recoup_core::{Error, Kind, Result};
use std::collections::HashSet;

/// What is looked for. An entry must meet all that is given.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Any of these; none means every name.
    patterns: Vec<Pattern>,
    ignore_case: bool,
    /// Not changed before this.
    pub oldest: Option<Timestamp>,
    /// Not changed after this.
    pub newest: Option<Timestamp>,
    /// Only files, directories, links and so on.
    pub kind: Option<EntryType>,
}

/// Types of entries that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryType {
    /// Regular files.
    File,
    /// Directories.
    Dir,
    /// Symbolic links.
    Symlink,
    /// Everything else.
    Other,
}

/// What was found in one snapshot.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of paths, with the blob that was asked for if it was by id.
    pub entries: Vec<(TreePath, Node, Option<BlobHandle>)>,
    /// What could not be read, so that something may have been missed.
    pub problems: Vec<PathProblem>,
}

/// Blobs that are looked for: the beginnings of their ids, or the packs they lie in.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    data: Vec<String>,
    trees: Vec<String>,
    in_packs: HashSet<BlobHandle>,
}

impl Query {
    /// A query for names.
    ///
    /// # Errors
    /// `Kind::Config` for an empty pattern.
    pub fn new<P: AsRef<[u8]>>(patterns: &[P], ignore_case: bool) -> Result<Self> {
        let read = |p: &P| {
            let lower = p.as_ref().to_ascii_lowercase();
            Pattern::new(if ignore_case { &lower } else { p.as_ref() })
        };
        let patterns = patterns.iter().map(read).collect::<Result<_>>()?;
        Ok(Query { patterns, ignore_case, ..Query::default() })
    }

    /// Whether an entry meets it.
    pub fn matches(&self, path: &TreePath, node: &Node) -> bool {
        let kind = match node.entry.kind {
            EntryKind::File => EntryType::File,
            EntryKind::Dir => EntryType::Dir,
            EntryKind::Symlink { .. } => EntryType::Symlink,
            _ => EntryType::Other,
        };
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.oldest.is_none_or(|time| node.entry.mtime >= time)
            && self.newest.is_none_or(|time| node.entry.mtime <= time)
            && self.matches_name(path)
    }

    fn matches_name(&self, path: &TreePath) -> bool {
        let lower;
        let path = if self.ignore_case {
            // What is a name stays one: only letters change.
            let names = path.components().iter();
            lower = names.filter_map(|n| NodeName::new(n.as_bytes().to_ascii_lowercase()).ok()).collect();
            &lower
        } else {
            path
        };
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.covers(path))
    }
}

impl Wanted {
    /// Blobs whose ids begin with one of `data` or `trees`, and all that lie in packs whose ids begin with
    /// one of `packs`.
    ///
    /// # Errors
    /// `Kind::Config`, E0464, for something that is no id; `Kind::NotFound` if there is no such pack; as
    /// the store says.
    pub async fn new(
        repository: &Repository,
        data: &[String],
        trees: &[String],
        packs: &[String],
    ) -> Result<Self> {
        let ids = |list: &[String]| list.iter().map(|id| checked(id)).collect::<Result<Vec<_>>>();
        let mut wanted = Wanted { data: ids(data)?, trees: ids(trees)?, in_packs: HashSet::new() };
        let packs = ids(packs)?;
        if packs.is_empty() {
            return Ok(wanted);
        }
        let index = repository.index().await?;
        for prefix in packs {
            let before = wanted.in_packs.len();
            let inside = index.iter().filter(|at| at.pack.to_string().starts_with(&prefix));
            wanted.in_packs.extend(inside.map(|at| at.entry.handle));
            if wanted.in_packs.len() == before {
                let what = format!("find the pack {prefix}: no index knows it");
                return Err(Error::new(Kind::NotFound, what).code("E0464"));
            }
        }
        Ok(wanted)
    }

    fn has(&self, blob: BlobHandle) -> bool {
        let list = match blob.kind {
            crate::blob::BlobKind::Data => &self.data,
            crate::blob::BlobKind::Tree => &self.trees,
        };
        self.in_packs.contains(&blob) || (!list.is_empty() && starts_with_any(&blob.id, list))
    }
}

fn checked(id: &str) -> Result<String> {
    if !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(id.to_ascii_lowercase());
    }
    let shown = recoup_core::name::escape(id.chars().take(80).collect::<String>().as_bytes());
    Err(Error::new(Kind::Config, format!("find \"{shown}\": it is no id")).code("E0464"))
}

fn starts_with_any(id: &Id, prefixes: &[String]) -> bool {
    let id = id.to_string();
    prefixes.iter().any(|prefix| id.starts_with(prefix.as_str()))
}

/// The entries below `root` that meet `query`.
///
/// # Errors
/// `Kind::Refused`, E0439; damage is in the report.
pub async fn find(repository: &Repository, root: &Id, query: &Query) -> Result<Found> {
    walk(repository, root, |path, node, found| {
        if query.matches(path, node) {
            found.push((path.clone(), node.clone(), None));
        }
    })
    .await
}

/// The entries below `root` that need one of the blobs `wanted`, once for each blob.
///
/// # Errors
/// `Kind::Refused`, E0439; damage is in the report.
pub async fn find_blobs(repository: &Repository, root: &Id, wanted: &Wanted) -> Result<Found> {
    walk(repository, root, |path, node, found| {
        let data = node.content.iter().flatten().map(|id| BlobHandle::data(*id));
        let mut seen = HashSet::new();
        for blob in data.chain(node.subtree.map(BlobHandle::tree)) {
            if seen.insert(blob) && wanted.has(blob) {
                found.push((path.clone(), node.clone(), Some(blob)));
            }
        }
    })
    .await
}

async fn walk(
    repository: &Repository,
    root: &Id,
    mut meet: impl FnMut(&TreePath, &Node, &mut Vec<(TreePath, Node, Option<BlobHandle>)>),
) -> Result<Found> {
    let mut found = Found::default();
    let mut walker = Walker::new(repository, *root);
    while let Some(visit) = walker.next().await? {
        match visit {
            Visit::Entry(path, node) => meet(&path, &node, &mut found.entries),
            Visit::Leave(..) => {}
            Visit::Problem(problem) => found.problems.push(problem),
        }
    }
    Ok(found)
}
