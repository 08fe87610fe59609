//! What this machine remembers of attestations: a copy of each, and how far each location was.
//!
//! Copies lie under `attest/` in the state directory, laid out as at a location. `attest/heads.json` says what
//! was seen where. Both can be lost: the copies come back from a location, and what was seen begins anew, so
//! that a location that is turned back before that is not noticed by this machine.

use crate::session::Session;
use recoup_core::attest::{Heads, Judgement, Sealed, Trouble};
use recoup_core::crypto::Signer;
use recoup_core::{Error, Result};
use recoup_repo::attest::{self, Name};
use recoup_store::Store;
use recoup_store::local::{Local, durable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Longest memory that is read; a location takes about 300 bytes and a signer.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The memory of one application.
pub(super) struct Memory {
    folder: PathBuf,
}

/// Trees by source, by point.
pub(super) type Unsigned = BTreeMap<String, BTreeMap<String, String>>;

/// What was seen at one location.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Full id of the repository.
    pub(super) repository: String,
    /// The newest statement of each signer.
    pub(super) heads: Heads,
    /// Up to which number of each signer every point was there.
    pub(super) held: BTreeMap<String, u64>,
}

impl Memory {
    pub(super) fn of(session: &Session) -> Self {
        Memory { folder: session.state().join("attest") }
    }

    /// The copies of statements about `repository`.
    fn copies_store(&self, repository: &str) -> Result<Local> {
        let folder = self.folder.join(repository.get(..16).unwrap_or(repository));
        durable::create_dir_all(&folder, 0o700)?;
        Ok(Local::new(folder))
    }

    /// All copies that `trusted` signed.
    ///
    /// # Errors
    /// As the file system says. A damaged copy is left out: it is read again from a location.
    pub(super) async fn copies(
        &self,
        repository: &str,
        trusted: &[Signer],
    ) -> Result<BTreeMap<Name, Sealed>> {
        let store = self.copies_store(repository)?;
        let names: Vec<String> = trusted.iter().map(Signer::name).collect();
        let mut copies = BTreeMap::new();
        for (name, _) in attest::list(&store).await?.names {
            if !names.contains(&name.signer) {
                continue;
            }
            let Ok(text) = store.get(&name.object("json")?, None).await else { continue };
            if let Ok(sealed) = Sealed::of_copy(&text)
                && Name::of(&sealed) == name
            {
                copies.insert(name, sealed);
            }
        }
        Ok(copies)
    }

    /// The copy of one statement with its signature.
    pub(super) async fn copy(&self, repository: &str, name: &Name, trusted: &[Signer]) -> Result<Sealed> {
        attest::read(&self.copies_store(repository)?, name, trusted).await
    }

    /// Keeps a copy.
    pub(super) async fn keep(&self, repository: &str, sealed: &Sealed) -> Result<()> {
        let store = self.copies_store(repository)?;
        attest::put(&store, sealed).await
    }

    /// What was seen at the location with this name, if it was the same repository.
    pub(super) fn seen(&self, location: &str, repository: &str) -> Seen {
        let seen = self.read().remove(location).filter(|seen| seen.repository == repository);
        seen.unwrap_or_else(|| Seen { repository: repository.to_owned(), ..Seen::default() })
    }

    /// Notes how far the location is now. What is known of a signer never goes back, and nothing is noted of a
    /// signer whose chain is in trouble: the next look must find that trouble again.
    pub(super) fn note(
        &self,
        location: &str,
        repository: &str,
        judgement: &Judgement,
        is_whole: bool,
    ) -> Result<()> {
        let mut all = self.read();
        let before = all.get(location).filter(|seen| seen.repository == repository).cloned();
        let mut seen = before.clone().unwrap_or_default();
        repository.clone_into(&mut seen.repository);
        for (signer, head) in &judgement.heads {
            let troubled = judgement.troubles.iter().any(|t| names(t, signer));
            let newer = seen.heads.get(signer).is_none_or(|known| known.sequence < head.sequence);
            if newer && !troubled {
                seen.heads.insert(signer.clone(), head.clone());
            }
            let held = seen.held.get(signer).is_some_and(|up_to| *up_to >= head.sequence);
            if is_whole && !troubled && !held {
                seen.held.insert(signer.clone(), head.sequence);
            }
        }
        if before.as_ref() == Some(&seen) {
            return Ok(());
        }
        all.insert(location.to_owned(), seen);
        let text = serde_json::to_vec_pretty(&all)
            .map_err(|e| Error::bug("write down which attestations were seen").caused_by(e))?;
        durable::create_dir_all(&self.folder, 0o700)?;
        durable::write(&self.file(), &text, 0o600)
    }

    /// Points that this machine is making or has made and not signed yet: their trees by source, by point.
    pub(super) fn unsigned(&self, repository: &str) -> Unsigned {
        let text = std::fs::read(self.folder.join("unsigned.json")).unwrap_or_default();
        let mut all: BTreeMap<String, Unsigned> = serde_json::from_slice(&text).unwrap_or_default();
        all.remove(repository).unwrap_or_default()
    }

    /// Notes the points that are not signed yet. Of another repository nothing is kept: it is not in use any more.
    pub(super) fn note_unsigned(&self, repository: &str, unsigned: &Unsigned) -> Result<()> {
        let text = serde_json::to_vec_pretty(&BTreeMap::from([(repository, unsigned)]))
            .map_err(|e| Error::bug("write down which points are not signed").caused_by(e))?;
        durable::create_dir_all(&self.folder, 0o700)?;
        durable::write(&self.folder.join("unsigned.json"), &text, 0o600)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("heads.json")
    }

    fn read(&self) -> BTreeMap<String, Seen> {
        let is_small = std::fs::metadata(self.file()).is_ok_and(|m| m.is_file() && m.len() <= FILE_BYTES_MAX);
        let text = is_small.then(|| std::fs::read(self.file()).ok()).flatten();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }
}

fn names(trouble: &Trouble, signer: &str) -> bool {
    match trouble {
        Trouble::Backwards { signer: s, .. }
        | Trouble::Rewritten { signer: s, .. }
        | Trouble::Gap { signer: s, .. }
        | Trouble::Forked { signer: s, .. }
        | Trouble::Elsewhere { signer: s, .. } => s == signer,
    }
}
