//! Key files: the master key, sealed with a password (restic design, Keys, Encryption and MAC).
//! The name of a key file is the SHA-256 of its JSON, which is not sealed itself.

use crate::crypto::MasterKey;
use crate::crypto::kdf::{Cost, derive};
use crate::golang::time::GoTime;
use crate::limits::Limits;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use recoup_core::env::Env;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How a password came to be; it decides how much a guess must cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordStrength {
    /// 256 random bits.
    Generated,
    /// Somebody thought it up.
    #[default]
    Human,
}

/// What trying a password gave.
pub enum Unlock {
    /// It is the password.
    Opened(MasterKey),
    /// It is not; another key file may still take it.
    WrongPassword,
}

/// A key file, read but not opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyFile {
    /// When it was made; rustic does not say unless it is asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<GoTime>,
    /// Who made it.
    #[serde(default)]
    pub username: String,
    /// Where it was made.
    #[serde(default)]
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

impl KeyFile {
    /// Seals `master` with `password`.
    ///
    /// # Errors
    /// `Kind::Bug` if the derivation refuses its own parameters.
    pub fn create(
        password: &Secret,
        master: &MasterKey,
        strength: PasswordStrength,
        env: &Env,
    ) -> Result<Self> {
        let cost = match strength {
            PasswordStrength::Generated => Cost::GENERATED,
            PasswordStrength::Human => Cost::HUMAN,
        };
        let salt = env.random::<64>();
        let sealing = derive(password, &salt, cost, &Limits::default())?;
        Ok(KeyFile {
            created: Some(GoTime::new(env.now(), &env.zone)),
            username: env.host.username.clone(),
            hostname: env.host.hostname.clone(),
            kdf: "scrypt".into(),
            n: cost.n,
            r: cost.r,
            p: cost.p,
            salt: STANDARD.encode(salt),
            data: STANDARD.encode(sealing.seal(env, &master.to_json())),
        })
    }

    /// The bytes to be stored; the name is their [`crate::Id::of`].
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|cause| Error::bug("write a key file").caused_by(cause))
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is no key file; `Kind::Unsupported` for another derivation than scrypt.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let file: KeyFile = serde_json::from_slice(bytes)
            .map_err(|cause| Error::new(Kind::Corrupt, "read a key file").code("E0414").caused_by(cause))?;
        if file.kdf != "scrypt" {
            let shown = recoup_core::name::escape(file.kdf.as_bytes());
            return Err(
                Error::new(Kind::Unsupported, format!("read a key file sealed with {shown}")).code("E0414")
            );
        }
        Ok(file)
    }

    /// What one attempt costs.
    pub fn cost(&self) -> Cost {
        Cost { n: self.n, r: self.r, p: self.p }
    }

    /// Tries `password`. Takes as long as [`KeyFile::cost`] says: call it off the async threads.
    ///
    /// # Errors
    /// `Kind::Corrupt` if the file is damaged; `Kind::Refused` if it costs more than `limits` allow.
    pub fn open(&self, password: &Secret, limits: &Limits) -> Result<Unlock> {
        let corrupt = |why: &str| Error::new(Kind::Corrupt, format!("read a key file: {why}")).code("E0414");
        let salt = STANDARD.decode(&self.salt).map_err(|_| corrupt("the salt is no base64"))?;
        let sealed = STANDARD.decode(&self.data).map_err(|_| corrupt("the data is no base64"))?;
        if sealed.len() <= crate::crypto::OVERHEAD_BYTES {
            return Err(corrupt("the data is too short"));
        }
        let sealing = derive(password, &salt, self.cost(), limits)?;
        match sealing.open(&sealed) {
            Ok(json) => MasterKey::from_json(&Zeroizing::new(json)).map(Unlock::Opened),
            Err(_) => Ok(Unlock::WrongPassword),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recoup_testkit::env::real;

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    #[test]
    fn the_right_password_opens_and_the_wrong_one_is_a_value() {
        let env = real();
        let master = MasterKey::random(&env);
        let file = KeyFile::create(&secret("pw"), &master, PasswordStrength::Generated, &env).unwrap();
        let again = KeyFile::decode(&file.encode().unwrap()).unwrap();
        let limits = Limits::default();
        let Unlock::Opened(opened) = again.open(&secret("pw"), &limits).unwrap() else {
            panic!("right password")
        };
        assert_eq!(opened.open(&master.seal(&env, b"x")).unwrap(), b"x");
        assert!(matches!(again.open(&secret("pW"), &limits).unwrap(), Unlock::WrongPassword));
    }

    #[test]
    fn truncated_and_foreign_files_are_named() {
        let env = real();
        let master = MasterKey::random(&env);
        let file = KeyFile::create(&secret("pw"), &master, PasswordStrength::Generated, &env).unwrap();
        let json = file.encode().unwrap();
        for cut in 0..json.len() {
            assert_eq!(KeyFile::decode(&json[..cut]).unwrap_err().kind(), Kind::Corrupt);
        }
        let argon = String::from_utf8(json).unwrap().replace("scrypt", "argon2");
        assert_eq!(KeyFile::decode(argon.as_bytes()).unwrap_err().kind(), Kind::Unsupported);
        let bomb = KeyFile { n: 1 << 30, ..file };
        assert_eq!(
            bomb.open(&secret("pw"), &Limits::default()).map(|_| ()).unwrap_err().kind(),
            Kind::Refused
        );
    }
}
