//! Stores around stores. Each forwards every method, which a lint checks: a wrapper that forgets one
//! would silently switch an ability off.

pub mod readonly;
pub mod retry;
