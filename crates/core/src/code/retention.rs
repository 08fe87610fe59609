//! Codes of retention: E0660 to E0669, W0460 to W0466.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        code: "E0660",
        title: "a retention policy keeps nothing",
        meaning: "`retain` of a class has no rule that keeps a point: all counts are left out or 0, or a span is 0. `max` alone keeps nothing, it only limits the other rules. A mistyped policy looks like this.",
        effect: "Nothing was attempted, and nothing was deleted.",
        next: "Say what stays, as in `retain = { all = \"7d\", daily = 35, monthly = 13 }`. To keep everything take `retain` out.",
    },
    Code {
        code: "E0661",
        title: "a retention policy wants none of the points there are",
        meaning: "Every point of a source is older than what its policy keeps, as when captures stopped some time ago. Following the policy would leave the one point that is pinned and delete all others.",
        effect: "Nothing was deleted, of this source or of another.",
        next: "See why there are no newer points (`recoup points`, `recoup status`). If the policy is meant so, add `min = 1`, or a rule for days or months.",
    },
    Code {
        code: "E0662",
        title: "the `max` of a retention policy is shorter than its `all`",
        meaning: "`all` promises that everything younger stays, and `max` takes a part of that back. One of the two is not what was meant.",
        effect: "Nothing was attempted, and nothing was deleted.",
        next: "Raise `max`, or lower `all`.",
    },
    Code {
        code: "E0663",
        title: "the file for the picture is there already",
        meaning: "`recoup retention simulate --svg` found a file with that name and other content, and never overwrites one.",
        effect: "The file is what it was.",
        next: "Give another name, or remove the file.",
    },
    Code {
        code: "E0664",
        title: "this cannot be simulated",
        meaning: "With these lengths of time no point would be made, or more than a million, or the calendar ends before.",
        effect: "Nothing was attempted.",
        next: "Give other values for --for and --every, as in `--for 2y --every 15m`.",
    },
    Code {
        code: "W0460",
        title: "a class has no retention policy",
        meaning: "[class.NAME] has no `retain`, so every point with a source of that class stays for ever.",
        effect: "Nothing is deleted. The locations grow.",
        next: "Add `retain` once you know what you need; `recoup retention simulate` shows what it would keep.",
    },
    Code {
        code: "W0461",
        title: "points have a source that is not declared",
        meaning: "A source was taken out of recoup.toml or has a new name. No policy speaks of the old name, and its points are no part of the new series.",
        effect: "All points with that source stay, whatever the policies of their other sources say.",
        next: "If the source was renamed by mistake, give it its old name. Otherwise leave them, or decide about them one by one.",
    },
    Code {
        code: "W0462",
        title: "points are dated in the future",
        meaning: "The clock of the machine that made them was ahead, or somebody wants good points to look old beside them.",
        effect: "They stay, and count for nothing: they are never the newest, and take no place of a day or a month.",
        next: "Look at the clock of the machine that made them, and of this one.",
    },
    Code {
        code: "W0463",
        title: "points are not attested",
        meaning: "The application signs its points, and these have no good attestation: somebody else wrote them, or the attestation is lost.",
        effect: "They stay, and count for nothing: they are never the newest, and take no place of a day or a month.",
        next: "Find out who wrote them. Restore from an attested point.",
    },
    Code {
        code: "W0464",
        title: "retention deletes nothing while there is doubt",
        meaning: "Something that decides about the age of points cannot be trusted at the moment, as a clock that is off or went back.",
        effect: "Every point stays. Backups go on.",
        next: "Mend what the message names, then plan again.",
    },
];
