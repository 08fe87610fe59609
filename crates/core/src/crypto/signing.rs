//! The signing key of a host and its public half.
//!
//! Ed25519 keys in OpenSSH's file format, and signatures in OpenSSH's SSHSIG format (PROTOCOL.sshsig), so that
//! `ssh-keygen -Y verify` can check what we sign without us.

use crate::secret::Secret;
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use signature::{Signer as _, Verifier as _};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, Signature, SshSig};
use std::fmt;
use std::str::FromStr;

/// Random bytes that make a key.
pub const SEED_BYTES: usize = 32;
/// Bytes of an Ed25519 signature (RFC 8032).
const SIGNATURE_BYTES: usize = 64;
/// Longest armoured signature that is looked at; ours have about 300 bytes.
const ARMOUR_BYTES_MAX: usize = 4096;

/// The private half. It cannot be printed; its memory is wiped when it goes.
#[derive(Clone)]
pub struct SigningKey(PrivateKey);

/// The public half: who signed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signer([u8; SEED_BYTES]);

impl SigningKey {
    /// The key that `seed` makes. `comment` stands in its file for people.
    ///
    /// # Errors
    /// `Kind::Bug` if the comment does not fit the format.
    pub fn from_seed(seed: &[u8; SEED_BYTES], comment: &str) -> Result<Self> {
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(seed));
        let key = PrivateKey::new(pair, comment);
        key.map(SigningKey).map_err(|e| Error::bug(format!("make a signing key: {e}")))
    }

    /// Reads a private key file of OpenSSH.
    ///
    /// # Errors
    /// `Kind::Config` `E0822` if it is none, is sealed with a passphrase, or is not Ed25519.
    pub fn decode(file: &Secret) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(Kind::Config, format!("read the signing key: {why}"))
                .code("E0822")
                .hint("`ssh-keygen -t ed25519 -N ''` makes one; `recoup keys add signing` does it for you")
        };
        let key = PrivateKey::from_openssh(file.expose())
            .map_err(|_| bad("it is no private key in OpenSSH's format"))?;
        if key.is_encrypted() {
            return Err(bad("it is sealed with a passphrase, and nobody is there to type it"));
        }
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(bad("it is not an Ed25519 key"));
        }
        Ok(SigningKey(key))
    }

    /// The private key file of OpenSSH.
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be written down.
    pub fn encode(&self) -> Result<Secret> {
        let text = self.0.to_openssh(LineEnding::LF);
        let text = text.map_err(|e| Error::bug(format!("write a signing key down: {e}")))?;
        Ok(Secret::new(text.as_bytes().to_vec()))
    }

    /// Its public half.
    pub fn signer(&self) -> Signer {
        // Invariant: only Ed25519 keys get in here.
        Signer(self.0.public_key().key_data().ed25519().map_or([0; SEED_BYTES], |key| key.0))
    }

    /// Signs `message` for one purpose, named by `namespace`: the armoured text that `ssh-keygen -Y verify`
    /// reads.
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be signed.
    pub fn sign(&self, namespace: &str, message: &[u8]) -> Result<String> {
        let failed = |e: ssh_key::Error| Error::bug(format!("sign a record: {e}"));
        let signature = self.0.sign(namespace, HashAlg::Sha512, message).map_err(failed)?;
        signature.to_pem(LineEnding::LF).map_err(failed)
    }

    /// The bare Ed25519 signature of `message` (RFC 8032), as signed notes have it.
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be signed.
    pub fn sign_bare(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES]> {
        let signature = self.0.try_sign(message).map_err(|e| Error::bug(format!("sign a note: {e}")))?;
        signature.as_bytes().try_into().map_err(|e| Error::bug("sign a note").caused_by(e))
    }
}

impl Signer {
    /// Its 32 bytes.
    pub fn bytes(&self) -> &[u8; SEED_BYTES] {
        &self.0
    }

    /// Sixteen hex digits by which it is named in paths: the start of the SHA-256 of its bytes.
    pub fn name(&self) -> String {
        hex::encode(&Sha256::digest(self.0)[..8])
    }

    /// As in `SHA256:47DEQpj8HBSa+…`, which `ssh-keygen -l` prints too.
    pub fn fingerprint(&self) -> String {
        self.data().fingerprint(HashAlg::Sha256).to_string()
    }

    /// Whether `armour` is this signer's signature of `message` for `namespace`.
    ///
    /// # Errors
    /// `Kind::Corrupt` `E0670` if it is not.
    pub fn verify(&self, namespace: &str, message: &[u8], armour: &[u8]) -> Result<()> {
        let bad = |why: &str| Error::new(Kind::Corrupt, format!("check a signature: {why}")).code("E0670");
        if armour.len() > ARMOUR_BYTES_MAX {
            return Err(bad("it is longer than any signature"));
        }
        let signature = SshSig::from_pem(armour).map_err(|_| bad("it is no signature of OpenSSH"))?;
        if *signature.public_key() != self.data() {
            return Err(bad("another key made it"));
        }
        let key = PublicKey::from(self.data());
        key.verify(namespace, message, &signature).map_err(|_| bad("the text is not what was signed"))
    }

    /// Whether `signature` is this signer's bare Ed25519 signature of `message`.
    pub fn verify_bare(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::new(Algorithm::Ed25519, signature.to_vec());
        signature.is_ok_and(|s| self.data().verify(message, &s).is_ok())
    }

    fn data(&self) -> KeyData {
        KeyData::Ed25519(ssh_key::public::Ed25519PublicKey(self.0))
    }
}

impl FromStr for Signer {
    type Err = Error;

    /// A public key as OpenSSH writes it: `ssh-ed25519 AAAA…` and perhaps a comment.
    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(Kind::Config, format!("read a public key: {why}"))
                .code("E0822")
                .hint("write it as in `ssh-ed25519 AAAA… comment`; `recoup keys list` prints it")
        };
        let key = PublicKey::from_openssh(text.trim()).map_err(|_| bad("it is none in OpenSSH's format"))?;
        let key = key.key_data().ed25519().ok_or_else(|| bad("it is not an Ed25519 key"))?;
        Ok(Signer(key.0))
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = PublicKey::from(self.data()).to_openssh().map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.name())
    }
}

impl Serialize for Signer {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signer {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; SEED_BYTES], "recoup shop").unwrap()
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn bare_signatures_are_those_of_rfc_8032() {
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = SigningKey::from_seed(&seed.try_into().unwrap(), "").unwrap();
        assert_eq!(
            hex::encode(key.signer().bytes()),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        let signature = key.sign_bare(&[0x72]).unwrap();
        assert_eq!(
            hex::encode(signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(key.signer().verify_bare(&[0x72], &signature));
        assert!(!key.signer().verify_bare(&[0x73], &signature));
        assert!(!key.signer().verify_bare(&[0x72], &signature[1..]));
    }

    #[test]
    fn a_signature_holds_for_one_text_one_purpose_and_one_key() {
        let armour = key(1).sign("recoup-attest", b"a point").unwrap();
        let verify = |signer: &Signer, namespace, text: &[u8], armour: &str| {
            signer.verify(namespace, text, armour.as_bytes()).map_err(|e| e.stable_code())
        };
        assert_eq!(verify(&key(1).signer(), "recoup-attest", b"a point", &armour), Ok(()));
        let no = Err(Some("E0670"));
        assert_eq!(verify(&key(1).signer(), "recoup-attest", b"another", &armour), no);
        assert_eq!(verify(&key(1).signer(), "recoup-approve", b"a point", &armour), no);
        assert_eq!(verify(&key(2).signer(), "recoup-attest", b"a point", &armour), no);
        assert_eq!(verify(&key(1).signer(), "recoup-attest", b"a point", "-----BEGIN"), no);
        assert_eq!(verify(&key(1).signer(), "recoup-attest", b"a point", &"A".repeat(5000)), no);
    }

    #[test]
    fn keys_go_into_files_and_back() {
        let file = key(3).encode().unwrap();
        assert!(file.expose().starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        assert_eq!(SigningKey::decode(&file).unwrap().signer(), key(3).signer());
        let public = key(3).signer().to_string();
        assert_eq!(format!("{public} somebody").parse::<Signer>().unwrap(), key(3).signer());
        assert!(public.starts_with("ssh-ed25519 AAAA"), "{public}");
        for nonsense in ["", "ssh-ed25519", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDA", "\u{202e}"] {
            assert_eq!(nonsense.parse::<Signer>().unwrap_err().stable_code(), Some("E0822"));
            let file = Secret::new(nonsense.as_bytes().to_vec());
            assert_eq!(SigningKey::decode(&file).err().unwrap().stable_code(), Some("E0822"));
        }
    }
}
