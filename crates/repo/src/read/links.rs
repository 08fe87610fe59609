//! Hard links: entries that claim to be one file.

use crate::id::Id;
use crate::tree::Node;
use recoup_core::name::TreePath;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// What an entry is to the files before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The only one, or the first of several names.
    First,
    /// Another name of the file at this path.
    SameAs(TreePath),
    /// It claims to be the file at this path, but its content differs: content wins (fault row 153).
    Differs(TreePath),
}

/// The files with several names that were met so far, by file system and inode.
#[derive(Default)]
pub(super) struct Links {
    seen: HashMap<(u64, u64), (TreePath, Id)>,
}

impl Links {
    /// Notes the file `node` at `path`.
    pub(super) fn meet(&mut self, path: &TreePath, node: &Node) -> Link {
        let entry = &node.entry;
        if entry.links < 2 || entry.inode == 0 || !node.is_file() {
            return Link::First;
        }
        let content = fingerprint(node.content.as_deref().unwrap_or_default());
        match self.seen.get(&(entry.device_id, entry.inode)) {
            None => {
                self.seen.insert((entry.device_id, entry.inode), (path.clone(), content));
                Link::First
            }
            Some((first, same)) if *same == content => Link::SameAs(first.clone()),
            Some((first, _)) => Link::Differs(first.clone()),
        }
    }
}

fn fingerprint(content: &[Id]) -> Id {
    let mut hash = Sha256::new();
    for id in content {
        hash.update(id.as_bytes());
    }
    Id::from_bytes(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use recoup_core::entry::{Entry, EntryKind};
    use recoup_core::name::NodeName;

    #[test]
    fn row_153_content_wins_over_a_link() {
        let node = |content: &[&[u8]], inode| {
            let name = NodeName::new(&b"x"[..]).unwrap();
            let mut entry = Entry::plain(name, EntryKind::File, 0o600, Timestamp::UNIX_EPOCH);
            (entry.links, entry.inode) = (2, inode);
            Node::file(entry, content.iter().map(|c| Id::of(c)).collect())
        };
        let path = |text: &str| TreePath::parse(text.as_bytes()).unwrap();
        let mut links = Links::default();
        assert_eq!(links.meet(&path("a"), &node(&[b"1", b"2"], 7)), Link::First);
        assert_eq!(links.meet(&path("b"), &node(&[b"1", b"2"], 7)), Link::SameAs(path("a")));
        assert_eq!(links.meet(&path("c"), &node(&[b"1"], 7)), Link::Differs(path("a")));
        assert_eq!(links.meet(&path("d"), &node(&[b"1", b"2"], 8)), Link::First);
        assert_eq!(links.meet(&path("e"), &node(&[b"1", b"2"], 0)), Link::First);
    }
}
