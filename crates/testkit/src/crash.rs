//! Crash-point enumeration: every state that a crash of a recorded history can leave behind is built
//! and handed to an oracle.

use crate::recording::{CrashState, Record, crash_states};
use bytes::Bytes;
use recoup_store::Key;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::task::{JoinError, JoinSet};

/// How much was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Prefixes of the history.
    pub prefixes: usize,
    /// Different states that the oracle looked at.
    pub states: usize,
}

/// Calls `oracle` for every state that a crash at any moment of `log` can leave, starting from the
/// objects in `before`. States that differ in nothing the oracle can see come once. Some are looked at
/// at the same time, on the threads of the runtime. A complaint comes with the state in words.
pub async fn every_crash<F, Fut>(
    before: &BTreeMap<Key, Bytes>,
    log: &[Record],
    seed: u64,
    oracle: F,
) -> Result<Tried, String>
where
    F: Fn(CrashState) -> Fut,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    const AT_ONCE: usize = 8;
    let mut seen = HashSet::new();
    let mut tried = Tried::default();
    let mut running = JoinSet::new();
    for at in 0..=log.len() {
        tried.prefixes += 1;
        for state in crash_states(before, log, at, seed) {
            if !seen.insert(fingerprint(&state)) {
                continue;
            }
            tried.states += 1;
            let story = describe(&state, log);
            let verdict = oracle(state);
            running.spawn(async move { verdict.await.map_err(|complaint| format!("{story}: {complaint}")) });
            if running.len() >= AT_ONCE {
                settle(running.join_next().await)?;
            }
        }
    }
    while let Some(verdict) = running.join_next().await {
        settle(Some(verdict))?;
    }
    Ok(tried)
}

fn settle(verdict: Option<Result<Result<(), String>, JoinError>>) -> Result<(), String> {
    match verdict {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(complaint))) => Err(complaint),
        Some(Err(panic)) => Err(format!("the oracle itself failed: {panic}")),
    }
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
