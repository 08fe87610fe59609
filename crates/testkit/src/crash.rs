//! Crash-point enumeration: every state that a crash of a recorded history can leave behind is built
//! and handed to an oracle.

use crate::recording::{CrashState, Record, crash_states};
use bytes::Bytes;
use recoup_store::Key;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// How much was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Prefixes of the history.
    pub prefixes: usize,
    /// Different states that the oracle looked at.
    pub states: usize,
}

/// Calls `oracle` for every state that a crash at any moment of `log` can leave, starting from the
/// objects in `before`. States that differ in nothing the oracle can see come once. The first
/// complaint of the oracle ends it, with the state in words.
pub async fn every_crash<F, Fut>(
    before: &BTreeMap<Key, Bytes>,
    log: &[Record],
    seed: u64,
    mut oracle: F,
) -> Result<Tried, String>
where
    F: FnMut(CrashState) -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let mut seen = HashSet::new();
    let mut tried = Tried::default();
    for at in 0..=log.len() {
        tried.prefixes += 1;
        for state in crash_states(before, log, at, seed) {
            if !seen.insert(fingerprint(&state)) {
                continue;
            }
            tried.states += 1;
            let story = describe(&state, log);
            oracle(state).await.map_err(|complaint| format!("{story}: {complaint}"))?;
        }
    }
    Ok(tried)
}

fn fingerprint(state: &CrashState) -> u64 {
    let mut hash = DefaultHasher::new();
    state.objects().hash(&mut hash);
    state.marks.hash(&mut hash);
    hash.finish()
}

fn describe(state: &CrashState, log: &[Record]) -> String {
    let last = state.at.checked_sub(1).map_or_else(|| "nothing".to_owned(), |i| brief(&log[i]));
    format!(
        "crash after record {} of {} ({last}), of the changes in flight {:?} came through and {:?} did not",
        state.at,
        log.len(),
        state.came_through,
        state.lost
    )
}

fn brief(record: &Record) -> String {
    use crate::recording::Change;
    match record {
        Record::Issued(n, Change::Put(key, bytes)) => {
            format!("put {n} of {key}, {} bytes, issued", bytes.len())
        }
        Record::Issued(n, Change::Delete(key)) => format!("delete {n} of {key} issued"),
        other => format!("{other:?}"),
    }
}
