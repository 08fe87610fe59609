//! Counts, and tells now and then.

use crate::repository::Repository;
use recoup_core::event::Event;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a stage has before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    pub(crate) bytes: u64,
    pub(crate) items: u64,
}

/// The counters of one stage.
pub(crate) struct Progress {
    repo: Repository,
    stage: &'static str,
    address: String,
    total: Total,
    state: Mutex<Counts>,
}

struct Counts {
    bytes: u64,
    items: u64,
    next: Duration,
}

impl Progress {
    const EVERY: Duration = Duration::from_millis(250);

    pub(crate) fn new(repo: &Repository, stage: &'static str, address: &str, total: Total) -> Self {
        Progress {
            repo: repo.clone(),
            stage,
            address: address.to_owned(),
            total,
            state: Mutex::new(Counts { bytes: 0, items: 0, next: Duration::ZERO }),
        }
    }

    pub(crate) fn add(&self, bytes: u64, items: u64) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.bytes += bytes;
            state.items += items;
        }
        self.show(false);
    }

    pub(crate) fn show(&self, at_once: bool) {
        let env = self.repo.env();
        let now = env.clock.monotonic();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !at_once && now < state.next {
            return;
        }
        state.next = now + Self::EVERY;
        env.emit(Event::Progress {
            stage: self.stage.into(),
            address: self.address.clone(),
            bytes: state.bytes,
            bytes_total: Some(self.total.bytes),
            items: state.items,
            items_total: Some(self.total.items),
        });
    }
}
