//! Drivers against real files, real databases and real processes. Tests named `row_N_...` show row
//! N of the fault table.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests make the world they need")]

mod beneath;
mod common;
mod conformance;
mod files;
mod in_place;
mod ignores;
mod roots;
mod sqlite;
mod walk;
