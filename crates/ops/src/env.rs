//! The real world, built once: clocks, randomness, the host and its time zone. Also the snapshot of
//! the process environment and where recoup keeps its state.
#![allow(clippy::disallowed_methods, reason = "this module owns the clock and reads the environment once")]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::rngs::SysRng;
use rand::{Rng, TryRng};
use recoup_core::env::{Clock, Entropy, Env, Host};
use recoup_core::event::Sink;
use recoup_core::{Error, Kind, Result};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The world as it is; events go to `events`.
pub fn real(events: Arc<dyn Sink>) -> Env {
    Env {
        clock: Arc::new(RealClock(Instant::now())),
        entropy: Arc::new(SystemEntropy),
        events,
        zone: TimeZone::try_system().unwrap_or(TimeZone::UTC),
        host: host(),
    }
}

/// The environment variables of the process, read once. Printing shows names only.
#[derive(Clone, Default)]
pub struct Variables(Arc<BTreeMap<OsString, OsString>>);

impl Variables {
    /// Those of this process, now.
    pub fn of_process() -> Self {
        Variables(Arc::new(std::env::vars_os().collect()))
    }

    /// Exactly these.
    pub fn from_pairs<K: Into<OsString>, V: Into<OsString>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Variables(Arc::new(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect()))
    }

    /// The value of `name`, if it is set; an empty value counts as set.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The value of `name` as text, if it is set, not empty and UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str().filter(|text| !text.is_empty())
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.0.keys().map(OsString::as_os_str)
    }

    /// Names and values, for a child that is meant to have them.
    pub fn pairs(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(k, v)| (k.as_os_str(), v.as_os_str()))
    }

    /// The home directory, if there is one.
    pub fn home(&self) -> Option<PathBuf> {
        self.get("HOME").filter(|v| !v.is_empty()).map(PathBuf::from)
    }

    /// `text` as a path, with a leading `~/` standing for the home directory.
    ///
    /// # Errors
    /// `Kind::Config` if there is no home directory to stand for.
    pub fn expand_home(&self, text: &str) -> Result<PathBuf> {
        match text.strip_prefix("~/") {
            None => Ok(PathBuf::from(text)),
            Some(rest) => self.home().map(|home| home.join(rest)).ok_or_else(|| {
                Error::new(Kind::Config, format!("find the home directory in \"{text}\""))
                    .code("E0107")
                    .hint("set HOME, or write the path from /")
            }),
        }
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The state directory of the application `app`: `$RECOUP_STATE_DIR/<app>`, else
/// `$XDG_STATE_HOME/recoup/<app>`, else `~/.local/state/recoup/<app>`, else `/var/lib/recoup/<app>`
/// for root. It is not created here.
///
/// # Errors
/// `Kind::Config` if none of these exists to stand on.
pub fn state_dir(variables: &Variables, app: &str) -> Result<PathBuf> {
    let absolute = |name: &str| variables.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("RECOUP_STATE_DIR")
        .or_else(|| absolute("XDG_STATE_HOME").map(|dir| dir.join("recoup")))
        .or_else(|| variables.home().map(|home| home.join(".local/state/recoup")))
        .or_else(|| rustix::process::geteuid().is_root().then(|| PathBuf::from("/var/lib/recoup")));
    base.map(|dir| dir.join(app)).ok_or_else(|| {
        Error::new(Kind::Config, "find a place for recoup's state")
            .code("E0807")
            .effect("nothing was attempted")
            .hint("set RECOUP_STATE_DIR to a directory that only you can read")
    })
}

/// The folder for settings of this user: `$XDG_CONFIG_HOME/recoup`, else `~/.config/recoup`, else
/// `/etc/recoup` for root.
///
/// # Errors
/// `Kind::Config` if none of these exists to stand on.
pub fn config_dir(variables: &Variables) -> Result<PathBuf> {
    let xdg = variables.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    xdg.map(|dir| dir.join("recoup"))
        .or_else(|| variables.home().map(|home| home.join(".config/recoup")))
        .or_else(|| rustix::process::geteuid().is_root().then(|| PathBuf::from("/etc/recoup")))
        .ok_or_else(|| {
            Error::new(Kind::Config, "find a place for the repository password")
                .code("E0807")
                .hint("set HOME or XDG_CONFIG_HOME")
        })
}

/// Time since this machine started, by which records of several processes can be put in order whatever was done
/// to the wall clock. It stands still while the machine sleeps.
pub fn since_start_of_machine() -> Duration {
    // It has been running since the machine started: it is not negative.
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

#[derive(Debug)]
struct RealClock(Instant);

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
    fn since_boot(&self) -> Option<(String, Duration)> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let passed = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(passed.tv_sec).ok()?;
        Some((boot.trim().to_owned(), Duration::new(seconds, u32::try_from(passed.tv_nsec).ok()?)))
    }
}

/// Keys come from the operating system. What is needed for every blob (IVs, which pack it goes to) comes
/// from a generator of the thread that the operating system seeds again and again, since a call of the
/// kernel for each takes longer than sealing a small blob.
struct SystemEntropy;

/// The longest request that is no key.
const FREQUENT_BYTES_MAX: usize = 16;

impl Entropy for SystemEntropy {
    #[allow(clippy::expect_used, reason = "going on without randomness would make guessable keys")]
    fn fill(&self, out: &mut [u8]) {
        if out.len() <= FREQUENT_BYTES_MAX {
            rand::rng().fill_bytes(out);
            return;
        }
        // Invariant: Linux since 3.17 has getrandom(2), which does not fail once it was seeded.
        SysRng.try_fill_bytes(out).expect("the operating system gives randomness");
    }
}

fn host() -> Host {
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    Host {
        hostname: nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|_| "localhost".to_owned()),
        username: user.map_or_else(|| uid.to_string(), |user| user.name),
        uid: uid.as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        pid: std::process::id(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_lives_where_it_is_told() {
        let at = |pairs: &[(&str, &str)]| state_dir(&Variables::from_pairs(pairs.iter().copied()), "shop");
        let all = [("RECOUP_STATE_DIR", "/s"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(at(&all).unwrap(), PathBuf::from("/s/shop"));
        assert_eq!(at(&all[1..]).unwrap(), PathBuf::from("/x/recoup/shop"));
        assert_eq!(at(&all[2..]).unwrap(), PathBuf::from("/h/.local/state/recoup/shop"));
        // A relative directory would depend on where recoup was started.
        assert_eq!(
            at(&[("RECOUP_STATE_DIR", "s"), ("HOME", "/h")]).unwrap(),
            PathBuf::from("/h/.local/state/recoup/shop")
        );
    }

    #[test]
    fn values_are_not_printed() {
        let v = Variables::from_pairs([("TOKEN", "canary-5d1c")]);
        assert!(!format!("{v:?}").contains("canary"));
    }
}
