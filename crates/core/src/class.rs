//! The contract a source is held to. A class says what must be true; schedules and locations are
//! means, and whether they suffice is decided elsewhere.

use crate::retention::Retain;
use crate::suspicion::Thresholds;
use crate::units::Span;
use serde::{Deserialize, Serialize};

/// A contract, as declared under `[class.<name>]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// Its name in the file.
    pub name: String,
    /// Why it is what it is, for the person who reads it at 3 a.m.
    pub why: Option<String>,
    /// The role that answers for it.
    pub owner: Option<String>,
    /// How much work may be lost: the largest age of the newest point.
    pub rpo: Option<Span>,
    /// How long a restore may take until the application is healthy.
    pub rto: Option<Span>,
    /// How long the application may be down at all.
    pub mtd: Option<Span>,
    /// How many copies there must be, production included.
    pub copies: u32,
    /// How many failure domains the copies outside production must span.
    pub failure_domains: u32,
    /// How old the proofs may become.
    pub proven: Proven,
    /// Which points of its sources stay; `None` keeps everything.
    pub retain: Option<Retain>,
    /// Whether every source of this class must name the command that rebuilds it.
    pub rebuild_required: bool,
    /// From when on a capture is suspicious.
    pub suspect: Thresholds,
}

/// How old each proof of the ladder may become; `None` asks for no proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// A3: the stored bytes were read back and matched.
    pub intact: Option<Span>,
    /// A4: restored into a scratch place and checked.
    pub rehydrated: Option<Span>,
    /// A5: the application ran on the restored data.
    pub application: Option<Span>,
}
