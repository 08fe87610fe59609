//! The config: what makes a folder a repository (restic design, Repository Layout).

use crate::chunk::{is_irreducible, random_polynomial};
use crate::id::Id;
use recoup_core::env::Env;
use recoup_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

/// The config, checked. Its JSON is sealed and never compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// 2 for everything written here; 1 is read only.
    pub version: u32,
    /// 64 hexadecimal digits, random.
    pub id: String,
    /// What the chunker cuts with: irreducible, of degree 53; bit n is the coefficient of x^n.
    pub polynomial: u64,
}

#[derive(Serialize, Deserialize)]
struct Raw {
    version: u32,
    id: String,
    chunker_polynomial: String,
}

impl Config {
    /// A fresh one, of version 2.
    ///
    /// # Errors
    /// `Kind::Corrupt` if the given polynomial is none that a chunker can use.
    pub fn new(env: &Env, polynomial: Option<u64>) -> Result<Self> {
        let polynomial = match polynomial {
            Some(bits) => checked(bits)?,
            None => random_polynomial(env)?,
        };
        Ok(Config { version: 2, id: Id::from_bytes(env.random()).to_string(), polynomial })
    }

    /// The JSON to be sealed.
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let chunker_polynomial = format!("{:x}", self.polynomial);
        let raw = Raw { version: self.version, id: self.id.clone(), chunker_polynomial };
        serde_json::to_vec(&raw).map_err(|cause| Error::bug("write the config").caused_by(cause))
    }

    /// Reads the opened JSON.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is none; `Kind::Unsupported` for a version that is not 1 or 2 (fault row 159).
    pub fn decode(json: &[u8]) -> Result<Self> {
        let corrupt = |cause| {
            Error::new(Kind::Corrupt, "read the config of the repository").code("E0418").caused_by(cause)
        };
        let value: serde_json::Value = serde_json::from_slice(json).map_err(corrupt)?;
        let version = value.get("version").cloned().unwrap_or_default();
        if !matches!(version.as_u64(), Some(1 | 2)) {
            return Err(Error::new(
                Kind::Unsupported,
                format!("read a repository of format version {version}"),
            )
            .code("E0420")
            .hint("this build reads versions 1 and 2; use a newer recoup or restic"));
        }
        let raw: Raw = serde_json::from_value(value).map_err(corrupt)?;
        let bits = u64::from_str_radix(&raw.chunker_polynomial, 16).unwrap_or_default();
        Ok(Config { version: raw.version, id: raw.id, polynomial: checked(bits)? })
    }
}

/// A tiny or reducible polynomial would cut every file into countless pieces (fault row 159).
fn checked(bits: u64) -> Result<u64> {
    if is_irreducible(bits) {
        return Ok(bits);
    }
    let text = format!("use the chunker polynomial {bits:x}: it is not irreducible of degree 53");
    Err(Error::new(Kind::Corrupt, text).code("E0418"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use recoup_testkit::env::real;

    #[test]
    fn round_trip_and_refusals() {
        let config = Config::new(&real(), None).unwrap();
        let json = config.encode().unwrap();
        assert_eq!(Config::decode(&json).unwrap(), config);
        for cut in 0..json.len() {
            assert!(Config::decode(&json[..cut]).is_err());
        }
        let with = |version: &str, polynomial: &str| {
            Config::decode(
                format!(r#"{{"version":{version},"id":"x","chunker_polynomial":"{polynomial}"}}"#).as_bytes(),
            )
        };
        assert_eq!(with("1", "3da3358b4dc173").unwrap().version, 1);
        assert_eq!(with("3", "3da3358b4dc173").unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(with("\"2\"", "3da3358b4dc173").unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(with("2", "3").unwrap_err().kind(), Kind::Corrupt);
        assert!(
            Config::decode(br#"{"version":2,"id":"x","chunker_polynomial":"3da3358b4dc173","later":[]}"#)
                .is_ok()
        );
    }
}
