//! Words in, words out: the recoup command line.
//! It never decides: a verb parses, calls one function of `recoup_ops` or `recoup_repo`, renders.

pub mod exit;
mod render;
mod context;
#[cfg(feature = "mount")]
mod mount;
mod verb;
mod app;

pub use app::{command, run};
