//! Codes of the verbs of `recoup repo` around keys, copies and single files.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        code: "E0490",
        title: "a key file cannot be changed like this",
        meaning: "No key file has such an id, or several have, or it is the one in use or the last one, or there are as many as are ever tried.",
        effect: "No key was changed: every password that worked before works still.",
        next: "Look at `recoup repo key list`. To remove the key in use, open the repository with another password, or use `recoup repo key passwd`.",
    },
    Code {
        code: "E0491",
        title: "a new key file did not open",
        meaning: "The key file was stored, read back, and did not give the key of the repository with the new password. The machine or the location changed it.",
        effect: "It was removed again. Every password that worked before works still.",
        next: "Check the memory of this machine and the disk of the location, then try again.",
    },
    Code {
        code: "E0492",
        title: "source and target of a copy are one repository",
        meaning: "Both names lead to the same place.",
        effect: "Nothing was copied.",
        next: "Name another repository with --from-repo.",
    },
    Code {
        code: "W0493",
        title: "two repositories cut files differently",
        meaning: "Each repository has a secret number that decides where files are cut, and these two have different ones.",
        effect: "The copies are whole. New backups to the target are cut at other places and share no data with what was copied.",
        next: "Create the target with `recoup repo init --from-repo SOURCE --copy-chunker-params` and copy into that.",
    },
    Code {
        code: "E0494",
        title: "an entry cannot be dumped",
        meaning: "The path is neither a file nor a directory, or a name or size in it does not fit into the archive that was asked for.",
        effect: "What was written so far is not complete and must not be used.",
        next: "Restore it with `recoup repo restore`, or choose the other kind of archive.",
    },
    Code {
        code: "E0495",
        title: "the command whose output was to be stored failed",
        meaning: "It could not be started, ended with another code than 0, or was killed. Its output cannot be trusted to be whole.",
        effect: "No snapshot was written. What was stored of the output is used by a later run.",
        next: "Run the command by itself and look at what it says.",
    },
    Code {
        code: "E0840",
        title: "this program was built without mount",
        meaning: "`recoup repo mount` is a part of the program that can be left out when it is built, and it was.",
        effect: "Nothing was mounted.",
        next: "Build it with `cargo build --release --features mount`, or get files out with `recoup repo restore` or `recoup repo dump`.",
    },
    Code {
        code: "E0841",
        title: "a repository cannot be mounted there",
        meaning: "The directory is missing or holds something, or this host does not mount: the kernel has no FUSE, or fuse3 is not installed and you are not root.",
        effect: "Nothing was mounted, and nothing was written.",
        next: "Give an empty directory. As another user than root install fuse3; for --allow-other put user_allow_other into /etc/fuse.conf. What an earlier mount has left is removed with `umount DIR`.",
    },
    Code {
        code: "W0842",
        title: "the mounted repository is still in use",
        meaning: "It was to be unmounted, and somebody has a file of it open or works in one of its directories.",
        effect: "It stays mounted and goes on answering.",
        next: "`fuser -vm DIR` names them. A second Ctrl-C ends it all the same; what is open then gives errors.",
    },
];
