//! Shamir's secret sharing, by a crate of its own: so many shares give a secret, fewer give nothing. It
//! never prints or keeps a share.

use blahaj::{Share, Sharks};
use rand::{TryCryptoRng, TryRng};
use recoup_core::env::Env;
use recoup_core::secret::Secret;
use std::convert::Infallible;
use zeroize::Zeroizing;

/// Splits `secret` into `of` shares, any `needed` of which give it back, each with its number from 1.
pub(super) fn split(secret: &Secret, needed: u8, of: u8, env: &Env) -> Vec<(u8, Secret)> {
    let mut random = Random(env);
    let shares = Sharks(needed).dealer_rng(secret.expose(), &mut random);
    let bytes = shares.take(usize::from(of)).map(|share| Zeroizing::new(Vec::from(&share)));
    bytes
        .filter_map(|b| b.split_first().map(|(number, rest)| (*number, Secret::new(rest.to_vec()))))
        .collect()
}

/// The secret that shares give. Shares that do not belong together give something else.
///
/// # Errors
/// Why they give nothing.
pub(super) fn combine(shares: &[(u8, &Secret)], needed: u8) -> Result<Secret, &'static str> {
    let mut read = Vec::new();
    for (number, secret) in shares {
        let mut bytes = Zeroizing::new(vec![*number]);
        bytes.extend_from_slice(secret.expose());
        read.push(Share::try_from(bytes.as_slice()).map_err(|_| "one of them is empty")?);
    }
    if read.iter().any(|share| share.y.len() != read[0].y.len()) {
        return Err("they are not equally long");
    }
    Sharks(needed).recover(&read).map(Secret::new).map_err(|_| "they are too few")
}

/// The randomness of the world, for the dealer of shares.
struct Random<'e>(&'e Env);

impl TryRng for Random<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|n| n as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// As many bytes as a key has are asked for at a time, since short requests are not answered by the
    /// operating system itself.
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for piece in out.chunks_mut(32) {
            let random = Zeroizing::new(self.0.random::<32>());
            piece.copy_from_slice(&random[..piece.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Random<'_> {}
