//! Objects at a location, put durably or not at all.
//! It never knows what the bytes mean.

pub mod api;
pub mod key;

pub use api::{Capabilities, Meta, Put, Store, StoreExt};
pub use key::Key;
