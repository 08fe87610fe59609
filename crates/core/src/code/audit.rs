//! Codes of the audit log: E0680 to E0689, R0130 to R0139.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        code: "E0680",
        title: "the audit log cannot be written, so nothing was begun",
        meaning: "What puts restored data in the place of live data, takes data to another place or shows a key is written into the audit log first, so that nobody can do it without a trace. That record could not be made durable.",
        effect: "Nothing was done and nothing was changed.",
        next: "See what the error says: most often the disk of the state directory is full, or it belongs to another user. Then repeat the command.",
    },
    Code {
        code: "E0681",
        title: "the audit log is locked",
        meaning: "Processes append to the audit log one after the other, and another one held it for half a minute. It may be stopped, or wait for a location that does not answer.",
        effect: "No record was written by this command.",
        next: "`fuser -v` on the lock file that the message names says which process it is.",
    },
    Code {
        code: "E0682",
        title: "there is no audit log to read",
        meaning: "The file is not there, is empty or is no audit log. The log of an application lies in its state directory and is begun by the first backup, restore, drill or verify on this machine.",
        effect: "Nothing was changed.",
        next: "Make a backup, or name the exported file with --file. If there was a log, a copy lies at the locations, and the next record that is written takes it over.",
    },
    Code {
        code: "R0130",
        title: "a record of the audit log is wrong",
        meaning: "The record that is named is not what was written, is missing, stands in another place, was added, or was sealed with a key that nobody here trusts. Each record is followed by a checkpoint with one hash over all records so far, and this is the first that does not fit.",
        effect: "The records before it hold. Of it and those after it this log proves nothing. Backups are not concerned.",
        next: "Keep the file as it is. `recoup audit verify` says which locations have a whole copy; find out who could write the file.",
    },
    Code {
        code: "R0131",
        title: "the audit log is shorter than its copy",
        meaning: "A location has records that the log on this machine ends before: its end was cut off, or an old state of the machine was put back.",
        effect: "Nothing is lost: the copy has the records. The next record that is written takes them over, and says so.",
        next: "If nobody put an old state of this machine back, find out who removed the records that are named.",
    },
    Code {
        code: "R0132",
        title: "the audit log and its copy are two histories",
        meaning: "From the record that is named on, the log on this machine and the copy at a location differ, or the location holds two versions. One of them was rewritten with the key of this machine, or two machines went on with one log.",
        effect: "What stands before that record is the same in both. Nothing was deleted.",
        next: "Keep both. `recoup audit export` writes the log of this machine; compare it with the objects under recoup/audit/ at the location. If the machine was taken over, make a new signing key.",
    },
    Code {
        code: "R0133",
        title: "records of the audit log are not signed",
        meaning: "The application declares no signing key, the key was not there when the records were written, or no public key was given to check them with. Whoever can write the file could have written these records and their hashes.",
        effect: "Accidents are seen. A forger is not.",
        next: "Make a key with `recoup keys add signing`, or give its public half with --signer. What is recorded from then on is signed.",
    },
    Code {
        code: "R0134",
        title: "the audit log was not compared with a copy",
        meaning: "The location cannot be reached, or has no copy of the log yet. A log by itself cannot show that its newest records are gone.",
        effect: "What stands in the log is checked all the same.",
        next: "Make the location reachable and run a backup: it copies the log there.",
    },
    Code {
        code: "R0135",
        title: "the copy of the audit log at a location is damaged",
        meaning: "Objects of the copy are missing or are not what was put there. The log on this machine is not concerned.",
        effect: "The copy proves nothing from the record that is named on.",
        next: "Run `recoup verify --location NAME`: what damaged the copy may have damaged more. Missing records are copied again by the next backup.",
    },
    Code {
        code: "R0136",
        title: "a line of the audit log cannot be read",
        meaning: "The last line is cut off, as a crash leaves it, or a line was written by a newer recoup or is no record. A record that is cut off was never acted upon.",
        effect: "The next record that is written drops the rest of a line that was cut off, and says so.",
        next: "Run `recoup audit verify`. If nothing crashed here, find out who wrote the file.",
    },
    Code {
        code: "R0137",
        title: "something happened that the audit log has no record of",
        meaning: "It was no operation that must be written down first, and the record could not be written.",
        effect: "What was done is done, and what it reports is true. The log lacks it.",
        next: "See what the message says about the state directory: its disk may be full, or it belongs to another user.",
    },
    Code {
        code: "R0138",
        title: "the audit log was not copied to a location",
        meaning: "The location can be reached and did not take the newest records of the log.",
        effect: "The log on this machine is whole. Until it is copied, only this machine has its newest records.",
        next: "See whether the location has room and takes new files. The next backup copies what is missing.",
    },
    Code {
        code: "R0139",
        title: "records of the audit log were signed only later",
        meaning: "When these records were written there was no signing key, or it was not there. A later record is signed and its hash stands for them too, so they have not changed since. What they were before that nobody says: whoever has no key could have written them anew in between.",
        effect: "Records after that signature are not concerned.",
        next: "If the key was made only then, all is well. If it was there all the time, compare these records with a copy at a location: `recoup audit verify` does.",
    },
];
