//! Faults, clocks, crashes and real servers for the tests of recoup. It never ships.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

pub mod env;
pub mod memory_use;

pub mod disk;
pub mod faulty;
pub mod recording;
pub mod restic;
pub mod tree;

pub mod synthetic;

pub mod on_disk;
pub mod restored;

pub mod crash;

#[cfg(feature = "hostile")]
pub mod evil;

#[cfg(feature = "hostile")]
pub mod parsers;
