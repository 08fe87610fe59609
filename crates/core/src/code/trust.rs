//! Codes of signatures: E0670 to E0679, E0822, E0823, R0119, R0120.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        code: "E0670",
        title: "an attestation cannot be believed",
        meaning: "A statement about points is signed by nobody who is trusted here, is not what its name or its signature says, or is damaged. Signatures are checked whenever a statement is read for the first time, and all of them by `recoup verify --read-data`.",
        effect: "The statement does not count. Points whose attestation is whole are not concerned, and every genuine point can be restored.",
        next: "Find out who can write to the location. If it is damage, the next backup of a machine that has a copy puts the statement back, at once when its length is wrong, otherwise after you have deleted the damaged object.",
    },
    Code {
        code: "E0671",
        title: "an attestation was written by a newer recoup",
        meaning: "The statement has a schema that this version does not know.",
        effect: "It does not count here; nothing was changed.",
        next: "Update recoup on this machine.",
    },
    Code {
        code: "E0672",
        title: "the signed history of a location is not what it was",
        meaning: "Every point is stated with a number, and this machine remembers the newest that it saw at each location. The location now shows fewer, others, or some are missing in between: an old state was put back, statements were removed, or two machines use one signing key.",
        effect: "Nothing was deleted. New points are stored and signed after the newest statement that is known. Points that are genuine can be restored.",
        next: "Compare with another location by `recoup points --location NAME`, and find out who changed this one before trusting what it shows as newest.",
    },
    Code {
        code: "E0673",
        title: "statements are signed by a stranger",
        meaning: "Statements lie at the location whose signer is not among `signers` in [keys].",
        effect: "They do not count, and neither do the points that only they speak of. Nothing was changed.",
        next: "If the signer is one of your machines, add its public key to `signers`; `recoup keys list` prints it there.",
    },
    Code {
        code: "E0674",
        title: "a point is gone that nobody deleted",
        meaning: "A signed statement says that the point was made at this location or copied to it, no statement says that it was deleted, and it is not there.",
        effect: "Other points are as they were.",
        next: "Restore from another location if you need it; `recoup points` says which have it. Find out who can delete at this location.",
    },
    Code {
        code: "E0675",
        title: "a point has no attestation",
        meaning: "It stands in the repository, and no trusted signer says that it was made. A run that was killed in its last second leaves such a point, and the next run on the same machine makes up for it; so does somebody who has the password and not the signing key.",
        effect: "It is shown, never counted as the newest, and never deleted by itself. It can be restored by its own name.",
        next: "If no run of yours left it, somebody else writes into the repository: change its password and look at who had it.",
    },
    Code {
        code: "E0676",
        title: "the point could not be signed",
        meaning: "The data is durable and was read back, and the statement about it could not be signed or stored.",
        effect: "The point can be restored by its own name. It does not count as the newest.",
        next: "Mend what the message says and run `recoup backup` again.",
    },
    Code {
        code: "E0677",
        title: "the newest statement at a location is old",
        meaning: "The contract asks for a point more often than this location shows one. Either backups do not run, or the location shows an old state.",
        effect: "None.",
        next: "`recoup status` says whether backups run. If they do, compare with another location: this one may be frozen.",
    },
    Code {
        code: "E0822",
        title: "a signing key or a public key cannot be read",
        meaning: "Keys are Ed25519 keys in OpenSSH's format, without a passphrase.",
        effect: "Nothing was changed.",
        next: "`ssh-keygen -t ed25519 -N ''` makes one; `recoup init` does it for a new application.",
    },
    Code {
        code: "E0823",
        title: "nothing can be signed on this machine",
        meaning: "The configuration says who signs, and the signing key of this machine is missing, cannot be read, or is not among `signers`.",
        effect: "Backups run and their points are stored, but nobody answers for them, so they do not count as the newest.",
        next: "Put the key file back where `signing` says, or make a new one and list its public key under `signers`.",
    },
    Code {
        code: "R0119",
        title: "nobody has signed at this location yet",
        meaning: "The application declares who signs, and the location has points and no statement. That is so before the first backup with a signing key; afterwards it means that the statements were removed.",
        effect: "All points count until somebody signs.",
        next: "Run `recoup backup`: it takes the points over and signs from then on.",
    },
    Code {
        code: "R0120",
        title: "a capture is suspicious",
        meaning: "Compared with the one before, much of it was rewritten with content that does not compress, much or all of it is gone, nothing changed where something has to, or a canary file was touched. The thresholds stand in the class, under `suspect`.",
        effect: "The capture is stored and can be restored. No point before it is deleted until somebody has looked into it.",
        next: "Look at the live data. If it is as it should be, say so: `recoup hold release POINT --reason ...`. If not, `recoup restore --at 'before POINT'`.",
    },
];
