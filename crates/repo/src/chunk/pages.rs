//! Chunks of whole pages at fixed places, for files that are written in place, as those of databases are.
//!
//! What nobody has seen yet is cut into runs of 1 MiB. A run that is as it was in the parent's snapshot stays
//! one blob. A run that changed is cut into leaves of a page or two: it is stored once more, and from then
//! on what changes in it costs its leaf. So cold data stays in few large blobs and data that is written
//! to finds its size, with no state but the parent's list of blobs.

use super::Chunker;
use crate::id::Id;

/// A cold run, and where runs end: at multiples of this.
const RUN_BYTES: u64 = 1 << 20;
/// A leaf where nobody says how long a page is: two pages of PostgreSQL.
const LEAF_BYTES: u64 = 16 << 10;
/// Leaves are not shorter, whatever the page: an entry in the index and in the tree takes 80 bytes.
const LEAF_BYTES_MIN: u64 = 4 << 10;
/// No chunk of the parent is longer: restic's largest.
const BYTES_MAX: usize = 8 << 20;
/// The head of a SQLite database up to its page size (file format, "The Database Header").
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
const SQLITE_HEAD_BYTES: usize = 18;

/// Cuts one file into pages.
#[derive(Debug)]
pub struct Pages {
    /// The parent's chunks that are still ahead, with their lengths; the next one starts at `at` or
    /// where the leaves end.
    parent: std::vec::IntoIter<(Id, usize)>,
    /// The next of them, once it was looked at.
    next: Option<(Id, usize)>,
    /// Where the chunk under way starts in the file.
    at: u64,
    /// Up to here leaves are cut.
    leaves_until: u64,
    /// Length of a leaf in bytes; 0 before the head of the file was seen.
    leaf: u64,
    /// The chunk that was cut last, if it is one of the parent's.
    known: Option<Id>,
}

impl Pages {
    /// A chunker at the start of a file whose content was `parent`: blobs with their lengths in bytes. What
    /// follows a length that no chunk has is not used.
    pub fn new(parent: Vec<(Id, usize)>) -> Self {
        let usable = parent.iter().take_while(|(_, length)| (1..=BYTES_MAX).contains(length)).count();
        let mut parent = parent;
        parent.truncate(usable);
        let mut parent = parent.into_iter();
        let next = parent.next();
        Pages { parent, next, at: 0, leaves_until: 0, leaf: 0, known: None }
    }

    /// Ends the chunk under way at the place `end` of the file, if it is there.
    fn end_at(&mut self, end: u64, chunk: &[u8]) -> Option<usize> {
        let length = usize::try_from(end - self.at).ok().filter(|length| *length <= chunk.len())?;
        self.at = end;
        Some(length)
    }

    fn cut_leaf(&mut self, chunk: &[u8]) -> Option<usize> {
        let end = next_multiple(self.at, self.leaf).min(self.leaves_until);
        self.end_at(end, chunk)
    }
}

impl Chunker for Pages {
    fn cut(&mut self, chunk: &[u8]) -> Option<usize> {
        self.known = None;
        if chunk.is_empty() {
            return None;
        }
        if self.leaf == 0 {
            self.leaf = leaf_bytes(chunk)?;
        }
        if self.at < self.leaves_until {
            return self.cut_leaf(chunk);
        }
        let Some((id, length)) = self.next else {
            return self.end_at(next_multiple(self.at, RUN_BYTES), chunk);
        };
        let run = chunk.get(..length)?;
        self.next = self.parent.next();
        // What is as short as a leaf is cut the same way, changed or not.
        let is_short = length as u64 <= self.leaf;
        self.known = (!is_short && Id::of(run) == id).then_some(id);
        if is_short || self.known.is_some() {
            self.at += length as u64;
            return Some(length);
        }
        self.leaves_until = self.at + length as u64;
        self.cut_leaf(chunk)
    }

    fn known(&self) -> Option<Id> {
        self.known
    }

    /// Chunks follow from each other here; a new file takes a new chunker.
    fn reset(&mut self) {}

    fn min(&self) -> usize {
        LEAF_BYTES_MIN as usize
    }

    fn max(&self) -> usize {
        BYTES_MAX
    }
}

fn next_multiple(at: u64, of: u64) -> u64 {
    (at / of + 1) * of
}

/// How long a leaf is in a file that starts so; `None` if more of it is needed.
fn leaf_bytes(head: &[u8]) -> Option<u64> {
    let known = head.len().min(SQLITE_MAGIC.len());
    if head[..known] != SQLITE_MAGIC[..known] {
        return Some(LEAF_BYTES);
    }
    let head = head.get(..SQLITE_HEAD_BYTES)?;
    let page = match u64::from(u16::from_be_bytes([head[16], head[17]])) {
        1 => 65536,
        page if page.is_power_of_two() && page >= 512 => page,
        _ => LEAF_BYTES,
    };
    Some(page.max(LEAF_BYTES_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: usize = 8 << 10;
    const LEAF: usize = LEAF_BYTES as usize;
    const RUN: usize = RUN_BYTES as usize;

    fn chunks(data: &[u8], parent: &[Vec<u8>], step: usize) -> Vec<Vec<u8>> {
        let mut chunker = Pages::new(parent.iter().map(|chunk| (Id::of(chunk), chunk.len())).collect());
        let (mut chunks, mut start, mut end) = (Vec::new(), 0, 0);
        while end < data.len() {
            end = (end + step).min(data.len());
            while let Some(length) = chunker.cut(&data[start..end]) {
                let known = chunker.known();
                assert!(known.is_none_or(|id| id == Id::of(&data[start..start + length])), "a wrong name");
                chunks.push(data[start..start + length].to_vec());
                start += length;
                chunker.reset();
            }
        }
        if start < data.len() {
            chunks.push(data[start..].to_vec());
        }
        chunks
    }

    /// Pages that all differ.
    fn database(pages: usize) -> Vec<u8> {
        (0..pages).flat_map(|n| Id::of(&n.to_le_bytes()).as_bytes().repeat(PAGE / 32)).collect()
    }

    /// How many chunks `before` does not have.
    fn new(chunks: &[Vec<u8>], before: &[Vec<u8>]) -> usize {
        chunks.iter().filter(|chunk| !before.contains(chunk)).count()
    }

    #[test]
    fn a_run_is_cut_small_when_it_is_written_to_and_costs_a_leaf_from_then_on() {
        let mut data = database(8 * RUN / PAGE);
        let first = chunks(&data, &[], 512 << 10);
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [RUN; 8]);
        assert_eq!(chunks(&data, &first, 512 << 10), first, "unchanged");

        data[3 * RUN + 5 * PAGE] ^= 1;
        let second = chunks(&data, &first, 512 << 10);
        assert_eq!((second.len(), new(&second, &first)), (7 + RUN / LEAF, RUN / LEAF));
        data[3 * RUN + 90 * PAGE] ^= 1;
        let third = chunks(&data, &second, 512 << 10);
        assert_eq!((third.len(), new(&third, &second)), (second.len(), 1));
    }

    #[test]
    fn a_file_that_grows_or_shrinks_keeps_what_it_had() {
        let data = database(3 * RUN / PAGE + 10);
        let short = &data[..2 * RUN + 3 * PAGE];
        let first = chunks(short, &[], 1 << 20);
        let grown = chunks(&data, &first, 1 << 20);
        assert_eq!(grown[..3], first);
        assert_eq!(grown.iter().map(Vec::len).sum::<usize>(), data.len());
        assert_eq!(new(&chunks(short, &grown, 1 << 20), &grown), 0);
        assert_eq!(new(&chunks(&data[..RUN + PAGE], &grown, 1 << 20), &grown), 1, "the end is new");
        assert!(chunks(&[], &grown, 1).is_empty());
    }

    #[test]
    fn the_head_of_a_database_says_how_long_a_leaf_is() {
        for (page, leaf) in [([2, 0], 4 << 10), ([16, 0], 4 << 10), ([128, 0], 32 << 10), ([0, 1], 64 << 10)]
        {
            let head = [SQLITE_MAGIC, &page].concat();
            assert_eq!(leaf_bytes(&head), Some(leaf), "{page:?}");
            assert_eq!(leaf_bytes(&head[..17]), None, "more of the head is needed");
        }
        assert_eq!(
            leaf_bytes(&[SQLITE_MAGIC, &[0, 7]].concat()),
            Some(LEAF_BYTES),
            "no page has seven bytes"
        );
        assert_eq!(leaf_bytes(b"SQL"), None);
        assert_eq!(leaf_bytes(b"x"), Some(LEAF_BYTES));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        /// Whatever a damaged or hostile index claims about the parent's blobs.
        #[test]
        fn nothing_is_lost_whatever_the_parent_was(
            lengths in prop::collection::vec(0..9_000_000_usize, 0..6),
            bytes in 0..3_000_000_usize,
            step in 1_000..2_000_000_usize,
        ) {
            let data = database(bytes / PAGE + 1)[..bytes].to_vec();
            let parent = lengths.iter().map(|length| (Id::of(b"x"), *length)).collect();
            let (mut chunker, mut start, mut end) = (Pages::new(parent), 0, 0);
            while end < data.len() {
                end = (end + step).min(data.len());
                while let Some(length) = chunker.cut(&data[start..end]) {
                    prop_assert!(length > 0 && length <= BYTES_MAX && start + length <= end);
                    start += length;
                }
            }
        }
    }
}
