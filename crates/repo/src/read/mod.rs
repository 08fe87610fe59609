//! Reading: blobs, directories, files, and whole trees back onto a target.
//!
//! Every blob is hashed before it is used, and every copy is tried before it counts as lost. Walks are
//! iterative, so the depth of a tree costs heap and no stack (fault row 155).

mod blob;
pub mod glob;
mod links;
mod pieces;
mod progress;

mod walk;

mod select;
mod write;

mod delta;

mod batch;
mod report;
mod restore;
mod run;

mod sweep;
mod verify;

mod survey;

pub(crate) use blob::is_damage;
pub(crate) use progress::{Progress, Total};
pub use report::{RestoreReport, damage_ranges};
pub use restore::{RestoreOptions, restore};
pub use survey::survey;
pub use sweep::delete_others;
pub use verify::verify;
pub use walk::{Visit, Walker, find_path, list, read_file};
