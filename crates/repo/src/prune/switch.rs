//! From the old index to the new one, under an exclusive lock.
//!
//! | step | what a crash right after it leaves |
//! |---|---|
//! | packs whose time has come are deleted | marks of packs that are gone; the next prune drops them |
//! | new index files are put | old files that list given up packs: they are in use still |
//! | old index files are deleted | all is well |
//! | packs to delete at once are deleted | nothing |

use super::facts::{Loaded, PackFact, PackState};
use super::plan::{Action, Plan};
use crate::golang::time::GoTime;
use crate::id::Id;
use crate::index::{BLOBS_MAX, IndexFile, IndexPack, MarkedFile, MarkedPack};
use crate::layout::{self, ObjectKind};
use crate::locks::LockWatch;
use crate::repository::Repository;
use futures_util::StreamExt;
use recoup_core::Result;
use std::collections::HashSet;

/// Deletions under way at a time.
const AT_ONCE: usize = 16;
/// Index files that are sealed and put at a time.
const SAVES_AT_ONCE: usize = 3;
/// So many index files that are not full become fewer.
const SMALL_FILES: usize = 16;

/// Whether there is nothing to do, so that nobody need be shut out.
pub(super) fn is_idle(loaded: &Loaded, plan: &Plan) -> bool {
    let rests = |(pack, action): (&PackFact, &Action)| {
        matches!((action, pack.state), (Action::Keep, PackState::Live) | (Action::Wait, PackState::Marked(_)))
    };
    loaded.facts.packs.iter().zip(&plan.actions).all(rests) && replaced(loaded, plan).is_empty()
}

/// Does what the plan says. It has no pack to rewrite.
///
/// # Errors
/// `Kind::Interrupted`, E0466, if the lock was lost; as the store says otherwise. The next prune goes on.
pub(super) async fn run(repo: &Repository, loaded: &Loaded, plan: &Plan, lock: &LockWatch) -> Result<()> {
    let packs = &loaded.facts.packs;
    let doomed = |is_marked: bool| {
        let doomed = packs.iter().zip(&plan.actions).filter(move |(pack, action)| {
            **action == Action::Remove && matches!(pack.state, PackState::Marked(_)) == is_marked
        });
        doomed.map(|(pack, _)| pack.id).collect::<Vec<Id>>()
    };
    delete(repo, ObjectKind::Pack, doomed(true), lock).await?;
    let old = replaced(loaded, plan);
    let mut new = HashSet::new();
    let mut saves = futures_util::stream::iter(files(repo, loaded, plan, &old))
        .map(|file| async move {
            lock.check()?;
            repo.documents().save(ObjectKind::Index, file.encode()?).await
        })
        .buffer_unordered(SAVES_AT_ONCE);
    while let Some(saved) = saves.next().await {
        new.insert(saved?);
    }
    let old = old.into_iter().filter(|id| !new.contains(id)).collect();
    delete(repo, ObjectKind::Index, old, lock).await?;
    delete(repo, ObjectKind::Pack, doomed(false), lock).await
}

/// Index files that speak of a pack of which something else is true from now on, and those that are small
/// if there are many.
fn replaced(loaded: &Loaded, plan: &Plan) -> Vec<Id> {
    let packs = &loaded.facts.packs;
    let stays: HashSet<Id> = packs
        .iter()
        .zip(&plan.actions)
        .filter(|(pack, action)| {
            let is_right = matches!(
                (action, pack.state),
                (Action::Keep, PackState::Live) | (Action::Wait, PackState::Marked(_))
            );
            is_right && !loaded.wrong.contains(&pack.id)
        })
        .map(|(pack, _)| pack.id)
        .collect();
    let is_small = |packs: &Vec<Id>| packs.len() < 64;
    let many = loaded.files.values().filter(|packs| is_small(packs)).count() >= SMALL_FILES;
    let old = loaded.files.iter().filter(|(_, packs)| {
        packs.is_empty() || packs.iter().any(|id| !stays.contains(id)) || (many && is_small(packs))
    });
    old.map(|(id, _)| *id).collect()
}

/// What the new files say: everything of the old ones that stays, and what no file says yet.
fn files(repo: &Repository, loaded: &Loaded, plan: &Plan, old: &[Id]) -> Vec<MarkedFile> {
    let env = repo.env();
    let now = GoTime::new(env.now(), &env.zone);
    let moved: HashSet<Id> = old.iter().flat_map(|id| &loaded.files[id]).copied().collect();
    let mut files: Vec<MarkedFile> = Vec::new();
    let mut blobs = 0;
    let speaks_of = |at: usize| {
        let pack = &loaded.facts.packs[at];
        pack.state == PackState::Unlisted || moved.contains(&pack.id)
    };
    for (at, entries) in loaded.facts.by_pack(speaks_of) {
        let (pack, action) = (&loaded.facts.packs[at], plan.actions[at]);
        let id = pack.id;
        if blobs + entries.len() > BLOBS_MAX || files.is_empty() {
            files.push(MarkedFile { file: IndexFile::default(), marked: Vec::new() });
            blobs = 0;
        }
        blobs += entries.len();
        let Some(file) = files.last_mut() else { continue };
        let mark = |time| MarkedPack { id, time, size: pack.size, blobs: entries.clone() };
        match (action, pack.state) {
            (Action::Keep | Action::Recover | Action::Repack, _) => {
                file.file.packs.push(IndexPack { id, blobs: entries });
            }
            (Action::Wait, PackState::Marked(time)) => file.marked.push(mark(time)),
            (Action::Mark | Action::Wait, _) => file.marked.push(mark(Some(now))),
            (Action::Remove | Action::Drop, _) => {}
        }
    }
    files.retain(|file| !file.file.packs.is_empty() || !file.marked.is_empty());
    files
}

async fn delete(repo: &Repository, kind: ObjectKind, ids: Vec<Id>, lock: &LockWatch) -> Result<()> {
    let mut deletions = futures_util::stream::iter(ids)
        .map(|id| async move {
            lock.check()?;
            repo.store().delete(&layout::key(kind, &id)).await
        })
        .buffer_unordered(AT_ONCE);
    while let Some(done) = deletions.next().await {
        done?;
    }
    Ok(())
}
