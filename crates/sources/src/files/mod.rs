//! Files and directories: read as they are, put back beneath a directory and nowhere else.

mod apply;
pub mod beneath;
pub mod exclude;
mod meta;
mod reader;
pub mod roots;
pub mod walk;
