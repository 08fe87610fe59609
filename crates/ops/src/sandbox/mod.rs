//! A place where a restored application can run and can reach nothing: private mounts, network,
//! processes and names, restored data over the live paths, an unprivileged user, a time limit.
//! It never judges what it saw.
//!
//! The binary starts itself again: `outer` makes the namespaces, `inside` is their first process,
//! `launch` turns itself into a command. [`entry`] must therefore be the first call of `main`,
//! before there is a second thread.

mod host;
mod inside;
mod launch;
mod layers;
mod mounts;
mod net;
mod opens;
mod packets;
mod reach;
mod root;
mod sinks;
pub mod spec;

pub use host::run;

/// First argument of a stage.
const ENTRY: &str = "__sandbox";

/// Runs a stage if this process was started as one, and gives its exit code. `arguments` are those of
/// the process, without its name.
pub fn entry(arguments: impl IntoIterator<Item = String>) -> Option<i32> {
    let mut words = arguments.into_iter();
    if words.next()? != ENTRY {
        return None;
    }
    let stage = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    Some(match stage.as_str() {
        "outer" => host::outer(&rest),
        "inside" => inside::inside(),
        "launch" => launch::launch(&rest),
        "reach" => reach::reach(&rest),
        _ => 2,
    })
}
