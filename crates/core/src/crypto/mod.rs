//! What makes a record trustworthy without trusting where it lies: signatures over canonical text, and one
//! hash that stands for a whole log.
//!
//! Everything here is pure: keys and messages in, signatures and verdicts out. Keys are made from randomness
//! that the caller brings, and are read and kept elsewhere. This is the only folder of this crate that may
//! import crates for signatures (`cargo xtask tidy`).

mod signing;
pub mod tree;

pub mod note;

pub use signing::{SEED_BYTES, Signer, SigningKey};
