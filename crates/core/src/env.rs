//! What the world gives: the clock, randomness, the host's identity and the place events go to.
//! They are arguments everywhere; the real ones are built once, in `ops::env`.

use crate::event::{Event, Sink};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The two clocks.
pub trait Clock: Send + Sync {
    /// Wall clock.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// Which start of the machine this is, and the time since then, sleep included; none where that is not known.
    fn since_boot(&self) -> Option<(String, Duration)> {
        None
    }
}

/// Randomness fit for keys.
pub trait Entropy: Send + Sync {
    /// Fills `out`.
    fn fill(&self, out: &mut [u8]);
}

/// Who runs recoup, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name of the machine.
    pub hostname: String,
    /// Login name of the user.
    pub username: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id.
    pub pid: u32,
}

/// The world, handed down.
#[derive(Clone)]
pub struct Env {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where events go.
    pub events: Arc<dyn Sink>,
    /// The host's zone; times in trees are written in it, as restic does.
    pub zone: TimeZone,
    /// Who and where.
    pub host: Host,
}

impl Env {
    /// Wall clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
    /// Emits an event.
    pub fn emit(&self, event: Event) {
        self.events.emit(event);
    }
    /// `N` random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.entropy.fill(&mut out);
        out
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("host", &self.host).finish_non_exhaustive()
    }
}
