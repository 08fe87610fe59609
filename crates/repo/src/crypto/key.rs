//! The master key and the two operations it has.

use aes::cipher::{Block, BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use recoup_core::env::Env;
use recoup_core::{Error, Kind, Result};
use serde::Deserialize;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const IV_BYTES: usize = 16;
const MAC_BYTES: usize = 16;

/// What sealing adds to a plaintext.
pub const OVERHEAD_BYTES: usize = IV_BYTES + MAC_BYTES;

/// A key for sealing and opening. It cannot be printed or serialized by accident, and is wiped
/// when it goes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
}

impl MasterKey {
    /// A fresh key.
    pub fn random(env: &Env) -> Self {
        let bytes = Zeroizing::new(env.random::<64>());
        Self::from_bytes(&bytes)
    }

    /// Splits derived or random bytes as restic does: encryption key, MAC k, MAC r.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut key = MasterKey { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        key.encrypt.copy_from_slice(&bytes[..32]);
        key.mac_k.copy_from_slice(&bytes[32..48]);
        key.mac_r.copy_from_slice(&bytes[48..]);
        key
    }

    /// Appends `plain`, sealed under a fresh IV, to `out`.
    pub fn seal_into(&self, env: &Env, plain: &[u8], out: &mut Vec<u8>) {
        self.seal_with(fresh_iv(env), plain, out);
    }

    /// `plain`, sealed under a fresh IV.
    pub fn seal(&self, env: &Env, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
        self.seal_into(env, plain, &mut out);
        out
    }

    fn seal_with(&self, iv: [u8; IV_BYTES], plain: &[u8], out: &mut Vec<u8>) {
        out.reserve(plain.len() + OVERHEAD_BYTES);
        out.extend_from_slice(&iv);
        let start = out.len();
        out.extend_from_slice(plain);
        self.apply(&iv, &mut out[start..]);
        let mac = self.mac(&iv, &out[start..]);
        out.extend_from_slice(&mac);
    }

    /// Checks and decrypts `sealed` where it lies and gives the plaintext.
    ///
    /// # Errors
    /// `Kind::Corrupt` if the bytes were not sealed with this key, or changed since.
    pub fn open_in_place<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8]> {
        let corrupt = |why| Error::new(Kind::Corrupt, format!("open sealed bytes: {why}")).code("E0413");
        if self.is_weak() {
            return Err(corrupt("the key is all zero"));
        }
        let Some((iv, rest)) = sealed.split_first_chunk_mut::<IV_BYTES>() else {
            return Err(corrupt("they are too short"));
        };
        let Some((body, mac)) = rest.split_last_chunk_mut::<MAC_BYTES>() else {
            return Err(corrupt("they are too short"));
        };
        if *iv == [0; IV_BYTES] {
            return Err(corrupt("the IV is all zero"));
        }
        if !bool::from(self.mac(iv, body).ct_eq(&*mac)) {
            return Err(corrupt("the seal is broken"));
        }
        self.apply(iv, body);
        Ok(body)
    }

    /// Checks the seal of `sealed` and decrypts nothing.
    ///
    /// # Errors
    /// `Kind::Corrupt` if the bytes were not sealed with this key, or changed since.
    pub fn check(&self, sealed: &[u8]) -> Result<()> {
        let corrupt = |why| Error::new(Kind::Corrupt, format!("check sealed bytes: {why}")).code("E0413");
        let Some((iv, rest)) = sealed.split_first_chunk::<IV_BYTES>() else {
            return Err(corrupt("they are too short"));
        };
        let Some((body, mac)) = rest.split_last_chunk::<MAC_BYTES>() else {
            return Err(corrupt("they are too short"));
        };
        if self.is_weak() || *iv == [0; IV_BYTES] || !bool::from(self.mac(iv, body).ct_eq(mac)) {
            return Err(corrupt("the seal is broken"));
        }
        Ok(())
    }

    /// Like [`MasterKey::open_in_place`], into a vector.
    ///
    /// # Errors
    /// `Kind::Corrupt` if the bytes were not sealed with this key, or changed since.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>> {
        let mut copy = sealed.to_vec();
        let plain = self.open_in_place(&mut copy)?.len();
        copy.copy_within(IV_BYTES..IV_BYTES + plain, 0);
        copy.truncate(plain);
        Ok(copy)
    }

    /// The key as the JSON that key files seal.
    pub(crate) fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let text = |bytes: &[u8]| Zeroizing::new(STANDARD.encode(bytes));
        let (k, r, e) = (text(&self.mac_k), text(&self.mac_r), text(&self.encrypt));
        let json = format!(r#"{{"mac":{{"k":"{}","r":"{}"}},"encrypt":"{}"}}"#, *k, *r, *e);
        Zeroizing::new(json.into_bytes())
    }

    /// Reads what [`MasterKey::to_json`] writes.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is not a key, or a zero key.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self> {
        let corrupt = || Error::new(Kind::Corrupt, "read the master key inside a key file").code("E0414");
        let raw: RawKey = serde_json::from_slice(json).map_err(|_| corrupt())?;
        let mut bytes = Zeroizing::new([0; 64]);
        for (range, text) in [(0..32, &raw.encrypt), (32..48, &raw.mac.k), (48..64, &raw.mac.r)] {
            let part = Zeroizing::new(STANDARD.decode(text.0.as_bytes()).map_err(|_| corrupt())?);
            if part.len() != range.len() {
                return Err(corrupt());
            }
            bytes[range].copy_from_slice(&part);
        }
        let key = Self::from_bytes(&bytes);
        if key.is_weak() { Err(corrupt()) } else { Ok(key) }
    }

    /// Whether both are one key; takes the same time whatever they are.
    pub fn is_same(&self, other: &MasterKey) -> bool {
        let same = self.encrypt.ct_eq(&other.encrypt)
            & self.mac_k.ct_eq(&other.mac_k)
            & self.mac_r.ct_eq(&other.mac_r);
        bool::from(same)
    }

    fn is_weak(&self) -> bool {
        self.encrypt == [0; 32] || self.mac_k == [0; 16] || self.mac_r == [0; 16]
    }

    fn apply(&self, iv: &[u8; IV_BYTES], bytes: &mut [u8]) {
        ctr::Ctr128BE::<aes::Aes256>::new((&self.encrypt).into(), iv.into()).apply_keystream(bytes);
    }

    fn mac(&self, iv: &[u8; IV_BYTES], ciphertext: &[u8]) -> [u8; MAC_BYTES] {
        let mut pad: Block<aes::Aes128> = (*iv).into();
        aes::Aes128::new((&self.mac_k).into()).encrypt_block(&mut pad);
        let mut once = Zeroizing::new([0; 32]);
        once[..16].copy_from_slice(&self.mac_r);
        once[16..].copy_from_slice(&pad);
        Poly1305::new((&*once).into()).compute_unpadded(ciphertext).into()
    }
}

fn fresh_iv(env: &Env) -> [u8; IV_BYTES] {
    let mut iv = env.random();
    while iv == [0; IV_BYTES] {
        iv = env.random();
    }
    iv
}

#[derive(Deserialize)]
struct RawKey {
    mac: RawMac,
    encrypt: Wiped,
}

#[derive(Deserialize)]
struct RawMac {
    k: Wiped,
    r: Wiped,
}

/// A piece of text that is wiped when it goes.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Wiped(Zeroizing<String>);

impl From<String> for Wiped {
    fn from(text: String) -> Self {
        Wiped(Zeroizing::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use recoup_testkit::env::real;

    fn unhex<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// The four examples of D. J. Bernstein, "The Poly1305-AES message-authentication code", appendix B.
    #[test]
    fn poly1305_aes_as_published() {
        let cases = [
            (
                "f3f6",
                "ec074c835580741701425b623235add6",
                "851fc40c3467ac0be05cc20404f3f700",
                "fb447350c4e868c52ac3275cf9d4327e",
                "f4c633c3044fc145f84f335cb81953de",
            ),
            (
                "",
                "75deaa25c09f208e1dc4ce6b5cad3fbf",
                "a0f3080000f46400d0c7e9076c834403",
                "61ee09218d29b0aaed7e154a2c5509cc",
                "dd3fab2251f11ac759f0887129cc2ee7",
            ),
            (
                "663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
                "6acb5f61a7176dd320c5c1eb2edcdc74",
                "48443d0bb0d21109c89a100b5ce2c208",
                "ae212a55399729595dea458bc621ff0e",
                "0ee1c16bb73f0f4fd19881753c01cdbe",
            ),
            (
                "ab0812724a7f1e342742cbed374d94d136c6b8795d45b3819830f2c04491faf0990c62e48b8018b2c3e4a0fa3134cb67fa83e158c994d961c4cb21095c1bf9",
                "e1a5668a4d5b66a5f68cc5424ed5982d",
                "12976a08c4426d0ce8a82407c4f48207",
                "9ae831e743978d3a23527c7128149e3a",
                "5154ad0d2cb26e01274fc51148491f1b",
            ),
        ];
        for (m, k, r, nonce, tag) in cases {
            let key = MasterKey { encrypt: [1; 32], mac_k: unhex(k), mac_r: unhex(r) };
            assert_eq!(key.mac(&unhex(nonce), &hex::decode(m).unwrap()), unhex::<16>(tag), "{m}");
        }
    }

    /// NIST SP 800-38A, F.5.5, CTR-AES256.Encrypt, first two blocks.
    #[test]
    fn counter_mode_as_published() {
        let key = MasterKey {
            encrypt: unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
            mac_k: [1; 16],
            mac_r: [1; 16],
        };
        let mut bytes = unhex::<32>("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        key.apply(&unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"), &mut bytes);
        assert_eq!(hex::encode(bytes), "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5");
    }

    #[test]
    fn zero_keys_and_ivs_are_refused() {
        let env = real();
        let good = MasterKey::random(&env);
        let mut zero_iv = Vec::new();
        good.seal_with([0; 16], b"x", &mut zero_iv);
        assert_eq!(good.open(&zero_iv).unwrap_err().kind(), Kind::Corrupt);
        let weak = MasterKey { encrypt: [0; 32], ..good.clone() };
        assert!(weak.open(&weak.seal(&env, b"x")).is_err());
        assert!(MasterKey::from_json(&weak.to_json()).is_err());
        let again = MasterKey::from_json(&good.to_json()).unwrap();
        assert_eq!(again.open(&good.seal(&env, b"x")).unwrap(), b"x");
    }

    proptest! {
        #[test]
        fn sealed_bytes_open_and_any_flip_or_cut_is_noticed(plain: Vec<u8>, at: usize, bit in 0..8u8) {
            let env = real();
            let key = MasterKey::random(&env);
            let sealed = key.seal(&env, &plain);
            prop_assert_eq!(sealed.len(), plain.len() + OVERHEAD_BYTES);
            prop_assert_eq!(key.open(&sealed).unwrap(), plain);
            let mut flipped = sealed.clone();
            flipped[at % sealed.len()] ^= 1 << bit;
            prop_assert!(key.open(&flipped).is_err());
            prop_assert!(key.open(&sealed[..at % sealed.len()]).is_err());
        }
    }
}
