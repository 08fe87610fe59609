//! How answers, errors and events look: for people, as one JSON document, as JSON lines, as JUnit.

pub(crate) mod answer;
pub(crate) mod error;
pub(crate) mod progress;
pub(crate) mod style;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod timeline;

pub(crate) use answer::Answer;
