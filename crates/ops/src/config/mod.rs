//! `recoup.toml`: read strictly, explained with the line, never executed.
//!
//! [`load()`] finds the file, reads it as a tree that knows the origin of every value ([`node`]),
//! lays the overlay of the environment over it, fills in variables, checks the tree against the
//! schema that the section types generate ([`schema`], `strict`), composes a [`Config`] and checks
//! the names in it against each other. All problems are collected and shown at once ([`problem`]).
//!
//! A file may come from a branch that somebody else wrote: reading it runs nothing, opens nothing
//! that it names, and is bounded in size and depth.

pub mod problem;

pub mod node;

mod interpolate;

mod decode;

pub mod units;

pub mod class;

pub mod section;

pub mod schema;

mod strict;

mod compose;

mod find;

mod load;

pub mod effective;

pub use compose::{Config, Driver, Source};
pub use load::{LoadOptions, Loaded, load, parse};
pub use problem::{Problem, Problems};
