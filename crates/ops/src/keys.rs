//! The key to everything: made once, kept outside the project, written on paper, and never lost by
//! recoup itself. Also fingerprints, by which two points can be compared in the keys their data needs.

use crate::config::Loaded;
use crate::secret::SecretRef;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, context};
use recoup_core::crypto::{SEED_BYTES, SigningKey};
use recoup_core::env::Env;
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_store::local::durable;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Random bytes in a generated repository password: 256 bits.
const PASSWORD_BYTES: usize = 32;

/// Makes a repository password and keeps it in the new file `path`, mode 0600, outside `project`.
/// Nothing is ever overwritten: an old password may be the only key to old points.
///
/// # Errors
/// `Kind::Exists` (E0821) if the file is there, `Kind::Refused` (E0820) if it lies inside the project.
pub fn generate(path: &Path, project: &Path, env: &Env) -> Result<()> {
    let random = Zeroizing::new(env.random::<PASSWORD_BYTES>());
    let mut text = Zeroizing::new(hex::encode(random.as_slice()));
    text.push('\n');
    create(path, project, "repository password", text.as_bytes())
}

/// The signing key in the file `path`; it is made if there is none, mode 0600, outside `project`.
///
/// # Errors
/// `Kind::Refused` (E0820) if it would lie inside the project; as [`SigningKey::decode`] for what is there.
pub fn signing_key(path: &Path, project: &Path, comment: &str, env: &Env) -> Result<SigningKey> {
    if path.symlink_metadata().is_ok() {
        let file = std::fs::read(path).map_err(|e| Error::io("read the signing key", e))?;
        return SigningKey::decode(&Secret::new(file)).map_err(|e| e.with("file", shown(path)));
    }
    let seed = Zeroizing::new(env.random::<SEED_BYTES>());
    let key = SigningKey::from_seed(&seed, comment)?;
    create(path, project, "signing key", key.encode()?.expose())?;
    Ok(key)
}

fn create(path: &Path, project: &Path, what: &str, text: &[u8]) -> Result<()> {
    let folder = path.parent();
    let folder = folder.ok_or_else(|| Error::new(Kind::Config, format!("find the folder of the {what}")))?;
    durable::create_dir_all(folder, 0o700)?;
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if real(folder).starts_with(real(project)) {
        return Err(Error::new(Kind::Refused, format!("keep the {what} inside the project"))
            .with("file", path.display())
            .code("E0820"));
    }
    durable::create(path, text, 0o600).map_err(|error| match error.kind() {
        Kind::Exists => Error::new(Kind::Exists, format!("make a {what}: the file is there already"))
            .with("file", path.display())
            .code("E0821")
            .effect("the file was not touched"),
        _ => error,
    })
}

/// What a recovery sheet says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sheet {
    /// Name of the application.
    pub app: String,
    /// When the sheet was made, RFC 3339.
    pub made: String,
    /// On which machine.
    pub host: String,
    /// Id of the repository, once it exists.
    pub repository: Option<String>,
    /// Where copies are: name and path.
    pub locations: Vec<(String, String)>,
    /// Sources: name, kind, live path.
    pub sources: Vec<(String, String, String)>,
    /// Where the password is kept, in words.
    pub password_kept: String,
    /// The environment variables and settings without which restored data cannot be read.
    pub keys: Vec<String>,
    /// Version of recoup.
    pub version: String,
}

/// The facts of the sheet for a configuration. `repository` is the id, once it exists.
///
/// # Errors
/// As [`Loaded::path`].
pub fn sheet_facts(loaded: &Loaded, repository: Option<&str>, env: &Env) -> Result<Sheet> {
    let config = &loaded.config;
    let absolute = |written: &str| loaded.path(written).map(|path| shown(&path));
    let password_kept = match config.keys.as_ref().map(|keys| &keys.password) {
        Some(SecretRef::File(path)) => format!("file {}", absolute(path)?),
        Some(other) => other.to_string(),
        None => "nowhere: [keys] is not declared".to_owned(),
    };
    let mut locations = vec![];
    for (name, location) in &config.locations {
        locations.push((name.clone(), absolute(&location.path)?));
    }
    let mut sources = vec![];
    for (name, source) in &config.sources {
        sources.push((name.clone(), source.driver.kind().to_owned(), absolute(source.driver.path())?));
    }
    Ok(Sheet {
        app: config.app.clone(),
        made: env.now().round(jiff::Unit::Second).unwrap_or_else(|_| env.now()).to_string(),
        host: escape(env.host.hostname.as_bytes()),
        repository: repository.map(str::to_owned),
        locations,
        sources,
        password_kept,
        keys: config.python.keys.iter().map(|key| escape(key.as_bytes())).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

/// The recovery sheet as plain text, 80 columns, to be printed. The password stands on it only if
/// `password` is given.
///
/// # Errors
/// `Kind::Bug` if the template does not fit its facts.
pub fn sheet(facts: &Sheet, password: Option<&Secret>) -> Result<String> {
    let password = password.map(|secret| String::from_utf8_lossy(secret.expose()).into_owned());
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    templates.set_syntax(syntax.map_err(|cause| Error::bug("read a template's syntax").caused_by(cause))?);
    let rows = |cells: Vec<Vec<&str>>| -> Vec<Vec<String>> {
        cells.into_iter().map(|row| row.into_iter().map(str::to_owned).collect()).collect()
    };
    let facts = context! {
        app => facts.app.clone(), made => facts.made.clone(), host => facts.host.clone(),
        repository => facts.repository.clone(), password_kept => facts.password_kept.clone(),
        keys => facts.keys.clone(), version => facts.version.clone(),
        locations => rows(facts.locations.iter().map(|(a, b)| vec![a.as_str(), b]).collect()),
        sources => rows(facts.sources.iter().map(|(a, b, c)| vec![a.as_str(), b, c]).collect()),
    };
    templates
        .render_str(include_str!("keys/sheet.txt"), context! { sheet => facts, password => password })
        .map_err(|cause| Error::bug("fill in the recovery sheet").caused_by(cause))
}

/// Somebody said that the sheet is stored where a fire here does not reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Id of the repository whose sheet it is.
    pub repository: String,
    /// When it was said.
    pub time: jiff::Timestamp,
    /// The user who said it.
    pub by: String,
}

fn confirmation_file(state: &Path) -> PathBuf {
    state.join("sheet.json")
}

/// Notes in the state directory that the sheet was stored away.
///
/// # Errors
/// As the file system says.
pub fn confirm(state: &Path, repository: &str, env: &Env) -> Result<Confirmation> {
    let said = Confirmation {
        repository: repository.to_owned(),
        time: env.now(),
        by: format!("{}@{}", env.host.username, env.host.hostname),
    };
    let text =
        serde_json::to_vec_pretty(&said).map_err(|e| Error::bug("write down a confirmation").caused_by(e))?;
    durable::create_dir_all(state, 0o700)?;
    durable::write(&confirmation_file(state), &text, 0o600)?;
    Ok(said)
}

/// Whether somebody confirmed that the sheet of `repository` is stored away. A confirmation of
/// another repository, or one that cannot be read, is none.
pub fn confirmed(state: &Path, repository: &str) -> Option<Confirmation> {
    let text = std::fs::read(confirmation_file(state)).ok()?;
    let said: Confirmation = serde_json::from_slice(&text).ok()?;
    (said.repository == repository).then_some(said)
}

/// The key of fingerprints, made from the repository password. Without that password a fingerprint
/// cannot be compared with guesses, and the password cannot be had from this key.
pub struct FingerprintKey(Zeroizing<[u8; 32]>);

impl FingerprintKey {
    /// The key that belongs to `password`.
    pub fn new(password: &Secret) -> Self {
        FingerprintKey(Zeroizing::new(hmac(password.expose(), b"recoup fingerprint of keys, 1")))
    }

    /// The key's bytes, for the child that computes fingerprints where the values are.
    pub fn for_children(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The fingerprint of `value` under `name`: 16 hex digits. Equal values under one name and one
    /// repository have equal fingerprints, and nothing else can be learnt from them.
    pub fn fingerprint(&self, name: &str, value: &[u8]) -> String {
        let mut text = Zeroizing::new(name.as_bytes().to_vec());
        text.push(0);
        text.extend_from_slice(value);
        hex::encode(&hmac(self.0.as_slice(), &text)[..8])
    }
}

/// HMAC-SHA-256 (RFC 2104, FIPS 198-1).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = Zeroizing::new([0_u8; BLOCK]);
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| Zeroizing::new(block.map(|byte| byte ^ with));
    let inner = Sha256::new().chain_update(pad(0x36).as_slice()).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c).as_slice()).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let shown = |key: &[u8], text: &[u8]| hex::encode(hmac(key, text));
        assert_eq!(
            shown(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            shown(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a_password_is_made_once_and_outside_the_project() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        std::fs::create_dir_all(&project).unwrap();
        let path = dir.path().join("config/shop.password");
        let env = recoup_testkit::env::real();
        generate(&path, &project, &env).unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        assert_eq!(first.trim_end().len(), 64);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(generate(&path, &project, &env).unwrap_err().stable_code(), Some("E0821"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
        let inside = generate(&project.join("keys/pw"), &project, &env).unwrap_err();
        assert_eq!(inside.stable_code(), Some("E0820"));
    }

    #[test]
    fn the_sheet_has_the_password_only_when_asked() {
        let facts = Sheet {
            app: "shop".into(),
            made: "2026-11-22T09:00:00Z".into(),
            host: "web-1".into(),
            repository: Some("ab12".into()),
            locations: vec![("local".into(), "/srv/recoup/shop".into())],
            sources: vec![("db".into(), "sqlite".into(), "/app/db.sqlite3".into())],
            password_kept: "file /root/.config/recoup/shop.password".into(),
            keys: vec!["DJANGO_SECRET_KEY".into()],
            version: "0.1.0".into(),
        };
        let without = sheet(&facts, None).unwrap();
        insta::assert_snapshot!(without);
        let with = sheet(&facts, Some(&Secret::new(b"canary-pw".to_vec()))).unwrap();
        assert!(with.contains("canary-pw") && !without.contains("canary-pw"));
        assert!(without.lines().all(|line| line.chars().count() <= 80), "{without}");
    }

    #[test]
    fn a_confirmation_belongs_to_one_repository() {
        let dir = tempfile::tempdir().unwrap();
        let env = recoup_testkit::env::real();
        assert_eq!(confirmed(dir.path(), "a"), None);
        let said = confirm(dir.path(), "a", &env).unwrap();
        assert_eq!(confirmed(dir.path(), "a"), Some(said));
        assert_eq!(confirmed(dir.path(), "b"), None);
    }

    #[test]
    fn fingerprints_depend_on_password_name_and_value() {
        let key = FingerprintKey::new(&Secret::new(b"pw".to_vec()));
        let other = FingerprintKey::new(&Secret::new(b"pw2".to_vec()));
        assert_eq!(key.fingerprint("A", b"v"), key.fingerprint("A", b"v"));
        assert_eq!(key.fingerprint("A", b"v").len(), 16);
        assert_ne!(key.fingerprint("A", b"v"), key.fingerprint("B", b"v"));
        assert_ne!(key.fingerprint("A", b"v"), other.fingerprint("A", b"v"));
    }
}
