//! Codes of the engine and its repositories: E0401 to E0499.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        code: "E0401",
        title: "the disk or the quota of a location is full",
        meaning: "A write was refused because there is no space left. The message says how many bytes were needed and how many are free. Trying again would not help, so recoup stopped at once.",
        effect: "Nothing half-written is left under a real name; everything that was stored before is unharmed and can be restored.",
        next: "Make room at the location or raise the quota, then run the same command again: what was stored already is used again.",
    },
    Code {
        code: "E0402",
        title: "the directory of a location is missing",
        meaning: "The directory that holds the repository does not exist. Most often its disk is not mounted, or the path in the configuration has a mistake.",
        effect: "Nothing was read and nothing was written. An unmounted disk is never taken for an empty repository.",
        next: "Mount the disk or mend the path. Run `recoup repo init` only if there never was a repository at this place.",
    },
    Code {
        code: "E0405",
        title: "a name in the repository is not one normal path component",
        meaning: "A directory entry is empty, has a slash or a NUL byte, or is . or .., so that restoring it could write outside the target. Honest tools never write such names.",
        effect: "The entry was left out; everything else was restored.",
        next: "Look at the snapshot with `recoup repo ls`; treat the repository as tampered with until you know who wrote the entry.",
    },
    Code {
        code: "W0481",
        title: "a location answered only when it was asked again",
        meaning: "A read or write at a location failed for a passing reason and was tried again. The message holds the first failure.",
        effect: "None: the call that was repeated either succeeded or is reported as an error of its own.",
        next: "Nothing, unless it happens often: then look at the disk, the network or the server of the location.",
    },
];
