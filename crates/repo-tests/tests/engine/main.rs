//! The engine as a whole: crashes, faults, hostile repositories, and stock restic next to it.
#![allow(
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

mod kit;

mod interop;
mod traps;

mod checking;
mod crash_points;
mod faults;
mod hostile;
mod opening;
mod prune;
mod prune_crashes;
mod prune_plan;
mod prune_schedules;
mod repair;
mod rotation;
mod rows;
mod state_machine;
mod transfer;
mod view;
