//! SHA-256, of several byte strings at once where the processor can.
//!
//! One stream keeps a processor with SHA instructions half idle: each round waits for the one before. Two or
//! three strings that have nothing to do with each other fill the gaps (`lanes`), so that whoever has
//! several to hash asks here. What comes out is what the plain crate gives, bit for bit, and the plain crate
//! does the work where the instructions are missing or fail their test at the start.

mod lanes;

use self::lanes::Lanes;
use crate::id::Id;
use sha2::block_api::compress256;

/// What SHA-256 takes at a time (FIPS 180-4, section 6.2).
type Block = [u8; 64];
type State = [u32; 8];

/// FIPS 180-4, section 5.3.3.
const START: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Byte strings that [`ids`] hashes at once: more find no free registers.
pub const LANES: usize = 3;

/// A hash under way.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    /// Blocks that are in `state`.
    blocks: u64,
    /// The bytes behind them, fewer than a block.
    open: Vec<u8>,
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher { state: START, blocks: 0, open: Vec::with_capacity(size_of::<Block>()) }
    }
}

impl Hasher {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = self.align(bytes).as_chunks();
        compress256(&mut self.state, blocks);
        self.blocks += blocks.len() as u64;
        self.open.extend_from_slice(rest);
    }

    /// Hashes `blobs`, and meanwhile takes in bytes from the front of `ahead`, at most about as many as they have
    /// and perhaps none. They are cut off `ahead`. Gives the ids of the blobs, in their order.
    pub fn update_beside(&mut self, ahead: &mut &[u8], blobs: &[&[u8]]) -> Vec<Id> {
        let blocks = self.align(ahead).as_chunks();
        let mut stream = Lane {
            state: self.state,
            body: blocks.0,
            tail: [[0; size_of::<Block>()]; 2],
            tail_blocks: 0,
            at: 0,
        };
        let ids = hash_beside(&mut stream, blobs);
        self.state = stream.state;
        self.blocks += stream.at as u64;
        let left = stream.ahead().as_flattened().len() + blocks.1.len();
        *ahead = &ahead[ahead.len() - left..];
        ids
    }

    /// The hash of everything that was taken in.
    pub fn finish(mut self) -> Id {
        let bytes = self.blocks * size_of::<Block>() as u64 + self.open.len() as u64;
        let (tail, count) = padded(&self.open, bytes);
        compress256(&mut self.state, &tail[..count]);
        id(self.state)
    }

    /// Fills the block under way from the front of `bytes`; gives the rest, which is empty or starts a block.
    fn align<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.open.is_empty() {
            return bytes;
        }
        let (first, rest) = bytes.split_at(bytes.len().min(size_of::<Block>() - self.open.len()));
        self.open.extend_from_slice(first);
        if let Ok(block) = Block::try_from(self.open.as_slice()) {
            compress256(&mut self.state, &[block]);
            self.blocks += 1;
            self.open.clear();
        }
        rest
    }
}

/// The ids of `blobs`, in their order.
pub fn ids(blobs: &[&[u8]]) -> Vec<Id> {
    hash_beside(&mut Lane { tail_blocks: 0, ..Lane::new(&[]) }, blobs)
}

/// The ids of `blobs`. Where fewer than [`LANES`] are under way, `stream` goes on beside them as long as it has blocks.
fn hash_beside<'a>(stream: &mut Lane<'a>, blobs: &[&'a [u8]]) -> Vec<Id> {
    let Some(lanes) = Lanes::get() else {
        return blobs.iter().map(|blob| Lane::new(blob).finish()).collect();
    };
    let mut ids = vec![Id::from_bytes([0; Id::BYTES]); blobs.len()];
    let mut waiting = blobs.iter().map(|blob| Lane::new(blob)).enumerate();
    let mut running: Vec<(usize, Lane<'a>)> = Vec::with_capacity(LANES);
    loop {
        let room = LANES - usize::from(!stream.is_done()) - running.len();
        running.extend(waiting.by_ref().take(room));
        match running.as_mut_slice() {
            [] => return ids,
            [(_, a), (_, b), (_, c)] => together(lanes, [a, b, c]),
            [(_, a), (_, b)] if !stream.is_done() => together(lanes, [a, b, stream]),
            [(_, a), (_, b)] => together(lanes, [a, b]),
            [(_, a)] if !stream.is_done() => together(lanes, [a, stream]),
            alone => alone.iter_mut().for_each(|(_, lane)| lane.run()),
        }
        for slot in (0..running.len()).rev() {
            if running[slot].1.is_done() {
                let (nr, lane) = running.swap_remove(slot);
                ids[nr] = id(lane.state);
            }
        }
    }
}

/// Takes all of `running` as far as the shortest of them goes.
fn together<const N: usize>(lanes: Lanes, mut running: [&mut Lane<'_>; N]) {
    let count = running.iter().map(|lane| lane.ahead().len()).min().unwrap_or(0);
    let mut states = running.each_ref().map(|lane| lane.state);
    lanes.compress(&mut states, running.each_ref().map(|lane| &lane.ahead()[..count]));
    for (lane, state) in running.iter_mut().zip(states) {
        lane.state = state;
        lane.at += count;
    }
}

/// One byte string on its way: its full blocks, then what FIPS 180-4, section 5.1.1, puts behind them.
struct Lane<'a> {
    state: State,
    body: &'a [Block],
    tail: [Block; 2],
    tail_blocks: usize,
    /// Blocks done, of body and tail.
    at: usize,
}

impl<'a> Lane<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let (body, rest) = bytes.as_chunks();
        let (tail, tail_blocks) = padded(rest, bytes.len() as u64);
        Lane { state: START, body, tail, tail_blocks, at: 0 }
    }

    /// The blocks that lie ahead in one piece; none when it is done.
    fn ahead(&self) -> &[Block] {
        match self.at.checked_sub(self.body.len()) {
            None => &self.body[self.at..],
            Some(at) => &self.tail[at..self.tail_blocks],
        }
    }

    fn is_done(&self) -> bool {
        self.at == self.body.len() + self.tail_blocks
    }

    /// Goes to its end, alone.
    fn run(&mut self) {
        let mut state = self.state;
        while !self.is_done() {
            compress256(&mut state, self.ahead());
            self.at += self.ahead().len();
        }
        self.state = state;
    }

    fn finish(mut self) -> Id {
        self.run();
        id(self.state)
    }
}

/// The last one or two blocks of a string of `bytes` that ends with `rest`.
fn padded(rest: &[u8], bytes: u64) -> ([Block; 2], usize) {
    let mut tail = [[0; size_of::<Block>()]; 2];
    let flat = tail.as_flattened_mut();
    flat[..rest.len()].copy_from_slice(rest);
    flat[rest.len()] = 0x80;
    let blocks = if rest.len() < size_of::<Block>() - size_of::<u64>() { 1 } else { 2 };
    let end = blocks * size_of::<Block>();
    flat[end - size_of::<u64>()..end].copy_from_slice(&(bytes * 8).to_be_bytes());
    (tail, blocks)
}

fn id(state: State) -> Id {
    let mut bytes = [0; Id::BYTES];
    for (four, word) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *four = word.to_be_bytes();
    }
    Id::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Around the borders of blocks and of the padding, and some larger.
    fn blob() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![0..130_usize, 50_usize..70, 110_usize..132, 1000..9000_usize];
        (length, any::<u8>()).prop_map(|(length, salt)| {
            (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(salt)).collect()
        })
    }

    proptest! {
        #[test]
        fn many_at_once_have_the_ids_they_have_alone(blobs in prop::collection::vec(blob(), 0..9)) {
            let slices: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
            let alone: Vec<Id> = blobs.iter().map(|blob| Id::of(blob)).collect();
            prop_assert_eq!(ids(&slices), alone);
        }

        #[test]
        fn a_stream_beside_blobs_loses_no_byte(start in blob(), long in blob(), blobs in prop::collection::vec(blob(), 0..9), together in 1..5_usize) {
            let mut hasher = Hasher::default();
            hasher.update(&start);
            let mut ahead = long.as_slice();
            for some in blobs.chunks(together) {
                let slices: Vec<&[u8]> = some.iter().map(Vec::as_slice).collect();
                let alone: Vec<Id> = some.iter().map(|blob| Id::of(blob)).collect();
                prop_assert_eq!(hasher.update_beside(&mut ahead, &slices), alone);
            }
            hasher.update(ahead);
            prop_assert_eq!(hasher.finish(), Id::of(&[start, long].concat()));
        }
    }

    #[test]
    fn hashes_are_as_published() {
        // FIPS 180-4 examples: "abc", and 56 bytes, which need a second block for their length.
        let long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        let expected = [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ];
        let found: Vec<String> = ids(&[b"abc", long]).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
}
