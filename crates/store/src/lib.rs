//! Objects at a location, put durably or not at all.
//! It never knows what the bytes mean.

pub mod key;

pub mod api;
pub mod memory;

pub mod local;

pub mod wrap;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use api::{Capabilities, Meta, Put, Store, StoreExt};
pub use key::Key;
