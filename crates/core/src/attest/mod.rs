//! Signed statements about points, and what a chain of them proves.
//!
//! restic authenticates everything with one secret that every reader has: who can read a repository can forge
//! snapshots in it, and who stores it can put an old state in the place of the new one. An [`Attestation`]
//! says which host made a point, and that none was removed: each one has a number and the hash of the one
//! before it, and is signed with a key that only the host has.
//!
//! [`judge()`] compares the chains found at a location with what this machine knows, and names what is wrong.
//! The documents are canonical JSON, so that one text has one hash; signatures are SSHSIG for the namespace
//! [`NAMESPACE`], so that `ssh-keygen -Y verify` can check them without us.

mod judge;

pub use judge::{Head, Heads, Hold, Judgement, Known, Planned, Stated, Trouble, judge};

use crate::canonical::canonical_json;
use crate::crypto::{Signer, SigningKey};
use crate::event::Outcome;
use crate::{Error, Kind, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What the signatures are for; `ssh-keygen -Y verify -n` wants it.
pub const NAMESPACE: &str = "recoup-attest";
/// Longest document that is read: a chain that begins with 100,000 points of three sources has less.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
const SCHEMA: &str = "recoup/attestation/1";

/// One signed statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// `recoup/attestation/1`.
    pub schema: String,
    /// The application.
    pub application: String,
    /// Full id of the repository.
    pub repository: String,
    /// Who signs: [`Signer::name`].
    pub signer: String,
    /// The machine, for people.
    pub host: String,
    /// Name of the location to which it was written first.
    pub location: String,
    /// Its number in the chain of this signer, from 1.
    pub sequence: u64,
    /// SHA-256 of the document before it, as hex; none for the first.
    pub previous: Option<String>,
    /// When it was made, by the clock of the host.
    pub time: Timestamp,
    /// As in `recoup 0.1.0`.
    pub tool: String,
    /// SHA-256 of the configuration that was in force, as hex.
    pub configuration: Option<String>,
    /// What is stated.
    pub statement: Statement,
}

/// What an attestation states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "states", rename_all = "lowercase", deny_unknown_fields)]
pub enum Statement {
    /// The chain begins. Points that were there before anybody signed are taken over.
    Begin {
        /// The full tree ids of those points, by point and source.
        points: BTreeMap<String, BTreeMap<String, String>>,
    },
    /// A point was made and read back.
    Point(Box<PointStatement>),
    /// A point must not be deleted.
    Hold {
        /// Full id of the point.
        point: String,
        /// Why.
        reason: String,
        /// Who said so.
        by: String,
    },
    /// A hold ended.
    Release {
        /// Full id of the point.
        point: String,
        /// Why.
        reason: String,
        /// Who said so.
        by: String,
    },
    /// Points will be deleted as the policies say, unless somebody undoes it.
    Planned {
        /// Full ids of the points.
        points: Vec<String>,
        /// Hash of the plan.
        plan: String,
        /// The policies it follows, by source, as canonical JSON.
        policies: String,
        /// Not before then.
        due: Timestamp,
        /// Who confirmed it.
        by: String,
    },
    /// A planned deletion will not be done; its points are held from now on.
    Undone {
        /// Hash of the plan.
        plan: String,
        /// Why.
        reason: String,
        /// Who said so.
        by: String,
    },
    /// Points are deleted, as plans that are due say.
    Deletion {
        /// Full ids of the points.
        points: Vec<String>,
        /// Hashes of the plans.
        plans: Vec<String>,
        /// Who does it.
        by: String,
    },
    /// Points are gone that nobody deleted, and somebody looked into it.
    Loss {
        /// Full ids of the points.
        points: Vec<String>,
        /// What was found out.
        reason: String,
        /// Who said so.
        by: String,
    },
}

/// What is stated about a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointStatement {
    /// Full id of the point.
    pub point: String,
    /// The moment it stands for.
    pub time: Timestamp,
    /// How it was captured.
    pub result: Outcome,
    /// Why its capture is suspicious, if it is.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub suspect: Vec<String>,
    /// Its sources, in the order of capture.
    pub sources: Vec<SourceStatement>,
}

/// What is stated about one source of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceStatement {
    /// Its name.
    pub name: String,
    /// Full id of its snapshot.
    pub snapshot: String,
    /// Full id of the tree of that snapshot.
    pub tree: String,
    /// Content in bytes.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Where in its history it stood, if it has one.
    pub position: Option<Value>,
}

/// An attestation with the text that is hashed and the signature of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// What it says.
    pub attestation: Attestation,
    /// The canonical text.
    pub text: String,
    /// The armoured signature of the text; empty if it was checked before and is not at hand.
    pub signature: String,
}

impl Attestation {
    /// The schema that this version writes.
    pub fn schema() -> String {
        SCHEMA.to_owned()
    }

    /// Signs it.
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be written down or signed, or names another signer than `key`.
    pub fn seal(self, key: &SigningKey) -> Result<Sealed> {
        if self.signer != key.signer().name() {
            return Err(Error::bug("sign an attestation that names another signer"));
        }
        let text = self.text()?;
        let signature = key.sign(NAMESPACE, text.as_bytes())?;
        Ok(Sealed { attestation: self, text, signature })
    }

    fn text(&self) -> Result<String> {
        let value = serde_json::to_value(self);
        value.map(|v| canonical_json(&v)).map_err(|e| Error::bug("write an attestation").caused_by(e))
    }
}

impl Sealed {
    /// Reads a document that `signer` signed. Not a byte of it is looked at before its signature was checked.
    ///
    /// # Errors
    /// `Kind::Corrupt` `E0670` if it is none, is not signed by `signer`, or is not written canonically;
    /// `Kind::Unsupported` `E0671` if a newer recoup wrote it.
    pub fn open(text: &[u8], signature: &[u8], signer: &Signer) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::Corrupt, format!("read an attestation: {why}")).code("E0670");
        signer.verify(NAMESPACE, text, signature)?;
        let value: Value = serde_json::from_slice(text).map_err(|_| bad("it is no JSON"))?;
        if value["schema"] != SCHEMA {
            return Err(Error::new(
                Kind::Unsupported,
                "read an attestation: another version of recoup wrote it",
            )
            .code("E0671"));
        }
        let attestation: Attestation =
            serde_json::from_value(value).map_err(|e| bad("a field is wrong").caused_by(e))?;
        if attestation.signer != signer.name() {
            return Err(bad("it names another signer than the one who signed it"));
        }
        let canonical = attestation.text()?;
        if canonical.as_bytes() != text {
            return Err(bad("it is not written canonically"));
        }
        let signature = String::from_utf8(signature.to_vec()).map_err(|_| bad("the signature is no text"))?;
        Ok(Sealed { attestation, text: canonical, signature })
    }

    /// SHA-256 of the text, as hex: what the next one names.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.text.as_bytes()))
    }

    /// Takes a copy that was opened before from where only this machine writes; the signature is not checked
    /// again, since that takes longer than everything else.
    ///
    /// # Errors
    /// `Kind::Corrupt` `E0670` if it is none.
    pub fn of_copy(text: &[u8]) -> Result<Self> {
        let bad = || Error::new(Kind::Corrupt, "read a copy of an attestation").code("E0670");
        let attestation = serde_json::from_slice(text).map_err(|e| bad().caused_by(e))?;
        let text = String::from_utf8(text.to_vec()).map_err(|e| bad().caused_by(e))?;
        Ok(Sealed { attestation, text, signature: String::new() })
    }

    /// Its place in the chain.
    pub fn head(&self) -> Head {
        Head { sequence: self.attestation.sequence, hash: self.hash(), time: self.attestation.time }
    }
}

impl PointStatement {
    /// The trees by source.
    pub fn trees(&self) -> BTreeMap<String, String> {
        self.sources.iter().map(|s| (s.name.clone(), s.tree.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
