//! Fingerprints of the keys that the data needs: two of them can be compared, and nothing else can be learnt.

use recoup_core::secret::Secret;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The key of fingerprints, made from the repository password. Without that password a fingerprint
/// cannot be compared with guesses, and the password cannot be had from this key.
pub struct FingerprintKey(Zeroizing<[u8; 32]>);

impl FingerprintKey {
    /// The key that belongs to `password`.
    pub fn new(password: &Secret) -> Self {
        FingerprintKey(Zeroizing::new(hmac(password.expose(), b"recoup fingerprint of keys, 1")))
    }

    /// The key's bytes, for the child that computes fingerprints where the values are.
    pub fn for_children(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The fingerprint of `value` under `name`: 16 hex digits. Equal values under one name and one
    /// repository have equal fingerprints, and nothing else can be learnt from them.
    pub fn fingerprint(&self, name: &str, value: &[u8]) -> String {
        let mut text = Zeroizing::new(name.as_bytes().to_vec());
        text.push(0);
        text.extend_from_slice(value);
        hex::encode(&hmac(self.0.as_slice(), &text)[..8])
    }
}

/// HMAC-SHA-256 (RFC 2104, FIPS 198-1).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = Zeroizing::new([0_u8; BLOCK]);
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| Zeroizing::new(block.map(|byte| byte ^ with));
    let inner = Sha256::new().chain_update(pad(0x36).as_slice()).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c).as_slice()).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let shown = |key: &[u8], text: &[u8]| hex::encode(hmac(key, text));
        assert_eq!(
            shown(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            shown(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn fingerprints_depend_on_password_name_and_value() {
        let key = FingerprintKey::new(&Secret::new(b"pw".to_vec()));
        let other = FingerprintKey::new(&Secret::new(b"pw2".to_vec()));
        assert_eq!(key.fingerprint("A", b"v"), key.fingerprint("A", b"v"));
        assert_eq!(key.fingerprint("A", b"v").len(), 16);
        assert_ne!(key.fingerprint("A", b"v"), key.fingerprint("B", b"v"));
        assert_ne!(key.fingerprint("A", b"v"), other.fingerprint("A", b"v"));
    }
}
