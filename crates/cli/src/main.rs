//! The recoup binary.
fn main() {}
