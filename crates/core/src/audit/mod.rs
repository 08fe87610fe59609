//! The audit log: one record for each event that matters, and what a list of them proves.
//!
//! A log is text. Each line is canonical JSON with two fields: the record, and a checkpoint in the format of
//! C2SP ([`crate::crypto::note`]) that says how many records the log has now and which hash stands for all of
//! them ([`crate::crypto::tree`]). The two stand in one line so that no crash can come between them. The
//! record's number is its line and the size in its checkpoint, so the first checkpoint that does not
//! fit names the record that was touched.
//!
//! Signatures say who wrote; the public key alone checks them, offline. What no single text can show is that
//! its newest lines are gone: for that [`compare`] sets it beside a copy.
//!
//! A record is made of ids, names, counts and codes ([`words`]). There is no field for any text, so that no
//! secret, no row and no content of a file can get in.

mod record;
#[cfg(test)]
mod tests;
mod verify;
pub mod words;

pub use record::{Details, End, Event, KeyUse, Line, LogChange, Phase, Record, SCHEMA, Target};
pub use verify::{Compared, Late, Verdict, Wrong, compare, verify};
