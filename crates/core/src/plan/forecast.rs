//! What a plan costs and what it loses, said before it runs.

use crate::units::Span;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Assumed until a restore or drill of this application has been timed.
const BYTES_PER_SECOND_ASSUMED: u64 = 60_000_000;

/// Cost and loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Bytes to be written.
    pub bytes: u64,
    /// Estimated seconds until the data is proved.
    pub seconds: u64,
    /// Whether the estimate rests on a measured restore.
    pub measured: bool,
    /// Writes since the point.
    pub loss: Loss,
}

/// Writes to live data that will not be in the result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Seconds from the point to the last known write, or to the decision if it is not known.
    pub seconds: u64,
    /// The last write that was seen, if any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_write: Option<Timestamp>,
    /// One line for people.
    pub detail: String,
}

pub(super) fn forecast(bytes: u64, rate: Option<u64>, loss: Loss) -> Forecast {
    let per_second = rate.unwrap_or(BYTES_PER_SECOND_ASSUMED).max(1);
    Forecast { bytes, seconds: bytes.div_ceil(per_second).max(1), measured: rate.is_some(), loss }
}

/// `writes` holds the last change of every live target that is there.
pub(super) fn loss(point: Timestamp, now: Timestamp, writes: &[Timestamp]) -> Loss {
    let until = |end: Timestamp| u64::try_from(end.as_second() - point.as_second()).unwrap_or(0);
    match writes.iter().max() {
        None => Loss {
            seconds: until(now),
            last_write: None,
            detail: format!("no live data to compare with; the point is {} old", span(until(now))),
        },
        Some(last) if *last <= point => {
            Loss { seconds: 0, last_write: Some(*last), detail: "nothing was written since the point".into() }
        }
        Some(last) => Loss {
            seconds: until(*last).max(1),
            last_write: Some(*last),
            detail: format!("writes of up to {} will not be in the result", span(until(*last).max(1))),
        },
    }
}

fn span(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}
