//! What a prune has to know, as plain data: every pack that is there or that an index file speaks of, and
//! every copy of every blob, sorted.

use crate::blob::BlobHandle;
use crate::golang::time::GoTime;
use crate::id::Id;
use crate::index::{Index, MarkedPack, load};
use crate::pack::{PackEntry, size_of};
use crate::repository::Repository;
use recoup_core::{Error, Kind, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// How a pack is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackState {
    /// An index file lists it.
    Live,
    /// It is there and no index file speaks of it: a run was killed, or an index file is gone.
    Unlisted,
    /// An earlier prune gave it up at that time.
    Marked(Option<GoTime>),
}

/// One pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackFact {
    /// Its name.
    pub id: Id,
    /// Its bytes; `None` if it is missing.
    pub size: Option<u64>,
    /// Whether its size is what its blobs add up to; only such a pack is relied on.
    pub sound: bool,
    /// How it is known.
    pub state: PackState,
}

/// One copy of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Number of its pack in [`Facts::packs`].
    pub pack: u32,
    /// Where in the pack.
    pub entry: PackEntry,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Packs by id.
    pub packs: Vec<PackFact>,
    /// Copies by blob, pack and offset. Their position is their ordinal.
    pub copies: Vec<Copy>,
}

impl Facts {
    /// Sorts packs, each with what is in it.
    pub fn new(mut packs: Vec<(PackFact, Vec<PackEntry>)>) -> Self {
        packs.sort_unstable_by_key(|(fact, _)| fact.id);
        let mut facts = Facts::default();
        for (number, (fact, entries)) in packs.into_iter().enumerate() {
            // Four billion packs would take 64 PB.
            let pack = number as u32;
            facts.packs.push(fact);
            facts.copies.extend(entries.into_iter().map(|entry| Copy { pack, entry }));
        }
        facts.copies.sort_unstable_by_key(|copy| (copy.entry.handle, copy.pack, copy.entry.offset));
        facts
    }

    /// The ordinals of the copies of a blob.
    pub fn copies_of(&self, handle: &BlobHandle) -> Range<usize> {
        let from = self.copies.partition_point(|copy| copy.entry.handle < *handle);
        let count = self.copies[from..].iter().take_while(|copy| copy.entry.handle == *handle).count();
        from..from + count
    }

    /// The pack of a copy.
    pub fn pack_of(&self, ordinal: usize) -> &PackFact {
        &self.packs[self.copies[ordinal].pack as usize]
    }

    /// What is in each pack that `chosen` takes by its number, by offset.
    pub fn by_pack(&self, chosen: impl Fn(usize) -> bool) -> Vec<(usize, Vec<PackEntry>)> {
        let mut by_pack: Vec<Option<Vec<PackEntry>>> =
            (0..self.packs.len()).map(|at| chosen(at).then(Vec::new)).collect();
        for copy in &self.copies {
            if let Some(entries) = &mut by_pack[copy.pack as usize] {
                entries.push(copy.entry);
            }
        }
        let mut by_pack: Vec<_> =
            by_pack.into_iter().enumerate().filter_map(|(at, entries)| Some((at, entries?))).collect();
        for (_, entries) in &mut by_pack {
            entries.sort_unstable_by_key(|entry: &PackEntry| entry.offset);
        }
        by_pack
    }
}

/// The facts of a repository, and which index file says what.
pub(super) struct Loaded {
    pub(super) facts: Arc<Facts>,
    /// Every pack that an index file speaks of, marked or not.
    pub(super) files: BTreeMap<Id, Vec<Id>>,
    /// Packs that are listed otherwise than they are.
    pub(super) wrong: HashSet<Id>,
}

/// Reads all index files and lists all packs.
///
/// # Errors
/// `Kind::Refused`, E0476, if an index file cannot be read; as the store says otherwise.
pub(super) async fn load(repo: &Repository) -> Result<Loaded> {
    let mut files: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    let mut marks: HashMap<Id, MarkedPack> = HashMap::new();
    let mut listed: HashSet<Id> = HashSet::new();
    let (index, sizes) = load::load_each(&**repo.store(), repo.key(), repo.limits(), |id, file| {
        listed.extend(file.file.packs.iter().map(|pack| pack.id));
        let live = file.file.packs.iter().map(|pack| pack.id);
        files.insert(id, live.chain(file.marked.iter().map(|mark| mark.id)).collect());
        for mark in &file.marked {
            // Of two marks the younger one counts, so that nothing goes too early.
            let time = marks.get(&mark.id).and_then(|known| known.time);
            if time.is_none() || mark.time > time {
                marks.insert(mark.id, mark.clone());
            }
        }
    })
    .await?;
    if let Some(problem) = index.problems().iter().find(|problem| problem.code == "E0422") {
        return Err(unsure(format!("{}: {}", problem.object, problem.problem)));
    }
    let wrong = index.mended().iter().map(|pack| pack.id).filter(|id| listed.contains(id)).collect();
    Ok(Loaded { facts: Arc::new(gather(&index, &sizes, &listed, marks)), files, wrong })
}

fn gather(
    index: &Index,
    sizes: &HashMap<Id, u64>,
    listed: &HashSet<Id>,
    marks: HashMap<Id, MarkedPack>,
) -> Facts {
    let mut packs: BTreeMap<Id, (PackFact, Vec<PackEntry>)> = BTreeMap::new();
    for (pack, entries) in index.packs().iter().zip(index.by_number()) {
        let state = if listed.contains(&pack.id) { PackState::Live } else { PackState::Unlisted };
        let fact = PackFact { id: pack.id, size: pack.size, sound: pack.sound, state };
        packs.insert(pack.id, (fact, entries));
    }
    for (id, mark) in marks.into_iter().filter(|(id, _)| !listed.contains(id)) {
        let size = sizes.get(&id).copied();
        let mut blobs = mark.blobs;
        blobs.sort_unstable_by_key(|entry| entry.offset);
        let sound = !blobs.is_empty() && size == Some(size_of(&blobs));
        let state = PackState::Marked(mark.time);
        packs.insert(id, (PackFact { id, size, sound, state }, blobs));
    }
    for (&id, &size) in sizes {
        // Its header cannot be read, so nobody can use it.
        let state = PackState::Unlisted;
        packs
            .entry(id)
            .or_insert_with(|| (PackFact { id, size: Some(size), sound: false, state }, Vec::new()));
    }
    Facts::new(packs.into_values().collect())
}

/// A prune that does not know what is needed deletes nothing.
pub(super) fn unsure(why: String) -> Error {
    Error::new(Kind::Refused, format!("find out what the snapshots need: {why}"))
        .code("E0476")
        .effect("nothing was deleted")
}
