//! What nearly every verb begins with: the configuration, the state directory, the repository of a
//! location, and the drivers of the sources.
#![allow(
    clippy::disallowed_methods,
    reason = "this module owns the run lock and the scratch folder of a run"
)]

use crate::catalog::{Catalog, RunKind};
use crate::config::section::{Location, LocationKind};
use crate::config::{Config, Driver, LoadOptions, Loaded};
use crate::env::state_dir;
use crate::keys::FingerprintKey;
use crate::pins::Pins;
use crate::secret::{self, SecretRef};
use jiff::tz::TimeZone;
use recoup_core::env::Env;
use recoup_core::moment::{self, Moment};
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_repo::Limits;
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::repository::{InitOptions, Repository};
use recoup_sources::Source;
use recoup_store::Store;
use recoup_store::local::{Local, durable};
use recoup_store::wrap::retry::{Policy, Retry};
use rustix::fs::{FlockOperation, flock};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A password of at least this many characters out of a file was generated: cheap key derivation is
/// enough for 256 random bits.
const GENERATED_BYTES_MIN: usize = 43;

/// A loaded application.
#[derive(Clone)]
pub struct Session {
    loaded: Arc<Loaded>,
    env: Env,
    state: PathBuf,
    wrap: Option<Wrap>,
}

/// Puts something in front of the store of a location.
pub type Wrap = Arc<dyn Fn(Arc<dyn Store>) -> Arc<dyn Store> + Send + Sync>;

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("app", &self.app())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A location with its name.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name in the configuration.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// What is declared.
    pub section: Location,
}

impl Session {
    /// Loads the configuration.
    ///
    /// # Errors
    /// As `config::load`; `Kind::Config` if there is no place for state.
    pub fn open(options: &LoadOptions, env: &Env) -> Result<Self> {
        Session::of(crate::config::load(options)?, env)
    }

    /// Begins with a configuration that is loaded.
    ///
    /// # Errors
    /// `Kind::Config` if there is no place for state.
    pub fn of(loaded: Loaded, env: &Env) -> Result<Self> {
        let state = state_dir(&loaded.variables, &loaded.config.app)?;
        Ok(Session { loaded: Arc::new(loaded), env: env.clone(), state, wrap: None })
    }

    /// The same with `wrap` in front of every location, as a test wants it that lets them fail.
    #[must_use]
    pub fn with_stores(self, wrap: Wrap) -> Self {
        Session { wrap: Some(wrap), ..self }
    }

    /// The configuration with its origins.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// The name of the application.
    pub fn app(&self) -> &str {
        &self.loaded.config.app
    }

    /// The world.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The state directory of the application.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The zone in which times are read and shown.
    pub fn zone(&self) -> TimeZone {
        self.config().timezone.clone().unwrap_or_else(|| self.env.zone.clone())
    }

    /// Where the journals of restores lie.
    pub fn journals(&self) -> PathBuf {
        self.state.join("restores")
    }

    /// The catalog.
    ///
    /// # Errors
    /// If the state directory cannot be written.
    pub fn catalog(&self) -> Result<Catalog> {
        Catalog::open(&self.state)
    }

    /// Reads a moment in the zone of the application; `None` is the latest.
    ///
    /// # Errors
    /// `Kind::Config` `E0604`.
    pub fn moment(&self, text: Option<&str>) -> Result<Moment> {
        text.map_or(Ok(Moment::Latest), |t| moment::parse(t, self.env.now(), &self.zone()))
    }

    /// A name for a run: what it is, when, and four random digits, as in `B20261122-083107-5c7e`.
    pub fn run_id(&self, letter: char) -> String {
        let now = self.env.now().to_zoned(TimeZone::UTC);
        format!("{letter}{}-{}", now.strftime("%Y%m%d-%H%M%S"), hex::encode(self.env.random::<2>()))
    }

    /// All locations, or the one that is named. Those for quick restores come first.
    ///
    /// # Errors
    /// `Kind::Config` `E0640` if there is none.
    pub fn places(&self, named: Option<&str>) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for (name, section) in &self.config().locations {
            if named.is_none_or(|n| n == name) {
                let path = self.loaded.path(&section.path)?;
                places.push(Place { name: name.clone(), path, section: section.clone() });
            }
        }
        places.sort_by_key(|p| p.section.r#use as u8);
        if !places.is_empty() {
            return Ok(places);
        }
        let known: Vec<&str> = self.config().locations.keys().map(String::as_str).collect();
        let mut error = Error::new(Kind::Config, "find a location to use").code("E0640");
        if let Some(named) = named {
            error = error
                .with("location", escape(named.as_bytes()))
                .hint(format!("declared: {}", known.join(", ")));
        }
        Err(error.effect("nothing was attempted"))
    }

    /// The location to restore from: the one named, else the first for quick restores.
    ///
    /// # Errors
    /// As [`Session::places`].
    pub fn place(&self, named: Option<&str>) -> Result<Place> {
        let first = self.places(named)?.into_iter().next();
        first.ok_or_else(|| Error::new(Kind::Config, "find a location to use").code("E0640"))
    }

    /// The objects of a location, with retries.
    pub fn store(&self, place: &Place) -> Arc<dyn Store> {
        let LocationKind::Local = place.section.kind;
        let local: Arc<dyn Store> = Arc::new(Local::new(&place.path));
        let local = self.wrap.as_ref().map_or(local.clone(), |wrap| wrap(local));
        Arc::new(Retry::new(local, Policy::default(), self.env.events.clone()))
    }

    /// Opens the repository of a location.
    ///
    /// # Errors
    /// `Kind::NotFound` `E0410` if there is none yet; `Kind::Refused` `E0643` if it is not the one that belongs
    /// here; as `Repository::open`.
    pub async fn repository(&self, place: &Place) -> Result<Repository> {
        if !place.path.is_dir() {
            return Err(Error::new(
                Kind::NotFound,
                "open the repository: the folder of the location is not there",
            )
            .with("location", &place.name)
            .with("folder", escape(place.path.as_os_str().as_encoded_bytes()))
            .code("E0410")
            .hint("mount the disk if it should be there; the first backup makes it otherwise"));
        }
        let repo = Repository::open(self.store(place), &self.password().await?, Limits::default(), &self.env)
            .await
            .map_err(|e| e.with("location", &place.name))?;
        self.belongs(place, repo.id())?;
        Ok(repo)
    }

    /// Whether the repository with this id belongs to `place`: the one that the configuration names, or else
    /// the first that this machine saw there.
    ///
    /// # Errors
    /// `Kind::Refused` `E0643` if it is another.
    pub fn belongs(&self, place: &Place, id: &str) -> Result<()> {
        let pins = Pins::of(&self.state);
        match &place.section.repository {
            Some(declared) if declared.means(id) => pins.keep(&place.name, id, self.env.now()),
            Some(declared) => Err(another(place, &declared.to_string(), id, "named in recoup.toml")),
            None => match pins.get(&place.name) {
                None => pins.keep(&place.name, id, self.env.now()),
                Some(known) if known.repository == id => Ok(()),
                Some(known) => {
                    Err(another(place, &known.repository, id, &format!("seen here since {}", known.since)))
                }
            },
        }
    }

    /// Opens the repository of a location, or makes it if there is none. The second value says so.
    ///
    /// # Errors
    /// As `Repository::open` and `Repository::init`.
    pub async fn repository_or_init(&self, place: &Place) -> Result<(Repository, bool)> {
        match self.repository(place).await {
            Ok(repo) => return Ok((repo, false)),
            Err(e) if e.stable_code() == Some("E0410") => {}
            Err(e) => return Err(e),
        }
        self.never_used(place)?;
        let password = self.password().await?;
        let from_file = matches!(self.config().keys.as_ref().map(|k| &k.password), Some(SecretRef::File(_)));
        let generated = from_file && password.expose().len() >= GENERATED_BYTES_MIN;
        let options = InitOptions {
            password_strength: if generated { PasswordStrength::Generated } else { PasswordStrength::Human },
            ..InitOptions::default()
        };
        durable::create_dir_all(&place.path, 0o700)?;
        let repo = Repository::init(self.store(place), &password, &options, &self.env).await;
        let repo = repo.map_err(|e| e.with("location", &place.name))?;
        self.belongs(place, repo.id())?;
        Ok((repo, true))
    }

    /// A repository that was there before is never quietly replaced by an empty one: its disk may just
    /// not be mounted.
    fn never_used(&self, place: &Place) -> Result<()> {
        let refused = Error::new(Kind::Refused, "make a repository where there was one before")
            .with("location", &place.name);
        let runs = self.catalog()?.runs(RunKind::Backup, usize::MAX)?;
        let last = runs.iter().find(|r| r.location == place.name && !r.point.is_empty());
        let refused = match (last, &place.section.repository, Pins::of(&self.state).get(&place.name)) {
            (Some(last), ..) => refused.with("last backup", last.at),
            (None, Some(declared), _) => refused.with("named in recoup.toml", declared),
            (None, None, Some(known)) => refused.with("seen here since", known.since),
            (None, None, None) => return Ok(()),
        };
        Err(refused.code("E0642").effect("nothing was written").hint(
            "mount the disk of the location; if the repository is truly gone, give the location another name",
        ))
    }

    async fn password(&self) -> Result<Secret> {
        let keys = self.config().keys.as_ref().ok_or_else(|| {
            Error::new(Kind::Config, "find the repository password: recoup.toml has no [keys]")
                .code("E0640")
                .effect("nothing was attempted")
                .hint("add `[keys]` with `password = { file = \"...\" }`; `recoup init` does it for you")
        })?;
        Ok(secret::resolve(&keys.password, &self.loaded.root, &self.loaded.variables).await?.secret)
    }

    /// The key of fingerprints, if the password can be read.
    pub async fn fingerprint_key(&self) -> Option<FingerprintKey> {
        self.password().await.ok().map(|password| FingerprintKey::new(&password))
    }

    /// The driver of a source.
    ///
    /// # Errors
    /// `Kind::NotFound` if the configuration has no such source.
    pub fn source(&self, name: &str) -> Result<Box<dyn Source>> {
        let source = self.config().sources.get(name).ok_or_else(|| {
            Error::new(Kind::NotFound, "find the source in recoup.toml")
                .with("source", escape(name.as_bytes()))
                .code("E0601")
        })?;
        let path = self.loaded.path(source.driver.path())?;
        match &source.driver {
            Driver::Files(config) => {
                let mut config = config.clone();
                // What restores put beside live data is not live data.
                config.ignore.push(".recoup-R*/".to_owned());
                Ok(Box::new(recoup_sources::files::Files::new(&path, &config)?))
            }
            Driver::Sqlite(config) => Ok(Box::new(recoup_sources::sqlite::Sqlite::new(&path, config)?)),
        }
    }

    /// The live path of a source.
    ///
    /// # Errors
    /// As [`Session::source`].
    pub fn target(&self, name: &str) -> Result<PathBuf> {
        let source = self.config().sources.get(name);
        let source = source
            .ok_or_else(|| Error::new(Kind::NotFound, "find the source in recoup.toml").code("E0601"))?;
        self.loaded.path(source.driver.path())
    }

    /// The sources that `addresses` name, in the order of capture; all if it is empty.
    ///
    /// # Errors
    /// `Kind::Config` `E0602` for what is no source.
    pub fn select(&self, addresses: &[String]) -> Result<Vec<String>> {
        let order: Vec<String> = self.config().capture_order().into_iter().map(str::to_owned).collect();
        let mut wanted = Vec::new();
        for address in addresses {
            let name = address.strip_prefix(&format!("{}/", self.app())).unwrap_or(address);
            if address == self.app() {
                return Ok(order);
            }
            if !order.iter().any(|o| o == name) {
                return Err(Error::new(Kind::Config, "find the source")
                    .with("address", escape(address.as_bytes()))
                    .code("E0602")
                    .effect("nothing was attempted")
                    .hint(format!("declared: {}", order.join(", "))));
            }
            wanted.push(name.to_owned());
        }
        Ok(order.into_iter().filter(|o| addresses.is_empty() || wanted.contains(o)).collect())
    }

    /// Keeps other runs of `what` out until it is dropped.
    ///
    /// # Errors
    /// `Kind::Locked` `E0650` while another process holds it.
    pub fn exclusive(&self, what: &str) -> Result<RunLock> {
        durable::create_dir_all(&self.state, 0o700)?;
        let path = self.state.join(format!("{what}.lock"));
        let io = |e| {
            Error::io("lock the state directory", e).with("file", escape(path.as_os_str().as_encoded_bytes()))
        };
        let file =
            std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
            Error::new(Kind::Locked, format!("begin the {what}: another one is running"))
                .with("application", self.app())
                .code("E0650")
                .effect("this command changed nothing")
                .caused_by(e)
        })?;
        Ok(RunLock(file))
    }

    /// A private folder on this machine that vanishes with the value.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn scratch(&self, label: &str) -> Result<tempfile::TempDir> {
        let parent = self.state.join("scratch");
        durable::create_dir_all(&parent, 0o700)?;
        tempfile::Builder::new()
            .prefix(&format!("{label}-"))
            .tempdir_in(&parent)
            .map_err(|e| Error::io("make a scratch folder", e))
    }
}

/// The repository at `place` is not the one that belongs there.
fn another(place: &Place, expected: &str, found: &str, why: &str) -> Error {
    Error::new(Kind::Refused, "use the repository of the location: another one is there")
        .with("location", &place.name)
        .with("expected", format!("{} ({why})", short(expected)))
        .with("found", short(found))
        .code("E0643")
        .effect("nothing was read from it and nothing was changed")
        .hint(format!(
            "see whether the path or the mounted disk is another application's; if this one is right, \
             say so: `repository = \"{}\"` in [location.{}]",
            short(found),
            place.name
        ))
}

/// Enough of an id to tell repositories apart.
fn short(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}

/// A lock that dies with the process.
#[derive(Debug)]
pub struct RunLock(File);

impl Drop for RunLock {
    /// A child that is just being started may still share the open file; the lock must not wait for it.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
