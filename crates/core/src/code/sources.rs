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
    Code {
        code: "E0520",
        title: "an exclude pattern cannot be understood",
        meaning: "A class such as [a-z] or an escape is not closed, a tag file has no name, or the pattern goes up with two dots.",
        effect: "Nothing was read and nothing was stored.",
        next: "Mend the pattern: *, ? and [a-z] match within one name, ** matches any number of directories.",
    },
    Code {
        code: "E0521",
        title: "what is to be captured does not exist",
        meaning: "The file or directory is not there. If it lies on a mounted disk, the disk may not be mounted.",
        effect: "Nothing of this path was stored.",
        next: "Look at the path and its mount, then correct the configuration or the command line.",
    },
    Code {
        code: "E0522",
        title: "a path could not be read",
        meaning: "The operating system refused to open or list it; the reason stands with the error.",
        effect: "This path is missing in the capture; everything else was stored.",
        next: "Run recoup as a user who may read it, or leave the path out by name if it is not needed.",
    },
    Code {
        code: "E0523",
        title: "extended attributes could not be read",
        meaning: "Content and permissions were read, but the attributes or access control lists were not.",
        effect: "The path was stored without them.",
        next: "Run recoup as the owner of the file or as root.",
    },
    Code {
        code: "E0524",
        title: "a live database among the files could not be copied",
        meaning: "The file is a SQLite database that may change while it is read. A plain copy of such a file is usually damaged, so recoup asks SQLite for a consistent one, and SQLite could not give it.",
        effect: "The database is missing in the capture, and the point does not count as complete.",
        next: "Read the reason. If the database is in use all the time, declare it as a source of its own with kind = \"sqlite\".",
    },
    Code {
        code: "E0525",
        title: "the source is empty and was not before",
        meaning: "The last good point had files here and now there are none. A disk that is not mounted looks like this, and so does an accident.",
        effect: "What is there was stored, but the point does not count as good, and older points are kept.",
        next: "Look whether the disk is mounted and the files are really gone on purpose.",
    },
    Code {
        code: "E0526",
        title: "a file became something else while it was captured",
        meaning: "It was listed as a regular file and was a link, a pipe or a device when it was opened.",
        effect: "This path is missing in the capture; everything else was stored.",
        next: "Run the backup again; if it happens again, find out who exchanges files there.",
    },
    Code {
        code: "E0527",
        title: "a symbolic link was named as the root of a backup",
        meaning: "The link itself is stored, as restic does, and not the files it points to.",
        effect: "The files behind the link are not in the snapshot unless they are named by another path.",
        next: "Name the directory by its own path, or add a trailing slash.",
    },
];
