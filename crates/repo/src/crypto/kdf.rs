//! From a password to a key: scrypt with 64 bytes of output (restic design, Keys, Encryption and MAC).

use super::MasterKey;
use crate::limits::Limits;
use recoup_core::secret::Secret;
use recoup_core::units::ByteSize;
use recoup_core::{Error, Kind, Result};
use zeroize::Zeroizing;

/// What scrypt costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// CPU and memory cost, a power of two above 1.
    pub n: u64,
    /// Block size.
    pub r: u32,
    /// Lanes.
    pub p: u32,
}

impl Cost {
    /// For a password of 256 random bits: guessing is hopeless at any cost, so none is spent.
    pub const GENERATED: Cost = Cost { n: 1 << 10, r: 8, p: 1 };
    /// For a password that somebody thought up: 128 MiB and about half a second a guess.
    pub const HUMAN: Cost = Cost { n: 1 << 17, r: 8, p: 1 };

    /// Memory of one derivation.
    pub fn memory_bytes(self) -> u64 {
        let block = u64::from(self.r).saturating_mul(128);
        block.saturating_mul(self.n).saturating_add(block.saturating_mul(u64::from(self.p)))
    }

    /// Bytes that one derivation mixes.
    pub fn work_bytes(self) -> u64 {
        u64::from(self.r).saturating_mul(128).saturating_mul(self.n).saturating_mul(u64::from(self.p))
    }
}

/// Derives the key that seals the master key.
///
/// # Errors
/// `Kind::Corrupt` for parameters that scrypt does not know or a salt that is not 64 bytes;
/// `Kind::Refused` for parameters that cost more than `limits` allow (fault row 158).
pub fn derive(password: &Secret, salt: &[u8], cost: Cost, limits: &Limits) -> Result<MasterKey> {
    let corrupt = |why: &str| Error::new(Kind::Corrupt, format!("read a key file: {why}")).code("E0414");
    if salt.len() != 64 {
        return Err(corrupt("the salt is not 64 bytes long"));
    }
    if !cost.n.is_power_of_two()
        || cost.n < 2
        || cost.r == 0
        || cost.p == 0
        || u64::from(cost.r) * u64::from(cost.p) >= 1 << 30
    {
        return Err(corrupt("scrypt does not know such parameters"));
    }
    refuse_bombs(cost, limits)?;
    let log_n = u8::try_from(cost.n.trailing_zeros()).map_err(|_| corrupt("N is too large"))?;
    let params = scrypt::Params::new(log_n, cost.r, cost.p)
        .map_err(|_| corrupt("scrypt does not know such parameters"))?;
    let mut out = Zeroizing::new([0; 64]);
    scrypt::scrypt(password.expose(), salt, &params, &mut *out).map_err(|_| corrupt("scrypt refused"))?;
    Ok(MasterKey::from_bytes(&out))
}

fn refuse_bombs(cost: Cost, limits: &Limits) -> Result<()> {
    let over = |what: &str, needed: u64, allowed: u64| {
        Error::new(
            Kind::Refused,
            format!(
                "derive a key: it needs {} of {what}, {} are allowed",
                ByteSize(needed),
                ByteSize(allowed)
            ),
        )
        .with("N", cost.n)
        .with("r", cost.r)
        .with("p", cost.p)
        .code("E0415")
    };
    if cost.memory_bytes() > limits.scrypt_memory_bytes_max {
        return Err(over("memory", cost.memory_bytes(), limits.scrypt_memory_bytes_max));
    }
    if cost.work_bytes() > limits.scrypt_work_bytes_max {
        return Err(over("mixing", cost.work_bytes(), limits.scrypt_work_bytes_max));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7914, section 12, needs another salt length; the primitive is checked with it directly.
    #[test]
    fn scrypt_as_published() {
        let mut out = [0; 64];
        scrypt::scrypt(b"password", b"NaCl", &scrypt::Params::new(10, 8, 16).unwrap(), &mut out).unwrap();
        assert!(
            hex::encode(out).starts_with("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162")
        );
    }

    #[test]
    fn row_158_bombs_are_refused_before_memory_is_taken() {
        let limits = Limits::default();
        let derive = |n, r, p, salt: &[u8]| {
            derive(&Secret::new(b"pw".to_vec()), salt, Cost { n, r, p }, &limits).map(|_| ()).unwrap_err()
        };
        for (n, r, p) in [(1 << 30, 8, 1), (1 << 62, 8, 1), (2, 1 << 29, 1), (1 << 15, 8, 1 << 20)] {
            let err = derive(n, r, p, &[1; 64]);
            assert_eq!(err.kind(), Kind::Refused, "{err}");
            assert!(err.to_string().contains("allowed"), "{err}");
        }
        for (n, r, p) in [(0, 8, 1), (1, 8, 1), (3, 8, 1), (16, 0, 1), (16, 8, 0), (16, u32::MAX, u32::MAX)] {
            assert_eq!(derive(n, r, p, &[1; 64]).kind(), Kind::Corrupt);
        }
        assert_eq!(derive(16, 8, 1, &[1; 32]).kind(), Kind::Corrupt);
    }
}
