//! Symbols that people copy by hand without mistaking one for another: Crockford's base 32, which has no
//! I, L, O and U; and check symbols that tell where a mistake is. It knows nothing of what is written with them.

use zeroize::Zeroizing;

/// The symbols by their values.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Check symbols of a line.
pub(super) const CHECKS: usize = 3;

/// The longest word that check symbols speak for: one less than the field has members.
pub(super) const WORD_MAX: usize = 31;

/// The value of a symbol. I and L are read as 1, O as 0, small letters as large ones.
pub(super) fn value(symbol: char) -> Option<u8> {
    let symbol = match symbol.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    ALPHABET.iter().zip(0_u8..).find(|(a, _)| char::from(**a) == symbol).map(|(_, value)| value)
}

/// Values as symbols.
pub(super) fn text(values: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(values.iter().map(|v| char::from(ALPHABET[usize::from(v & 31)])).collect())
}

/// Bytes as values of five bits; the last value is filled up with zeros.
pub(super) fn from_bytes(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut values = Zeroizing::new(Vec::with_capacity(bytes.len() * 8 / 5 + 1));
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            values.push(((held >> bits) & 31) as u8);
        }
        held &= 31;
    }
    if bits > 0 {
        values.push(((held << (5 - bits)) & 31) as u8);
    }
    values
}

/// The bytes that `values` stand for; `None` if what fills up the last value is not zero, or is a whole value.
pub(super) fn to_bytes(values: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(values.len() * 5 / 8));
    let (mut held, mut bits) = (0_u32, 0_u32);
    for value in values {
        held = (held << 5) | u32::from(*value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    (held == 0 && bits < 5).then_some(bytes)
}

/// Powers of the element 2 of the field of 32 members (x^5 + x^2 + 1), twice, so that sums of two
/// logarithms need no remainder.
const POWERS: [u8; 62] = {
    let mut powers = [1_u8; 62];
    let mut at = 1;
    while at < 62 {
        let doubled = powers[at - 1] << 1;
        powers[at] = if doubled & 32 != 0 { doubled ^ 0b10_0101 } else { doubled };
        at += 1;
    }
    powers
};

const LOGARITHMS: [u8; 32] = {
    let mut logarithms = [0_u8; 32];
    let mut at = 0;
    while at < 31 {
        logarithms[POWERS[at] as usize] = at as u8;
        at += 1;
    }
    logarithms
};

fn times(a: u8, b: u8) -> u8 {
    match (a, b) {
        (0, _) | (_, 0) => 0,
        _ => POWERS[usize::from(LOGARITHMS[usize::from(a)]) + usize::from(LOGARITHMS[usize::from(b)])],
    }
}

/// The check symbols of a word: a Reed-Solomon code whose words differ in four places at least. One wrong
/// symbol is found and its place is known; two wrong ones, as two that are swapped, are found.
pub(super) fn checks(word: &[u8]) -> [u8; CHECKS] {
    // (x + 1)(x + 2)(x + 4), without its first coefficient.
    const GENERATOR: [u8; CHECKS] = [7, 14, 8];
    let mut rest = [0_u8; CHECKS];
    for value in word {
        let factor = value ^ rest[0];
        rest = [
            rest[1] ^ times(factor, GENERATOR[0]),
            rest[2] ^ times(factor, GENERATOR[1]),
            times(factor, GENERATOR[2]),
        ];
    }
    rest
}

/// What the check symbols of a word say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as it was written.
    Whole,
    /// The symbol at this place is wrong.
    One(usize),
    /// The symbols at this place and the next are swapped.
    Swapped(usize),
    /// Several are wrong.
    Several,
}

/// Judges a word that ends in its check symbols.
pub(super) fn judge(word: &[u8]) -> Verdict {
    let found = syndromes(word);
    if found == [0; CHECKS] {
        return Verdict::Whole;
    }
    if let Some(place) = single(found, word.len()) {
        return Verdict::One(place);
    }
    let mut tried = Zeroizing::new(word.to_vec());
    for at in 1..word.len() {
        tried.swap(at - 1, at);
        if syndromes(&tried) == [0; CHECKS] {
            return Verdict::Swapped(at - 1);
        }
        tried.swap(at - 1, at);
    }
    Verdict::Several
}

/// The word as a polynomial, at 1, 2 and 4.
fn syndromes(word: &[u8]) -> [u8; CHECKS] {
    [1, 2, 4].map(|at| word.iter().fold(0, |sum, value| times(sum, at) ^ value))
}

/// The place where one wrong symbol explains the syndromes.
fn single(found: [u8; CHECKS], length: usize) -> Option<usize> {
    let [first, second, third] = found;
    if found.contains(&0) || times(second, second) != times(first, third) {
        return None;
    }
    let log = |value: u8| usize::from(LOGARITHMS[usize::from(value)]);
    let from_the_end = (log(second) + WORD_MAX - log(first)) % WORD_MAX;
    length.checked_sub(from_the_end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_generator_is_the_product_of_its_roots() {
        // (x + 1)(x + 2) = x^2 + 3x + 2; times (x + 4).
        let [a, b] = [3, 2];
        assert_eq!([a ^ 4, b ^ times(a, 4), times(b, 4)], [7, 14, 8]);
        assert!((1..32).all(|v| times(v, POWERS[usize::from(31 - LOGARITHMS[usize::from(v)]) % 31]) == 1));
    }

    #[test]
    fn letters_that_look_alike_are_read_alike() {
        assert_eq!(
            "0OoQ1IilL".chars().map(value).collect::<Vec<_>>()[..4],
            [Some(0), Some(0), Some(0), Some(23)]
        );
        assert!("1IilL".chars().all(|c| value(c) == Some(1)));
        assert!("U!- é".chars().all(|c| value(c).is_none()));
    }

    proptest! {
        #[test]
        fn bytes_go_there_and_back(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let values = from_bytes(&bytes);
            let back = to_bytes(&values).unwrap();
            prop_assert_eq!(back.as_slice(), bytes.as_slice());
            let read: Option<Vec<u8>> = text(&values).chars().map(value).collect();
            prop_assert_eq!(read.as_deref(), Some(values.as_slice()));
        }

        #[test]
        fn one_wrong_symbol_and_two_swapped_ones_are_named(
            data in proptest::collection::vec(0_u8..32, 1..28), place: usize, other in 1_u8..32,
        ) {
            let mut word = data.clone();
            word.extend(checks(&data));
            prop_assert_eq!(judge(&word), Verdict::Whole);
            let place = place % word.len();
            let mut wrong = word.clone();
            wrong[place] ^= other;
            prop_assert_eq!(judge(&wrong), Verdict::One(place));
            if place + 1 < word.len() && word[place] != word[place + 1] {
                word.swap(place, place + 1);
                prop_assert_eq!(judge(&word), Verdict::Swapped(place));
            }
        }
    }
}
