//! How a kit is called, and how its secret part is divided. It knows nothing of what a kit says.

use recoup_core::env::Env;
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// How many parts a password may be split into.
const PARTS: RangeInclusive<u8> = 2..=16;

/// The name of a kit: eight random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KitId([u8; 8]);

impl KitId {
    /// A new one.
    pub fn random(env: &Env) -> Self {
        KitId(env.random())
    }

    /// The one with these bytes.
    pub(super) fn of(bytes: [u8; 8]) -> Self {
        KitId(bytes)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for KitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for KitId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut id = [0; 8];
        hex::decode_to_slice(text, &mut id)
            .map_err(|_| Error::new(Kind::Config, "read the name of a kit: it has 16 digits, 0-9 and a-f"))?;
        Ok(KitId(id))
    }
}

/// Into how many parts the password is split, and how many of them give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// So many parts give the password; fewer give nothing.
    pub needed: u8,
    /// So many parts there are.
    pub of: u8,
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = text.split_once('/').and_then(|(needed, of)| {
            Some(Split { needed: needed.trim().parse().ok()?, of: of.trim().parse().ok()? })
        });
        let fits = |s: &Split| PARTS.contains(&s.needed) && PARTS.contains(&s.of) && s.needed <= s.of;
        read.filter(fits).ok_or_else(|| {
            Error::new(
                Kind::Config,
                format!(
                    "read \"{}\" as a split: 2 to 16 parts, of which 2 or more are needed",
                    escape(text.as_bytes())
                ),
            )
            .hint("write how many are needed and how many there are, as in 2/3")
        })
    }
}
