//! Directories as restic writes them, byte for byte (restic design, Trees and Data).
//!
//! The id of a tree is the SHA-256 of its JSON, so two tools share trees only if they agree on every
//! byte: the order of fields, Go's escapes, the zone of times. What is read is taken as tolerantly as
//! possible: one bad node is reported and the rest of the directory is there (fault rows 141, 142).

mod decode;
mod encode;
mod mode;

use crate::id::Id;
use recoup_core::entry::{Entry, EntryKind};
use recoup_core::name::NodeName;

/// One entry of a directory with what leads to its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name and metadata.
    pub entry: Entry,
    /// The blobs of a file in order, empty for an empty file; `None` for everything else.
    pub content: Option<Vec<Id>>,
    /// The tree of a directory.
    pub subtree: Option<Id>,
    /// Attributes of other systems, as raw JSON, kept and not understood.
    pub generic_attributes: Option<String>,
    /// Why restic could not read all of it when it was stored; empty if it could.
    pub error: String,
}

impl Node {
    /// A file with its blobs.
    pub fn file(entry: Entry, content: Vec<Id>) -> Self {
        Node { content: Some(content), ..Node::plain(entry) }
    }

    /// A directory with its tree.
    pub fn dir(entry: Entry, subtree: Id) -> Self {
        Node { subtree: Some(subtree), ..Node::plain(entry) }
    }

    /// A link, device or pipe.
    pub fn plain(entry: Entry) -> Self {
        Node { entry, content: None, subtree: None, generic_attributes: None, error: String::new() }
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.entry.name
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.entry.is_dir()
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.entry.kind == EntryKind::File
    }
}

/// A directory. Nodes are sorted by the raw bytes of their names, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The entries.
    pub nodes: Vec<Node>,
    /// What was wrong when it was read; always empty for a tree made here.
    pub problems: Vec<NodeProblem>,
}

/// Something wrong with one entry of a stored directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProblem {
    /// Its name, escaped for people.
    pub name: String,
    /// What is wrong.
    pub problem: String,
    /// Whether the entry was left out because of it.
    pub lost: bool,
    /// Stable code.
    pub code: &'static str,
}

impl Tree {
    /// A directory of `nodes`, sorted.
    pub fn new(mut nodes: Vec<Node>) -> Self {
        nodes.sort_by(|a, b| a.name().cmp(b.name()));
        Tree { nodes, problems: Vec::new() }
    }

    /// The entry called `name`.
    pub fn find(&self, name: &NodeName) -> Option<&Node> {
        let at = self.nodes.binary_search_by(|node| node.name().cmp(name)).ok()?;
        self.nodes.get(at)
    }
}
