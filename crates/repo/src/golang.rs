//! How Go writes text, since tree ids are hashes of what Go wrote: `strconv.Quote`, `encoding/json`
//! with its HTML escapes, and times as RFC 3339.

mod printable;
pub mod text;
pub mod time;
