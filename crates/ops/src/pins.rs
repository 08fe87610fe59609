//! Which repository belongs to which location, as far as this machine remembers: the first that it saw there.
//!
//! The password alone does not tell repositories apart: a copied setting, or the wrong disk at the mount
//! point, leads to one that opens just as well. The memory is `repositories.json` in the state directory.
//! A configuration that names the repository outranks it. A file that is lost or damaged is begun anew,
//! since nothing but this guard depends on it.

use jiff::Timestamp;
use recoup_core::{Error, Result};
use recoup_store::local::durable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest file that is read; a location takes about 150 bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The memory of one application on this machine.
#[derive(Clone, Debug)]
pub struct Pins(PathBuf);

/// What was seen at a location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Full id of the repository.
    pub repository: String,
    /// When it was first seen there.
    pub since: Timestamp,
}

impl Pins {
    /// The memory in the state directory `state`.
    pub fn of(state: &Path) -> Self {
        Pins(state.join("repositories.json"))
    }

    /// The repository of the location with this name, if one was seen.
    pub fn get(&self, location: &str) -> Option<Pin> {
        self.read().remove(location)
    }

    /// Notes that `repository` was seen at `location`; what is noted already is not written again.
    ///
    /// # Errors
    /// As the file system says.
    pub fn keep(&self, location: &str, repository: &str, now: Timestamp) -> Result<()> {
        let mut all = self.read();
        if all.get(location).is_some_and(|pin| pin.repository == repository) {
            return Ok(());
        }
        all.insert(location.to_owned(), Pin { repository: repository.to_owned(), since: now });
        let text = serde_json::to_vec_pretty(&all)
            .map_err(|e| Error::bug("write down which repository is where").caused_by(e))?;
        if let Some(folder) = self.0.parent() {
            durable::create_dir_all(folder, 0o700)?;
        }
        durable::write(&self.0, &text, 0o600)
    }

    fn read(&self) -> BTreeMap<String, Pin> {
        let is_small = std::fs::metadata(&self.0).is_ok_and(|m| m.is_file() && m.len() <= FILE_BYTES_MAX);
        let text = is_small.then(|| std::fs::read(&self.0).ok()).flatten();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test damages the file")]
    fn the_first_is_remembered_and_damage_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins::of(dir.path());
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(pins.get("local"), None);
        pins.keep("local", "ab12", at(1)).unwrap();
        pins.keep("far", "ab12", at(2)).unwrap();
        pins.keep("local", "ab12", at(3)).unwrap();
        assert_eq!(pins.get("local"), Some(Pin { repository: "ab12".into(), since: at(1) }));
        pins.keep("local", "cd34", at(4)).unwrap();
        assert_eq!(pins.get("local"), Some(Pin { repository: "cd34".into(), since: at(4) }));
        std::fs::write(dir.path().join("repositories.json"), b"{\"local\": 7}").unwrap();
        assert_eq!(pins.get("far"), None);
        pins.keep("far", "ab12", at(5)).unwrap();
        assert!(pins.get("far").is_some());
    }
}
