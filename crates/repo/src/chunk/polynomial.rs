//! The polynomial of a repository: 53 random bits that decide where its files are cut. It is secret,
//! because cut points known in advance would tell which files a repository holds.

use recoup_core::env::Env;
use recoup_core::{Error, Result};

/// The one degree that restic accepts: the largest prime that leaves a byte of room in 64 bits.
const DEGREE: u32 = 53;

/// A random irreducible polynomial of degree 53 over GF(2). About one candidate in 27 is irreducible
/// (Rabin, Fingerprinting by Random Polynomials, 1981).
///
/// # Errors
/// `Kind::Bug` if the source of randomness repeats itself.
pub fn random_polynomial(env: &Env) -> Result<u64> {
    const TRIES_MAX: usize = 100_000;
    for _ in 0..TRIES_MAX {
        let bits = u64::from_le_bytes(env.random()) & ((1 << (DEGREE + 1)) - 1);
        let candidate = bits | (1 << DEGREE) | 1;
        if is_irreducible(candidate) {
            return Ok(candidate);
        }
    }
    Err(Error::bug("find a random chunker polynomial"))
}

/// Whether `p` has degree 53 and no factor but itself and 1 (Ben-Or's test: `p` shares no factor with
/// `x^(2^i) - x` for any `i` up to half its degree).
pub fn is_irreducible(p: u64) -> bool {
    if degree(p) != Some(DEGREE) {
        return false;
    }
    let mut power = 0b10; // x
    for _ in 0..DEGREE / 2 {
        power = square_modulo(power, p);
        if gcd(power ^ 0b10, p) != 1 {
            return false;
        }
    }
    true
}

fn degree(p: u64) -> Option<u32> {
    p.checked_ilog2()
}

fn modulo(mut value: u64, by: u64) -> u64 {
    let Some(top) = degree(by) else { return 0 };
    while let Some(d) = degree(value).filter(|d| *d >= top) {
        value ^= by << (d - top);
    }
    value
}

/// `value * value mod p`; both have degree 53 at most, so that a shift by one never overflows.
fn square_modulo(value: u64, p: u64) -> u64 {
    let mut out = 0;
    for bit in (0..=DEGREE).rev() {
        out = modulo(out << 1, p);
        if value >> bit & 1 == 1 {
            out ^= value;
        }
    }
    modulo(out, p)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, modulo(a, b));
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_polynomials_are_told_apart() {
        // The first stands in restic's own tests and in the documentation of its chunker.
        assert!(is_irreducible(0x003D_A335_8B4D_C173));
        assert!(!is_irreducible(0x003D_A335_8B4D_C172), "divisible by x");
        assert!(!is_irreducible(0b111), "wrong degree");
        assert!(!is_irreducible(0));
    }

    /// Divides by every polynomial of a small degree: finds small factors only.
    fn trial_division(p: u64) -> bool {
        (2..1 << 16).all(|q| modulo(p, q) != 0)
    }

    #[test]
    fn random_ones_are_irreducible_and_differ() {
        let (env, _) = recoup_testkit::env::scripted("2026-01-01T00:00:00Z", 7);
        let first = random_polynomial(&env).unwrap();
        let second = random_polynomial(&env).unwrap();
        assert_ne!(first, second);
        for p in [first, second] {
            assert_eq!(p.ilog2(), 53);
            assert!(trial_division(p), "{p:#x} has a small factor");
        }
    }
}
