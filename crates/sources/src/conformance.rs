//! One suite for every source.

pub use crate::pour::pour;
