//! Codes of the engine and its repositories: E0401 to E0499.

use super::Code;

pub(super) const CODES: &[Code] = &[Code {
    code: "E0405",
    title: "a name in the repository is not one normal path component",
    meaning: "A directory entry is empty, has a slash or a NUL byte, or is . or .., so that restoring it could write outside the target. Honest tools never write such names.",
    effect: "The entry was left out; everything else was restored.",
    next: "Look at the snapshot with `recoup repo ls`; treat the repository as tampered with until you know who wrote the entry.",
}];
