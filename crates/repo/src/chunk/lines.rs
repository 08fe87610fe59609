//! Small chunks that end with a line, for dumps: what is inserted, removed or changed in a line touches one
//! or two chunks of about 20 KiB, and not one or two of 1.5 MiB.
//!
//! A line ends its chunk if its hash is small, and a long line may have a larger one: so the mean length of
//! chunks does not depend on that of lines. All of a line is hashed, since dumps are full of padding that
//! makes parts of them alike. A line that is longer than a chunk may be starts a chunk; in it a hash of the last
//! 64 bytes decides.

use super::Chunker;
use crate::id::Id;
use std::fmt;
use std::sync::Arc;

const BYTES_MIN: usize = 8 << 10;
const BYTES_MAX: usize = 64 << 10;
/// From here on a chunk is to end soon: the more alike chunks are in length, the less a change stores again,
/// since changes meet long chunks more often.
const BYTES_ENOUGH: usize = 20 << 10;
/// A hash is small below this, for each byte that it stands for: an end is expected in 24 KiB.
const SMALL: u64 = u64::MAX / (24 << 10);
/// The same for a chunk that is long enough: in 6 KiB. With the above, chunks have 21 KiB in the mean.
const SMALL_ENOUGH: u64 = u64::MAX / (6 << 10);
/// One step of the hash inside a line shifts it by a bit, so that 64 bytes decide.
const WINDOW: usize = 64;

/// Random numbers of one repository. Cut points known in advance would tell which dumps it holds, so the
/// numbers follow from its secret polynomial.
#[derive(Clone)]
pub struct LineTables(Arc<[u64; 256]>);

impl LineTables {
    /// Tables for the repository with this polynomial.
    pub fn new(polynomial: u64) -> Self {
        let number = |byte: usize| {
            let mut text = b"recoup lines ".to_vec();
            text.extend(polynomial.to_le_bytes());
            text.extend(byte.to_le_bytes());
            let id = Id::of(&text);
            id.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
        };
        LineTables(Arc::new(std::array::from_fn(number)))
    }

    /// Whether a chunk of `length` bytes ends with `line`.
    fn ends(&self, line: &[u8], length: usize) -> bool {
        let [first, by, last, ..] = *self.0;
        let (words, rest) = line.as_chunks::<8>();
        let mut tail = [0; 8];
        tail[..rest.len()].copy_from_slice(rest);
        let step = |hash, word: &[u8; 8]| fold(hash ^ u64::from_le_bytes(*word), by | 1);
        let hash = words.iter().chain([&tail]).fold(first, step);
        let small = if length < BYTES_ENOUGH { SMALL } else { SMALL_ENOUGH };
        fold(hash ^ line.len() as u64, last | 1) < small.saturating_mul(line.len() as u64)
    }

    /// Where a line of more than a chunk is cut: at the first place where the hash of the last 64 bytes is
    /// small, or at the end.
    fn place(&self, line: &[u8]) -> usize {
        let mut hash = 0_u64;
        for (at, byte) in line.iter().enumerate().skip(BYTES_MIN - WINDOW) {
            hash = (hash << 1).wrapping_add(self.0[usize::from(*byte)]);
            if at + 1 >= BYTES_MIN && hash < SMALL_ENOUGH {
                return at + 1;
            }
        }
        line.len()
    }
}

/// A product's halves put together: every bit of both factors matters to every bit.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl fmt::Debug for LineTables {
    /// The tables would give the cut points away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineTables")
    }
}

/// Cuts one stream after lines.
#[derive(Debug)]
pub struct Lines {
    tables: LineTables,
    /// How much of the chunk under way was searched for ends of lines; 0 before it is long enough.
    seen: usize,
    /// Where its last line starts, from the smallest length on.
    line: usize,
    /// The last end of a line that is long enough for a chunk.
    end: Option<usize>,
}

impl Lines {
    /// A chunker at the start of a stream.
    pub fn new(tables: &LineTables) -> Self {
        Lines { tables: tables.clone(), seen: 0, line: 0, end: None }
    }

    fn find(&mut self, chunk: &[u8]) -> Option<usize> {
        let is_end = |byte: &u8| *byte == b'\n';
        if self.seen == 0 {
            // The first line that may end the chunk has begun before.
            let before = chunk.get(..BYTES_MIN)?;
            self.seen = BYTES_MIN - 1;
            self.line = before[..self.seen].iter().rposition(is_end).map_or(0, |at| at + 1);
        }
        let until = chunk.len().min(BYTES_MAX);
        while let Some(at) = chunk[self.seen..until].iter().position(is_end) {
            let end = self.seen + at + 1;
            if self.tables.ends(&chunk[self.line..end], end) {
                return Some(end);
            }
            (self.seen, self.line, self.end) = (end, end, Some(end));
        }
        self.seen = until;
        if until < BYTES_MAX {
            return None;
        }
        self.end.or_else(|| Some(self.tables.place(&chunk[..BYTES_MAX])))
    }
}

impl Chunker for Lines {
    fn cut(&mut self, chunk: &[u8]) -> Option<usize> {
        let length = self.find(chunk)?;
        self.reset();
        Some(length)
    }

    fn reset(&mut self) {
        (self.seen, self.end) = (0, None);
    }

    fn min(&self) -> usize {
        BYTES_MIN
    }

    fn max(&self) -> usize {
        BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const POLYNOMIAL: u64 = 0x003D_A335_8B4D_C173;

    /// The chunks, if the bytes arrive `step` at a time.
    fn chunks(data: &[u8], step: usize) -> Vec<&[u8]> {
        let mut chunker = Lines::new(&LineTables::new(POLYNOMIAL));
        let (mut chunks, mut start, mut end) = (Vec::new(), 0, 0);
        while end < data.len() {
            end = (end + step).min(data.len());
            while let Some(length) = chunker.cut(&data[start..end]) {
                chunks.push(&data[start..start + length]);
                start += length;
            }
        }
        if start < data.len() {
            chunks.push(&data[start..]);
        }
        chunks
    }

    /// So many bytes of a dump whose lines are about `line` bytes long.
    fn dump(bytes: usize, line: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes + 2 * line);
        let mut state = 1_u64;
        // Knuth's constants for MMIX; the upper half is good enough.
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 32
        };
        while out.len() < bytes {
            let end = out.len() + line / 2 + next() as usize % (line + 1);
            while out.len() < end {
                out.extend(format!("{:x},", next()).bytes());
            }
            out.push(b'\n');
        }
        out
    }

    #[test]
    fn chunks_end_with_a_line_and_have_one_size_whatever_the_lines() {
        for line in [8, 100, 1000, 4000] {
            let data = dump(8 << 20, line);
            let cut = chunks(&data, 100_000);
            assert!(cut.iter().all(|chunk| chunk.ends_with(b"\n") && chunk.len() <= BYTES_MAX), "{line}");
            assert!(cut[..cut.len() - 1].iter().all(|chunk| chunk.len() >= BYTES_MIN), "{line}");
            let mean = data.len() / cut.len();
            assert!((16 << 10..27 << 10).contains(&mean), "lines of {line}: {mean} bytes a chunk");
        }
    }

    #[test]
    fn padding_does_not_make_chunks_longer() {
        let line = |n: usize| format!("{n}\t1\t0\t{:84}\n", "");
        let data: Vec<u8> = (0..60_000).flat_map(|n| line(n).into_bytes()).collect();
        let mean = data.len() / chunks(&data, 1 << 20).len();
        assert!((18 << 10..24 << 10).contains(&mean), "{mean} bytes a chunk");
    }

    #[test]
    fn lines_that_are_too_long_are_cut_too_and_find_their_cuts_again() {
        let digits = dump(4 << 20, 5_000_000);
        let line: Vec<u8> = digits.iter().copied().filter(|byte| *byte != b'\n').collect();
        let mut data = b"short\n".repeat(2000);
        data.extend(&line);
        let before: HashSet<&[u8]> = chunks(&data, 70_000).into_iter().collect();
        assert!(before.iter().all(|chunk| chunk.len() <= BYTES_MAX));
        let mut changed = data.clone();
        changed.splice(40_000..40_000, *b"some more");
        let new = chunks(&changed, 70_000).into_iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(new <= 2, "{new} new chunks");
        // The same byte for ever: no place, no line.
        assert!(chunks(&[7; 200_000], 9000).iter().all(|chunk| chunk.len() <= BYTES_MAX));
    }

    #[test]
    fn other_repositories_cut_elsewhere() {
        let data = dump(1 << 20, 100);
        let first = |polynomial| Lines::new(&LineTables::new(polynomial)).cut(&data);
        assert_ne!(first(POLYNOMIAL), first(POLYNOMIAL + 2));
    }

    #[test]
    fn an_edit_changes_two_chunks_and_seldom_more() {
        let data = dump(1 << 20, 80);
        let before: HashSet<&[u8]> = chunks(&data, 1 << 20).into_iter().collect();
        let edits = 100;
        let changed = |edit: usize| {
            let (at, gone) = (edit * 10_007, edit * 3);
            let mut changed = data.clone();
            changed.splice(at..at + gone, b"more\n".repeat(edit % 40));
            chunks(&changed, 1 << 20).into_iter().filter(|chunk| !before.contains(chunk)).count()
        };
        let new: Vec<usize> = (0..edits).map(changed).collect();
        assert!(new.iter().sum::<usize>() <= 2 * edits, "{new:?}");
        assert!(new.iter().all(|new| *new <= 8), "{new:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn cuts_do_not_depend_on_how_the_bytes_arrive(step in 1..200_000_usize, line in 1..70_000_usize) {
            let data = dump(1 << 20, line);
            prop_assert_eq!(chunks(&data, step.max(512)), chunks(&data, 2 << 20));
        }

        #[test]
        fn nothing_is_lost(data: Vec<u8>, step in 1..100_usize) {
            prop_assert_eq!(chunks(&data, step).concat(), data);
        }
    }
}
