//! Codes of the host, the command line and keys: E0800 to E0899.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        code: "E0801",
        title: "the command line does not say which repository or password is meant",
        meaning: "`recoup repo` needs the name of a repository and its password. Neither an option nor one of restic's environment variables gave it, or two of them contradict each other.",
        effect: "Nothing was read or written.",
        next: "Give -r DIR and --password-file FILE, or set RESTIC_REPOSITORY and RESTIC_PASSWORD_FILE.",
    },
    Code {
        code: "E0802",
        title: "the time given with --timeout was not enough",
        meaning: "The command was stopped when the time was over. It was not waiting for an answer of yours.",
        effect: "What was complete before is untouched; what this command had begun may be half done and is either ignored or taken up by the next run.",
        next: "Run it again with a longer --timeout, or without one.",
    },
    Code {
        code: "E0803",
        title: "this version cannot reach that kind of place",
        meaning: "Repositories in a local directory are supported so far. S3, SFTP, REST and rclone are not part of this version.",
        effect: "Nothing was read or written.",
        next: "Mount the place, or copy the repository to a directory; its format is restic's, so restic can reach it too.",
    },
    Code {
        code: "E0807",
        title: "there is no place for recoup's own files",
        meaning: "recoup keeps its state below RECOUP_STATE_DIR, XDG_STATE_HOME or your home directory, and none of them is set.",
        effect: "Nothing was attempted.",
        next: "Set RECOUP_STATE_DIR to a directory that only you can read.",
    },
    Code {
        code: "E0808",
        title: "the host cannot do something that recoup needs",
        meaning: "`recoup doctor` tried it and it did not work. The line says what, and what stops working because of it.",
        effect: "Backups may still run; drills and some checks may end with \"could not find out\".",
        next: "Do what the line says, and run `recoup doctor` again.",
    },
    Code {
        code: "E0810",
        title: "a secret is not where it should be",
        meaning: "The password, or another secret that the configuration or the command line refers to, is in an environment variable that is not set or a file that cannot be read.",
        effect: "Nothing was attempted. Copies are untouched.",
        next: "Set the variable or restore the file. If it is lost, the password stands on the recovery sheet.",
    },
    Code {
        code: "E0811",
        title: "the command that prints a secret failed",
        meaning: "It could not be started, ended with an error, or took longer than 30 seconds. Its output is not shown, because it may hold the secret.",
        effect: "Nothing was attempted. Copies are untouched.",
        next: "Run the command by hand and look at what it says.",
    },
    Code {
        code: "E0812",
        title: "a secret is empty or too long",
        meaning: "The place where it is kept exists and holds nothing, or more than 64 KiB.",
        effect: "Nothing was attempted. Copies are untouched.",
        next: "Put the secret back. If it is lost, the password stands on the recovery sheet.",
    },
    Code {
        code: "E0820",
        title: "the repository password would lie inside the project",
        meaning: "Whatever lies in the project is committed, deployed and backed up together with it. A key must not lie in the box that it opens.",
        effect: "No password was made.",
        next: "Choose a file outside of the project's folder.",
    },
    Code {
        code: "E0821",
        title: "there is a password file already",
        meaning: "recoup never overwrites a password: it may be the only key to points that exist.",
        effect: "The file was not touched.",
        next: "Use it, or move it away if you are sure that no copy needs it.",
    },
    Code {
        code: "E0830",
        title: "the project's settings cannot be imported",
        meaning: "recoup ran the project's own interpreter without network to read its settings, and the import failed. The project's own error is shown; values that look secret are taken out of it.",
        effect: "Nothing was changed. What files alone can tell is still used.",
        next: "Run `python manage.py check` with the same environment, mend what it says, and run `recoup init` again.",
    },
];
