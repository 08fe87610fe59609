//! Lock files: who works on a repository, and whether others may too (restic design, Locks).
//! Their life is [`crate::locks`].

use crate::golang::time::GoTime;
use recoup_core::env::Env;
use recoup_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a lock file says. Unknown fields are kept and ignored, by restic too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockFile {
    /// When it was made or last refreshed.
    pub time: GoTime,
    /// Whether nobody else may work.
    pub exclusive: bool,
    /// The holder's machine.
    #[serde(default)]
    pub hostname: String,
    /// The holder's login name.
    #[serde(default)]
    pub username: String,
    /// The holder's process.
    #[serde(default)]
    pub pid: i64,
    /// The holder's user id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The holder's group id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(id: &u32) -> bool {
    *id == 0
}

impl LockFile {
    /// A lock of this process, now.
    pub fn new(env: &Env, exclusive: bool) -> Self {
        LockFile {
            time: GoTime::new(env.now(), &env.zone),
            exclusive,
            hostname: env.host.hostname.clone(),
            username: env.host.username.clone(),
            pid: i64::from(env.host.pid),
            uid: env.host.uid,
            gid: env.host.gid,
            other: Map::new(),
        }
    }

    /// The JSON, to go through [`crate::unpacked`].
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|cause| Error::bug("write a lock").caused_by(cause))
    }

    /// Reads the JSON.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is no lock.
    pub fn decode(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json)
            .map_err(|cause| Error::new(Kind::Corrupt, "read a lock").code("E0419").caused_by(cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_as_restic_writes_them() {
        let text = r#"{"time":"2026-11-22T10:00:00.25+01:00","exclusive":false,"hostname":"h","username":"u","pid":7,"uid":1000,"gid":1000}"#;
        let lock = LockFile::decode(text.as_bytes()).unwrap();
        assert_eq!(lock.encode().unwrap(), text.as_bytes());
        for cut in 0..text.len() {
            assert!(LockFile::decode(&text.as_bytes()[..cut]).is_err());
        }
    }
}
