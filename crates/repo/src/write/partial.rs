//! What a run that does not come to its end leaves for the next: now and then it stores the tree of what it has
//! done so far and writes a snapshot of it, in place of the one before. The next run takes files from it as
//! from a parent. The snapshot that completes the run replaces it.
//!
//! Other tools know of no partial snapshot. So that none of them takes it for the newest or lets it push a
//! complete one out, it is dated just before the run's parent; its own story stands in its `recoup` field.

use super::walk::{Order, Past};
use super::{TreeReport, Writer};
use crate::id::Id;
use crate::layout::ObjectKind;
use crate::snapshot::{PARTIAL_TAG, Snapshot, Story};
use crate::tree::Tree;
use jiff::{SignedDuration, Timestamp};
use recoup_core::event::{Event, Finding, Severity};
use recoup_core::{Error, Result};
use std::sync::Arc;
use tokio::task::{JoinError, JoinHandle};

/// So much earlier than its parent a partial snapshot is dated.
const BEFORE_PARENT: SignedDuration = SignedDuration::from_millis(1);

/// What a tree looks back to when it is stored.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// Tree of the last complete snapshot.
    parent: Option<Id>,
    /// Partial ones of the same place, the one to look back to last.
    partials: Vec<(Id, Snapshot)>,
    /// Whether one of them was kept after the parent.
    is_resumed: bool,
    /// What this run leaves if it does not come to its end, but for its tree.
    leaves: Option<Snapshot>,
}

/// The last complete snapshot of what is stored again.
#[derive(Clone, Copy, Debug)]
pub struct Parent {
    /// Its id.
    pub id: Id,
    /// When it was made.
    pub time: Timestamp,
    /// The tree to compare with: its root, or a tree below.
    pub tree: Id,
}

impl From<Option<Id>> for Earlier {
    /// Only the tree of a parent; no partial snapshot is looked at or left.
    fn from(parent: Option<Id>) -> Self {
        Earlier { parent, ..Earlier::default() }
    }
}

impl Earlier {
    /// What `new`, a snapshot still without a tree, looks back to: `parent`, and of `snapshots` the partial ones of
    /// the same host and paths.
    pub fn of(new: &Snapshot, parent: Option<Parent>, snapshots: &[(Id, Snapshot)]) -> Self {
        let partials = snapshots.iter().filter(|(_, old)| old.story().is_some() && old.is_of_same_place(new));
        let mut partials: Vec<(Id, Snapshot)> = partials.cloned().collect();
        let worth =
            |story: &Story| (parent.is_none_or(|parent| story.at > parent.time), story.items, story.at);
        partials.sort_by_cached_key(|(_, old)| old.story().as_ref().map(worth));
        let is_resumed =
            partials.last().and_then(|(_, last)| last.story()).is_some_and(|story| worth(&story).0);
        let mut leaves = new.clone();
        leaves.tags.push(PARTIAL_TAG.to_owned());
        if let Some(parent) = parent {
            leaves.parent = Some(parent.id);
            let before = parent.time.checked_sub(BEFORE_PARENT).unwrap_or(parent.time);
            leaves.time.at = before.min(leaves.time.at);
        }
        Earlier { parent: parent.map(|parent| parent.tree), partials, is_resumed, leaves: Some(leaves) }
    }

    /// The same, but files are taken from the parent alone. What was left is replaced all the same.
    #[must_use]
    pub fn without_partial(self) -> Self {
        Earlier { is_resumed: false, ..self }
    }

    /// The partial snapshot that files are taken from, if there is one.
    pub fn resumed(&self) -> Option<Id> {
        self.partial().map(|(id, _)| *id)
    }

    fn partial(&self) -> Option<&(Id, Snapshot)> {
        self.partials.last().filter(|_| self.is_resumed)
    }

    pub(super) fn trees(&self) -> Past<Option<Id>> {
        Past { parent: self.parent, partial: self.partial().map(|(_, snapshot)| snapshot.tree) }
    }
}

/// A partial snapshot that the run will replace.
pub(super) struct Partial {
    /// Of the snapshot that completes it.
    paths: Vec<String>,
    items: u64,
    id: Id,
}

/// A tree under way.
struct Under<'a> {
    order: &'a Arc<Order>,
    walking: &'a JoinHandle<Walked>,
    leaves: &'a Snapshot,
    /// When it was begun, and how many entries the run had done then.
    began: Timestamp,
    items: u64,
}

type Walked = Result<(TreeReport, Tree)>;

impl Writer {
    /// Waits for a walk and keeps what it has so far now and then.
    #[allow(clippy::disallowed_methods, reason = "this is the module that waits for its next turn")]
    pub(super) async fn keep_partials(
        &mut self,
        earlier: Earlier,
        order: &Arc<Order>,
        mut walking: JoinHandle<Walked>,
    ) -> Result<Walked, JoinError> {
        let items = self.pipe.totals.items();
        let Earlier { partials, leaves, .. } = earlier;
        let paths = leaves.as_ref().map(|snapshot| snapshot.paths.clone()).unwrap_or_default();
        self.partials.extend(partials.into_iter().map(|(id, old)| {
            let items = old.story().map_or(0, |story| story.items);
            Partial { paths: paths.clone(), items, id }
        }));
        let every = self.options.partial_every.filter(|_| !self.options.dry_run);
        let (Some(leaves), Some(mut every)) = (leaves, every) else { return walking.await };
        let mut bytes_before = self.added().bytes_added;
        let began = self.repository.env().now();
        loop {
            tokio::select! {
                walked = &mut walking => return walked,
                () = tokio::time::sleep(every) => {}
            }
            let bytes = self.added().bytes_added;
            let under = Under { order, walking: &walking, leaves: &leaves, began, items };
            match self.keep_partial(under, bytes - bytes_before).await {
                Ok(Kept::Nothing) => {}
                Ok(Kept::Instead) => bytes_before = bytes,
                // Where nothing can be removed they would pile up.
                Ok(Kept::Beside) => {
                    bytes_before = bytes;
                    every = every.saturating_mul(2);
                }
                Err(err) => {
                    self.tell(&order.address, &err);
                    return walking.await;
                }
            }
        }
    }

    async fn keep_partial(&mut self, under: Under<'_>, bytes_new: u64) -> Result<Kept> {
        // Counted before, so that it is never more than what the tree holds.
        let items = self.pipe.totals.items().saturating_sub(under.items);
        let stored = {
            let order = Arc::clone(under.order);
            tokio::task::spawn_blocking(move || order.store_so_far(bytes_new)).await
        };
        let stored = stored.map_err(|cause| Error::bug("keep what is done so far").caused_by(cause))?;
        // If the run has stopped, it says why itself.
        let Ok(Some((tree, mark))) = stored else { return Ok(Kept::Nothing) };
        if self.pipe.run.settle(mark).await.is_err() || under.walking.is_finished() {
            return Ok(Kept::Nothing);
        }
        self.lock.check()?;
        let story = Story { began: under.began, at: self.repository.env().now(), items };
        let snapshot = Snapshot { tree, recoup: Some(story.to_field()), ..under.leaves.clone() };
        let id = self.pipe.run.save(ObjectKind::Snapshot, snapshot.encode()?).await?;
        // One that holds more, of an earlier run, stays until this run has come as far.
        let is_alone = self.retire_partials(&snapshot.paths, items).await;
        self.partials.push(Partial { paths: snapshot.paths, items, id });
        Ok(if is_alone { Kept::Instead } else { Kept::Beside })
    }

    /// Removes the partial snapshots of `paths` that hold at most so many entries; whether all of them went. One
    /// that stays does no harm: whoever forgets snapshots forgets it.
    pub(super) async fn retire_partials(&mut self, paths: &[String], items_max: u64) -> bool {
        let is_gone = |partial: &mut Partial| partial.paths == paths && partial.items <= items_max;
        let gone: Vec<Partial> = self.partials.extract_if(.., is_gone).collect();
        let mut is_all = true;
        for Partial { id, .. } in gone {
            is_all &= self.repository.documents().delete(ObjectKind::Snapshot, &id).await.is_ok();
        }
        is_all
    }

    fn tell(&self, address: &str, err: &Error) {
        self.repository.env().emit(Event::Finding(Finding::new(
            "W0468",
            Severity::Warning,
            address,
            format!("what is done so far cannot be kept as a partial snapshot: {err}"),
            "the backup goes on; if it is stopped, the next one reads again what this one has read",
        )));
    }
}

/// What became of one partial snapshot.
enum Kept {
    /// None was written.
    Nothing,
    /// It stands in place of the one before.
    Instead,
    /// The one before could not be removed.
    Beside,
}
