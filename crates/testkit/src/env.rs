//! Worlds for tests: a real one, and one whose clock and randomness are scripted.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use recoup_core::env::{Clock, Entropy, Env, Host};
use recoup_core::event::{Event, Silent, Sink};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A wall clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<(Timestamp, Duration)>);

impl ManualClock {
    pub fn at(text: &str) -> Arc<Self> {
        Arc::new(ManualClock(Mutex::new((text.parse().unwrap(), Duration::ZERO))))
    }

    /// Sets the wall clock; the other one goes on.
    pub fn set(&self, text: &str) {
        self.0.lock().unwrap().0 = text.parse().unwrap();
    }

    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        now.0 += Span::try_from(by).unwrap();
        now.1 += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }
    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().1
    }
    fn since_boot(&self) -> Option<(String, Duration)> {
        Some(("a start of the machine".into(), self.0.lock().unwrap().1))
    }
}

#[derive(Debug)]
pub struct RealClock(Instant);

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Randomness from a seed, so that a failure can be replayed.
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(SeededEntropy(Mutex::new(StdRng::seed_from_u64(seed))))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap().fill_bytes(out);
    }
}

/// Keeps every event.
#[derive(Default)]
pub struct Recorder(pub Mutex<Vec<Event>>);

impl Sink for Recorder {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

fn host() -> Host {
    Host {
        hostname: "testhost".into(),
        username: "tester".into(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        pid: std::process::id(),
    }
}

/// Real clock, seeded randomness (seed 1), silent, UTC.
pub fn real() -> Env {
    Env {
        clock: Arc::new(RealClock(Instant::now())),
        entropy: SeededEntropy::new(1),
        events: Arc::new(Silent),
        zone: TimeZone::UTC,
        host: host(),
    }
}

/// Scripted clock and randomness; the clock stands at `time`.
pub fn scripted(time: &str, seed: u64) -> (Env, Arc<ManualClock>) {
    let clock = ManualClock::at(time);
    let env = Env { clock: clock.clone(), entropy: SeededEntropy::new(seed), ..real() };
    (env, clock)
}
