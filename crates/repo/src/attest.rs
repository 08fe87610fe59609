//! Attestations beside the repository, under the prefix `recoup/attest/`.
//!
//! ```text
//! recoup/attest/<signer>/<number, ten digits>-<first 16 digits of the SHA-256>.json    what is stated
//! recoup/attest/<signer>/<number, ten digits>-<first 16 digits of the SHA-256>.sig     its signature
//! ```
//!
//! restic does not look there. The signature is put first: what is stated counts once both are there. Names
//! say enough to know a statement that was read before without reading it again.

use bytes::Bytes;
use futures_util::TryStreamExt;
use recoup_core::attest::{DOCUMENT_BYTES_MAX, Sealed};
use recoup_core::crypto::Signer;
use recoup_core::{Error, Kind, Result};
use recoup_store::{Key, Put, Store};
use std::collections::{BTreeMap, BTreeSet};

/// The folder of all attestations.
pub const PREFIX: &str = "recoup/attest";
const DIGITS: usize = 10;
const HASH_DIGITS: usize = 16;
/// Statements that are listed; one every five minutes for nine years has fewer.
const NAMES_MAX: usize = 1_000_000;

/// The name of a statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Who signs.
    pub signer: String,
    /// Its number.
    pub sequence: u64,
    /// The first 16 digits of its hash.
    pub hash: String,
}

/// What stands under the prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Statements of which document and signature are there, with the length of the document in bytes.
    pub names: Vec<(Name, u64)>,
    /// Documents without a signature, by their object.
    pub unsigned: Vec<String>,
}

impl Name {
    /// The name of `sealed`.
    pub fn of(sealed: &Sealed) -> Self {
        let hash = sealed.hash();
        Name {
            signer: sealed.attestation.signer.clone(),
            sequence: sealed.attestation.sequence,
            hash: hash[..HASH_DIGITS].to_owned(),
        }
    }

    fn parse(object: &str) -> Option<(Self, &str)> {
        let (signer, file) = object.strip_prefix(PREFIX)?.strip_prefix('/')?.split_once('/')?;
        let (stem, kind) = file.split_once('.')?;
        let (number, hash) = stem.split_once('-')?;
        let lower = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_hex = |text: &str| text.len() == HASH_DIGITS && lower(text);
        let sequence = number.parse().ok().filter(|_| number.len() == DIGITS)?;
        let whole = is_hex(signer) && is_hex(hash) && matches!(kind, "json" | "sig");
        whole.then(|| (Name { signer: signer.to_owned(), sequence, hash: hash.to_owned() }, kind))
    }

    /// The object that holds the document, or with `sig` its signature.
    ///
    /// # Errors
    /// `Kind::Config` if it is no valid name, which names from a listing are.
    pub fn object(&self, kind: &str) -> Result<Key> {
        Key::new(format!("{PREFIX}/{}/{:0DIGITS$}-{}.{kind}", self.signer, self.sequence, self.hash))
    }
}

/// Lists the statements at a location. What has no name of ours is left alone.
///
/// # Errors
/// As the store says; `Kind::Refused` if there are more than any application makes.
pub async fn list(store: &dyn Store) -> Result<Found> {
    let mut halves: BTreeMap<Name, (Option<u64>, bool)> = BTreeMap::new();
    let mut listing = store.list(PREFIX);
    while let Some(meta) = listing.try_next().await? {
        if let Some((name, kind)) = Name::parse(meta.key.as_str()) {
            let (document, signature) = halves.entry(name).or_default();
            match kind {
                "json" => *document = Some(meta.size),
                _ => *signature = true,
            }
        }
        if halves.len() > NAMES_MAX {
            return Err(Error::new(Kind::Refused, "list the attestations: there are too many")
                .with("location", store.location())
                .code("E0670"));
        }
    }
    let mut found = Found::default();
    for (name, (document, signature)) in halves {
        match (document, signature) {
            (Some(bytes), true) => found.names.push((name, bytes)),
            // A signature without its document is what a killed run leaves.
            (None, _) => {}
            (Some(_), false) => found.unsigned.push(name.object("json")?.to_string()),
        }
    }
    Ok(found)
}

/// Reads one statement. Its signature must be of one of the `trusted`.
///
/// # Errors
/// As the store says; `Kind::Corrupt` `E0670` if it is not what its name says, or nobody trusted signed it.
pub async fn read(store: &dyn Store, name: &Name, trusted: &[Signer]) -> Result<Sealed> {
    let document = name.object("json")?;
    let whole = |e: Error| e.with("object", &document).with("location", store.location());
    let bytes = small(store, &document).await.map_err(whole)?;
    let signature = small(store, &name.object("sig")?).await.map_err(whole)?;
    let signer = trusted.iter().find(|signer| signer.name() == name.signer).ok_or_else(|| {
        whole(Error::new(Kind::Corrupt, "read an attestation: its signer is not trusted here").code("E0670"))
    })?;
    let sealed = Sealed::open(&bytes, &signature, signer).map_err(whole)?;
    if Name::of(&sealed) != *name {
        let error = Error::new(Kind::Corrupt, "read an attestation: it is not what its name says");
        return Err(whole(error.code("E0670")));
    }
    Ok(sealed)
}

async fn small(store: &dyn Store, key: &Key) -> Result<Bytes> {
    let absent = || Error::new(Kind::NotFound, "read an attestation: it is not there").code("E0670");
    let size = store.head(key).await?.ok_or_else(absent)?.size;
    if size > DOCUMENT_BYTES_MAX {
        return Err(Error::new(Kind::Refused, "read an attestation: it is longer than any").code("E0670"));
    }
    store.get(key, None).await
}

/// Puts a statement durably: first its signature, then what is stated. One that is there already is kept, and
/// something else under its name is damage, and gives way.
///
/// # Errors
/// As the store says; `Kind::Unavailable` `E0474` if it is not there afterwards.
pub async fn put(store: &dyn Store, sealed: &Sealed) -> Result<()> {
    let name = Name::of(sealed);
    for (kind, text) in [("sig", &sealed.signature), ("json", &sealed.text)] {
        let key = name.object(kind)?;
        let bytes = Bytes::from(text.clone());
        match store.put(&key, bytes.clone(), Put::Create).await {
            Err(e) if e.kind() == Kind::Exists => {
                if store.get(&key, None).await.is_ok_and(|there| there == bytes) {
                    continue;
                }
                store.put(&key, bytes, Put::Replace).await?;
            }
            other => other?,
        }
        let back = store.get(&key, None).await?;
        if back != text.as_bytes() {
            return Err(Error::new(Kind::Unavailable, "store an attestation: afterwards it is another")
                .with("object", &key)
                .with("location", store.location())
                .code("E0474"));
        }
    }
    Ok(())
}

/// Copies the statements that `to` lacks, as they are. Gives their number.
///
/// # Errors
/// As either location says.
pub async fn copy(from: &dyn Store, to: &dyn Store) -> Result<u64> {
    let there: BTreeSet<Name> = list(to).await?.names.into_iter().map(|(name, _)| name).collect();
    let mut copied = 0;
    for (name, _) in list(from).await?.names.into_iter().filter(|(name, _)| !there.contains(name)) {
        for kind in ["sig", "json"] {
            let key = name.object(kind)?;
            to.put(&key, small(from, &key).await?, Put::Replace).await?;
        }
        copied += 1;
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_strays_are_none() {
        let name = Name { signer: "00ff00ff00ff00ff".into(), sequence: 42, hash: "0123456789abcdef".into() };
        let object = name.object("json").unwrap();
        assert_eq!(object.as_str(), "recoup/attest/00ff00ff00ff00ff/0000000042-0123456789abcdef.json");
        assert_eq!(Name::parse(object.as_str()), Some((name.clone(), "json")));
        let sig = name.object("sig").unwrap();
        assert_eq!(Name::parse(sig.as_str()), Some((name, "sig")));
        for stray in [
            "recoup/attest/00ff00ff00ff00ff/42-0123456789abcdef.json",
            "recoup/attest/00FF00ff00ff00ff/0000000042-0123456789abcdef.json",
            "recoup/attest/00ff00ff00ff00ff/0000000042-0123456789abcdef.txt",
            "recoup/attest/00ff00ff00ff00ff/0000000042.json",
            "recoup/attest/0000000042-0123456789abcdef.json",
            "recoup/elsewhere/00ff00ff00ff00ff/0000000042-0123456789abcdef.json",
        ] {
            assert_eq!(Name::parse(stray), None, "{stray}");
        }
    }
}
