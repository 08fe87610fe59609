//! Codes of capture from live data: E0500 to E0599.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        code: "E0501",
        title: "a command could not be started",
        meaning: "The program was not found, may not be executed, or its working directory is missing. Commands are argument arrays: no shell looks at them.",
        effect: "Nothing ran, so the command changed nothing.",
        next: "Run the same command by hand as the same user; write the full path of the program if it is not on PATH.",
    },
    Code {
        code: "E0502",
        title: "a command failed",
        meaning: "It ended with another code than 0, or a signal ended it. Its last words stand with the error.",
        effect: "What the command did before it failed stays done; recoup stopped there.",
        next: "Read its last words, run the same command by hand, then run recoup again.",
    },
    Code {
        code: "E0503",
        title: "a command took longer than allowed",
        meaning: "The command and everything it started were stopped when its time was over.",
        effect: "What the command did before stays done; recoup stopped there.",
        next: "Find out why it hangs, or allow it more time in the configuration.",
    },
];
