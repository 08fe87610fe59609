//! All index files in memory, checked against the packs that are there.
//!
//! A blob takes 53 bytes: 32 for its id, 4 each for pack, offset, length and plaintext length, one for
//! its kind, and less than one for the table that says where to look. Ten million blobs, about 15 TB of files, take half a GiB.

use super::fanout::Fanout;
use super::file::{IndexFile, IndexPack, MarkedPack};
use crate::blob::{BlobHandle, BlobKind};
use crate::id::Id;
use crate::pack::{PackEntry, size_of};
use crate::problem::Problem;
use std::collections::{HashMap, HashSet};

/// Where one copy of a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// In which pack.
    pub pack: Id,
    /// Where in the pack.
    pub entry: PackEntry,
    /// Whether the pack is there with exactly the right size. Copies in other packs may be readable
    /// still, and count as absent when it is decided what to store.
    pub sound: bool,
}

/// What is known of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackState {
    /// Its name.
    pub id: Id,
    /// Its real size; `None` if it is missing.
    pub size: Option<u64>,
    /// Whether its size is exactly what its blobs add up to.
    pub sound: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    id: Id,
    kind: BlobKind,
    pack: u32,
    offset: u32,
    length: u32,
    /// 0 for a blob that is not compressed.
    uncompressed: u32,
}

/// Every copy of every blob. A blob that a damaged index claims beyond the end of its pack is not in it.
#[derive(Default)]
pub struct Index {
    slots: Vec<Slot>,
    fanout: Fanout,
    packs: Vec<PackState>,
    by_id: HashMap<Id, u32>,
    /// Blobs that an index claims and their pack does not hold, with that pack.
    gone: HashMap<BlobHandle, Id>,
    mended: Vec<IndexPack>,
    problems: Vec<Problem>,
}

impl Index {
    /// Every copy of a blob, those in sound packs first.
    pub fn lookup(&self, handle: &BlobHandle) -> impl Iterator<Item = Location> + '_ {
        let copies = self.copies(handle);
        let sound = copies.iter().filter(|slot| self.packs[slot.pack as usize].sound);
        let rest = copies.iter().filter(|slot| !self.packs[slot.pack as usize].sound);
        sound.chain(rest).map(|slot| self.location(slot))
    }

    /// Whether a sound pack has the blob, so that it need not be stored again (fault row 36).
    pub fn has(&self, handle: &BlobHandle) -> bool {
        self.copies(handle).iter().any(|slot| self.packs[slot.pack as usize].sound)
    }

    /// The missing or cut pack that should hold the blob, if an index says so. Another copy may be good.
    pub fn gone_with(&self, handle: &BlobHandle) -> Option<Id> {
        self.gone.get(handle).copied()
    }

    /// Length of the plaintext of a blob, by what the index claims.
    pub fn plain_bytes(&self, handle: &BlobHandle) -> Option<u64> {
        self.lookup(handle).next().map(|location| location.entry.plain_bytes())
    }

    /// Every copy of every blob, by id.
    pub fn iter(&self) -> impl Iterator<Item = Location> + '_ {
        self.slots.iter().map(|slot| self.location(slot))
    }

    /// How many copies it lists.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it lists nothing.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every pack that an index speaks of or that is there.
    pub fn packs(&self) -> &[PackState] {
        &self.packs
    }

    /// What is known of one pack.
    pub fn pack(&self, id: &Id) -> Option<&PackState> {
        self.by_id.get(id).map(|&at| &self.packs[at as usize])
    }

    /// What is in each pack, by offset.
    pub fn by_pack(&self) -> HashMap<Id, Vec<PackEntry>> {
        let mut packs: HashMap<Id, Vec<PackEntry>> = HashMap::with_capacity(self.packs.len());
        for (pack, entries) in self.packs.iter().zip(self.by_number()) {
            if !entries.is_empty() {
                packs.insert(pack.id, entries);
            }
        }
        packs
    }

    /// What is in each pack of [`Index::packs`], by offset.
    pub fn by_number(&self) -> Vec<Vec<PackEntry>> {
        let mut counts = vec![0; self.packs.len()];
        for slot in &self.slots {
            counts[slot.pack as usize] += 1;
        }
        let mut packs: Vec<Vec<PackEntry>> = counts.into_iter().map(Vec::with_capacity).collect();
        for slot in &self.slots {
            packs[slot.pack as usize].push(self.location(slot).entry);
        }
        for entries in &mut packs {
            entries.sort_unstable_by_key(|entry| entry.offset);
        }
        packs
    }

    /// Packs whose blobs are known from their own header and stand in no index file. Whoever writes a
    /// snapshot that may need them writes an index of them first: restic believes index files alone.
    pub fn mended(&self) -> &[IndexPack] {
        &self.mended
    }

    /// What was wrong with index files and packs, and was skipped or mended in memory.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn copies(&self, handle: &BlobHandle) -> &[Slot] {
        let want = (handle.id, handle.kind);
        let part = &self.slots[self.fanout.part(&handle.id, self.slots.len())];
        let from = part.partition_point(|slot| (slot.id, slot.kind) < want);
        let count = part[from..].iter().take_while(|slot| (slot.id, slot.kind) == want).count();
        &part[from..from + count]
    }

    fn location(&self, slot: &Slot) -> Location {
        let pack = &self.packs[slot.pack as usize];
        let entry = PackEntry {
            handle: BlobHandle { kind: slot.kind, id: slot.id },
            offset: slot.offset,
            length: slot.length,
            uncompressed: (slot.uncompressed > 0).then_some(slot.uncompressed),
        };
        Location { pack: pack.id, entry, sound: pack.sound }
    }
}

/// Collects index files, then is told the real packs, then mended from headers.
#[derive(Default)]
pub struct IndexBuilder {
    claims: HashMap<Id, Vec<PackEntry>>,
    /// Packs that wait for deletion: nobody relies on them, and nobody takes them for forgotten ones.
    marked: HashSet<Id>,
    mended: Vec<IndexPack>,
    problems: Vec<Problem>,
}

impl IndexBuilder {
    /// Adds one index file. The same pack in several files is merged.
    pub fn add(&mut self, file: IndexFile) {
        for IndexPack { id, mut blobs } in file.packs {
            let known = self.claims.entry(id).or_default();
            if known.is_empty() {
                *known = std::mem::take(&mut blobs);
            } else {
                known.append(&mut blobs);
            }
        }
    }

    /// Notes packs that wait for deletion. One that an index file lists all the same is in use.
    pub fn mark(&mut self, marked: &[MarkedPack]) {
        self.marked.extend(marked.iter().map(|pack| pack.id));
    }

    /// Notes what was wrong.
    pub fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Merges what was added and gives the packs whose header must be read, because no index lists
    /// them or what it lists does not add up to their size.
    pub fn doubtful(&mut self, sizes: &HashMap<Id, u64>) -> Vec<(Id, u64)> {
        for entries in self.claims.values_mut() {
            entries.sort_unstable_by_key(|e| (e.offset, e.handle, e.length));
            entries.dedup();
        }
        let sound = |id: &Id, size: u64| self.claims.get(id).is_some_and(|entries| adds_up(entries, size));
        let is_live = |id: &Id| self.claims.contains_key(id) || !self.marked.contains(id);
        let doubtful = sizes.iter().filter(|(id, size)| is_live(id) && !sound(id, **size));
        let mut doubtful: Vec<_> = doubtful.map(|(id, size)| (*id, *size)).collect();
        doubtful.sort_unstable();
        doubtful
    }

    /// Whether an index file lists the pack.
    pub fn lists(&self, id: &Id) -> bool {
        self.claims.contains_key(id)
    }

    /// Replaces what was claimed of a pack by what its header says.
    pub fn mend(&mut self, id: Id, entries: Vec<PackEntry>) {
        let claimed: HashSet<PackEntry> = self.claims.remove(&id).unwrap_or_default().into_iter().collect();
        // An index that says too much but also all that is true need not be written a second time.
        if !entries.iter().all(|entry| claimed.contains(entry)) {
            self.mended.push(IndexPack { id, blobs: entries.clone() });
        }
        self.claims.insert(id, entries);
    }

    /// Sorts everything. `sizes` are the packs that are really there.
    pub fn finish(mut self, sizes: &HashMap<Id, u64>) -> Index {
        let mut index = Index::default();
        let mut claims: Vec<_> = std::mem::take(&mut self.claims).into_iter().collect();
        claims.sort_unstable_by_key(|(id, _)| *id);
        index.slots.reserve(claims.iter().map(|(_, entries)| entries.len()).sum());
        for (id, entries) in claims {
            let size = sizes.get(&id).copied();
            let sound = size.is_some_and(|size| adds_up(&entries, size));
            let pack = index.packs.len() as u32;
            index.by_id.insert(id, pack);
            index.packs.push(PackState { id, size, sound });
            self.explain(&id, size, sound, &entries);
            let end = size.unwrap_or(0);
            for entry in &entries {
                if entry.end() <= end {
                    index.slots.push(slot(entry, pack));
                } else {
                    index.gone.insert(entry.handle, id);
                }
            }
        }
        index.slots.sort_unstable();
        index.slots.dedup();
        index.fanout = Fanout::new(index.slots.iter().map(|slot| slot.id));
        index.problems = self.problems;
        index.mended = self.mended;
        index.mended.sort_unstable_by_key(|pack| pack.id);
        index
    }

    fn explain(&mut self, id: &Id, size: Option<u64>, sound: bool, entries: &[PackEntry]) {
        let object = format!("pack {id}");
        match size {
            _ if sound || entries.is_empty() => {}
            None => {
                let text = format!("it is missing; an index lists {} blobs in it", entries.len());
                self.report(Problem::new("E0423", object, text));
            }
            Some(size) => {
                let text =
                    format!("it has {size} bytes, its {} blobs need {}", entries.len(), size_of(entries));
                self.report(Problem::new("E0424", object, text));
            }
        }
    }
}

/// Blobs without gap or overlap that fill a pack of `size` bytes exactly.
fn adds_up(entries: &[PackEntry], size: u64) -> bool {
    let mut next = 0;
    for entry in entries {
        if u64::from(entry.offset) != next {
            return false;
        }
        next = entry.end();
    }
    !entries.is_empty() && size_of(entries) == size
}

fn slot(entry: &PackEntry, pack: u32) -> Slot {
    Slot {
        id: entry.handle.id,
        kind: entry.handle.kind,
        pack,
        offset: entry.offset,
        length: entry.length,
        uncompressed: entry.uncompressed.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(lengths: &[u32]) -> Vec<PackEntry> {
        let mut offset = 0;
        let make = |(n, &length): (usize, &u32)| {
            let handle = BlobHandle::data(Id::of(&[n as u8]));
            let entry = PackEntry { handle, offset, length, uncompressed: None };
            offset += length;
            entry
        };
        lengths.iter().enumerate().map(make).collect()
    }

    fn index(claims: Vec<(Id, Vec<PackEntry>)>, sizes: &[(Id, u64)]) -> (Index, Vec<(Id, u64)>) {
        let sizes: HashMap<Id, u64> = sizes.iter().copied().collect();
        let mut builder = IndexBuilder::default();
        for (id, blobs) in claims {
            builder.add(IndexFile { packs: vec![IndexPack { id, blobs }] });
        }
        let doubtful = builder.doubtful(&sizes);
        (builder.finish(&sizes), doubtful)
    }

    #[test]
    fn every_copy_is_found_and_sound_ones_come_first() {
        let (p, q) = (Id::of(b"p"), Id::of(b"q"));
        let blobs = entries(&[40, 50]);
        let full = size_of(&blobs);
        let (index, doubtful) = index(
            vec![(p, blobs.clone()), (q, blobs.clone()), (q, blobs.clone())],
            &[(p, full - 30), (q, full)],
        );
        assert_eq!(doubtful, [(p, full - 30)]);
        let copies: Vec<_> = index.lookup(&blobs[1].handle).map(|l| (l.pack, l.sound)).collect();
        assert_eq!(copies, [(q, true), (p, false)]);
        assert!(index.has(&blobs[0].handle));
        assert!(!index.has(&BlobHandle::tree(blobs[0].handle.id)));
        assert_eq!(index.by_pack()[&q], blobs);
        assert_eq!(index.problems().len(), 1);
        assert_eq!(index.problems()[0].code, "E0424");
    }

    #[test]
    fn row_36_a_missing_pack_has_no_blobs() {
        let blobs = entries(&[40]);
        let (index, doubtful) = index(vec![(Id::of(b"p"), blobs.clone())], &[]);
        assert!(doubtful.is_empty());
        assert!(!index.has(&blobs[0].handle));
        assert_eq!(index.lookup(&blobs[0].handle).count(), 0);
        assert_eq!(index.gone_with(&blobs[0].handle), Some(Id::of(b"p")));
        assert_eq!(index.problems()[0].code, "E0423");
    }

    #[test]
    fn row_148_a_blob_beyond_its_pack_is_not_there() {
        let p = Id::of(b"p");
        let mut blobs = entries(&[40, 50]);
        blobs[1].length = u32::MAX;
        let (index, doubtful) = index(vec![(p, blobs.clone())], &[(p, 206)]);
        assert_eq!(doubtful.len(), 1);
        assert_eq!(index.lookup(&blobs[1].handle).count(), 0);
        assert_eq!(index.lookup(&blobs[0].handle).count(), 1);
    }

    #[test]
    fn a_pack_split_over_two_index_files_is_whole_again() {
        let p = Id::of(b"p");
        let blobs = entries(&[40, 50, 60]);
        let claims = vec![(p, blobs[..1].to_vec()), (p, blobs[1..].to_vec())];
        let (index, doubtful) = index(claims, &[(p, size_of(&blobs))]);
        assert!(doubtful.is_empty());
        assert!(blobs.iter().all(|entry| index.has(&entry.handle)));
    }
}
