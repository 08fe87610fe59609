//! Two or three SHA-256 computations at once with the SHA instructions of x86-64 (Intel, "Intel SHA
//! Extensions", 2013). This is an adapter: its unsafe code is the call of a function that needs these
//! instructions, made only where they are there, and reads and writes of 16 bytes within slices whose lengths are
//! checked.

use super::{Block, START, State};
use sha2::block_api::compress256;
use std::sync::OnceLock;

/// The instructions are there and have passed their test.
#[derive(Clone, Copy)]
pub(super) struct Lanes(());

impl Lanes {
    /// Whether this machine can; found out and tested once.
    pub(super) fn get() -> Option<Self> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        (*FOUND.get_or_init(|| is_there() && Lanes(()).agrees())).then_some(Lanes(()))
    }

    /// Compares with the plain crate on a few blocks; what does not agree is never used.
    fn agrees(self) -> bool {
        let data: Vec<Block> = (0..6_u8).map(|nr| std::array::from_fn(|at| (at as u8) ^ (nr * 37))).collect();
        let (first, second) = data.split_at(3);
        let wanted = |blocks: &[Block]| {
            let mut state = START;
            compress256(&mut state, blocks);
            state
        };
        let (mut two, mut three) = ([START; 2], [START; 3]);
        self.compress(&mut two, [first, second]);
        self.compress(&mut three, [second, first, first]);
        let (first, second) = (wanted(first), wanted(second));
        two == [first, second] && three == [second, first, first]
    }

    /// Takes the same number of blocks into each state.
    ///
    /// # Panics
    /// If the numbers differ.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn compress<const N: usize>(self, states: &mut [State; N], blocks: [&[Block]; N]) {
        let count = blocks.first().map_or(0, |blocks| blocks.len());
        assert!(blocks.iter().all(|blocks| blocks.len() == count), "lanes of one length");
        // SAFETY: a `Lanes` exists only where `is_there` was true.
        #[allow(unsafe_code, reason = "adapter: the instructions were found")]
        unsafe {
            x86::compress(states, &blocks, count);
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn compress<const N: usize>(self, states: &mut [State; N], blocks: [&[Block]; N]) {
        for (state, blocks) in states.iter_mut().zip(blocks) {
            compress256(state, blocks);
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn is_there() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
}

#[cfg(not(target_arch = "x86_64"))]
fn is_there() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "adapter: loads and stores of vectors")]
mod x86 {
    use super::{Block, State};
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi64x,
        _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
        _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
    };

    /// FIPS 180-4, section 4.2.2, four by four.
    const K: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    /// Steps of four rounds that also make the words of a later step.
    const SCHEDULED: usize = 12;

    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(super) fn compress<const N: usize>(states: &mut [State; N], blocks: &[&[Block]; N], count: usize) {
        let zero = _mm_setzero_si128();
        let (mut abef, mut cdgh) = ([zero; N], [zero; N]);
        for (lane, state) in states.iter().enumerate() {
            (abef[lane], cdgh[lane]) = unpack(state);
        }
        for nr in 0..count {
            let (abef_before, cdgh_before) = (abef, cdgh);
            let mut words = [[zero; 4]; N];
            for (words, blocks) in words.iter_mut().zip(blocks) {
                *words = load(&blocks[nr]);
            }
            rounds(&mut abef, &mut cdgh, &mut words);
            for lane in 0..N {
                abef[lane] = _mm_add_epi32(abef[lane], abef_before[lane]);
                cdgh[lane] = _mm_add_epi32(cdgh[lane], cdgh_before[lane]);
            }
        }
        for (lane, state) in states.iter_mut().enumerate() {
            pack(state, abef[lane], cdgh[lane]);
        }
    }

    /// The 64 rounds, four at a step, each step for all lanes before the next.
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn rounds<const N: usize>(
        abef: &mut [__m128i; N],
        cdgh: &mut [__m128i; N],
        words: &mut [[__m128i; 4]; N],
    ) {
        for (step, k) in K.iter().enumerate() {
            let k = four(k);
            let (now, next) = (step % 4, (step + 1) % 4);
            let (third, last) = ((step + 2) % 4, (step + 3) % 4);
            for lane in 0..N {
                let w = &mut words[lane];
                let sum = _mm_add_epi32(w[now], k);
                cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], sum);
                abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32(sum, 0x0e));
                if step < SCHEDULED {
                    let part = _mm_sha256msg1_epu32(w[now], w[next]);
                    let part = _mm_add_epi32(part, _mm_alignr_epi8(w[last], w[third], 4));
                    w[now] = _mm_sha256msg2_epu32(part, w[last]);
                }
            }
        }
    }

    /// The order in which the instructions want the state.
    #[inline]
    #[target_feature(enable = "sse2,ssse3,sse4.1")]
    fn unpack(state: &State) -> (__m128i, __m128i) {
        let [a, b, c, d, e, f, g, h] = *state;
        (four(&[f, e, b, a]), four(&[h, g, d, c]))
    }

    #[inline]
    #[target_feature(enable = "sse2,ssse3,sse4.1")]
    fn pack(state: &mut State, abef: __m128i, cdgh: __m128i) {
        let (feba, dchg) = (_mm_shuffle_epi32(abef, 0x1b), _mm_shuffle_epi32(cdgh, 0xb1));
        store(&mut state[..4], _mm_blend_epi16(feba, dchg, 0xf0));
        store(&mut state[4..], _mm_alignr_epi8(dchg, feba, 8));
    }

    /// A block as sixteen big-endian words.
    #[inline]
    #[target_feature(enable = "sse2,ssse3")]
    fn load(block: &Block) -> [__m128i; 4] {
        let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let mut words = [_mm_setzero_si128(); 4];
        for (word, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
            // SAFETY: 16 bytes are read from an array of 16.
            *word = _mm_shuffle_epi8(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }, order);
        }
        words
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn four(words: &[u32; 4]) -> __m128i {
        // SAFETY: 16 bytes are read from an array of 16.
        unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn store(words: &mut [u32], value: __m128i) {
        assert!(words.len() == 4, "a vector has four words");
        // SAFETY: 16 bytes are written to a slice of 16.
        unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), value) }
    }
}
