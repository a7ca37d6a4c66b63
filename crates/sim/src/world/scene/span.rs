//! From how long to how long.

use std::{borrow::Cow, str::FromStr};

use rerail_api::duration::{DurationError, GoDuration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::world::draw::Range;

/// `40s..90s`, or `40s` for exactly so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(Range);

/// Why a text is no span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// One end is no duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// It ends before it begins.
    #[error("`{0}` ends before it begins; write the shorter time first")]
    Backwards(String),
}

impl Span {
    /// In milliseconds.
    pub fn millis(self) -> Range {
        self.0
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let one = |text: &str| {
            Ok::<u64, DurationError>(super::millis(&text.trim().parse::<GoDuration>()?))
        };
        let (from, to) = (one(from)?, one(to)?);
        if from > to {
            return Err(SpanError::Backwards(text.to_owned()));
        }
        Ok(Span((from, to)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (from, to) = self.0;
        match from == to {
            true => serializer.collect_str(&format_args!("{from}ms")),
            false => serializer.collect_str(&format_args!("{from}ms..{to}ms")),
        }
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A duration, or from which to which: `20s..60s`." })
    }
}
