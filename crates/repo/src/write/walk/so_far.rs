//! The tree of what a walk has done so far: of the folders under way, the entries that are done.

use super::super::run::{Mark, Stop, lock};
use super::Order;
use super::dir::{Dir, Slot};
use crate::id::Id;
use crate::tree::{Node, Tree};
use std::sync::Arc;

/// About what an entry of a folder takes in a tree, in bytes.
const NODE_BYTES: u64 = 300;
/// Writing the folders under way must be cheap beside what it saves.
const WORTH: u64 = 20;

/// A folder under way, with what became of the folders below it.
struct Open {
    dir: Arc<Dir>,
    above: usize,
    below: Vec<Node>,
}

impl Order {
    /// Stores the tree of what is done, `None` if there is nothing, or too little for what it would cost:
    /// `bytes_new` were stored since the last time. The tree may be used once the run has settled up to the mark.
    /// Not for async threads.
    pub(in super::super) fn store_so_far(&self, bytes_new: u64) -> Result<Option<(Id, Mark)>, Stop> {
        let (tree, mark) = self.pipe.pause(|store| {
            // Whatever is done now refers to nothing that is still on its way.
            let (open, entries) = self.open_dirs();
            if entries == 0 || entries.saturating_mul(NODE_BYTES * WORTH) > bytes_new {
                return Ok(None);
            }
            self.store_upwards(open, store).map(Some)
        })?;
        Ok(tree.map(|id| (id, mark)))
    }

    /// The folders under way in which something is done, each after the one above it, and how many entries are.
    fn open_dirs(&self) -> (Vec<Open>, u64) {
        let Some(root) = lock(&self.root.0).upgrade() else { return (Vec::new(), 0) };
        let mut open = vec![Open { dir: root, above: 0, below: Vec::new() }];
        let (mut at, mut entries) = (0, 0);
        while let Some(Open { dir, .. }) = open.get(at) {
            let mut below = Vec::new();
            for slot in &*lock(&dir.slots) {
                match slot {
                    Slot::Empty => {}
                    Slot::Done(_) => entries += 1,
                    Slot::Open(dir) => below.extend(dir.upgrade()),
                }
            }
            let is_listed = |dir: &Arc<Dir>| !lock(&dir.slots).is_empty();
            let below = below.into_iter().filter(is_listed);
            open.extend(below.map(|dir| Open { dir, above: at, below: Vec::new() }));
            at += 1;
        }
        (open, entries)
    }

    /// Stores folders, the last one first; gives the root.
    fn store_upwards(
        &self,
        mut open: Vec<Open>,
        store: &mut dyn FnMut(&[u8]) -> Result<Id, Stop>,
    ) -> Result<Id, Stop> {
        let run = &self.pipe.run;
        while let Some(Open { dir, above, below: mut nodes }) = open.pop() {
            for slot in &*lock(&dir.slots) {
                if let Slot::Done(node) = slot {
                    nodes.push(node.clone());
                }
            }
            let json = Tree::new(nodes).encode(&run.documents.env.zone).map_err(|err| run.fail(err))?;
            let id = store(&json)?;
            let (Some(above), Some(entry)) = (open.get_mut(above), dir.entry.clone()) else { return Ok(id) };
            above.below.push(Node::dir(self.stored(entry), id));
        }
        // The root is among them, so the loop has returned.
        Err(run.fail(recoup_core::Error::bug("store what is done so far")))
    }
}
