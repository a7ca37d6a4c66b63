//! Durations as users of this field write them: `10m`, `1h30m`, `250ms` (design note 002).

use std::{borrow::Cow, str::FromStr};

use jiff::SignedDuration;
use rerail_core::words::one_line;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Schema pattern: one or more integers, each with a unit of Go's that a person would use here.
pub const PATTERN: &str = "^([0-9]+(ms|s|m|h))+$";

/// The longest duration that a field takes: a year.
const LIMIT: SignedDuration = SignedDuration::from_hours(8760);

/// A duration, not negative, at most `8760h`. Keeps the words it was written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoDuration {
    text: String,
    value: SignedDuration,
}

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no duration; write integers with the units h, m, s or ms, at most 8760h, such as `10m` or `1h30m`"
)]
pub struct DurationError(pub String);

impl GoDuration {
    /// The duration itself.
    pub fn value(&self) -> SignedDuration {
        self.value
    }

    /// Of a default that is known to be good; falls back to zero, which a test refuses.
    pub(crate) fn of(text: &str) -> Self {
        text.parse().unwrap_or(GoDuration { text: "0s".into(), value: SignedDuration::ZERO })
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || DurationError(one_line(text, 40));
        if text.is_empty() || text.len() > 32 {
            return Err(error());
        }
        let value = milliseconds(text).map(SignedDuration::from_millis);
        let value = value.filter(|value| *value <= LIMIT).ok_or_else(error)?;
        Ok(GoDuration { text: text.to_owned(), value })
    }
}

/// Integers with units, added up, in any order and as often as one likes: so Go reads them, and with it
/// the API server, which stores whatever fits [`PATTERN`].
fn milliseconds(text: &str) -> Option<i64> {
    let (mut total, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = rest.split_at(unit_at);
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
        let (unit, each) = units.into_iter().find(|(name, _)| unit.starts_with(name))?;
        rest = &rest[unit_at + unit.len()..];
        let part = number.parse::<i64>().ok()?.checked_mul(each)?;
        total = total.checked_add(part)?;
    }
    Some(total)
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "maxLength": 32,
            "x-kubernetes-validations": [{
                "rule": "duration(self) <= duration('8760h')",
                "message": "must be at most 8760h (a year)",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_pattern_allows() {
        for (text, seconds) in [
            ("10m", 600),
            ("1h30m", 5400),
            ("90s", 90),
            ("0s", 0),
            ("8760h", 31_536_000),
            ("30m1h", 5400),
            ("1h1h", 7200),
            ("1m500ms500ms", 61),
            ("0000000000000000000000000000001h", 3600),
        ] {
            assert_eq!(
                text.parse::<GoDuration>().unwrap().value(),
                SignedDuration::from_secs(seconds),
                "{text}"
            );
        }
        assert_eq!(
            "250ms".parse::<GoDuration>().unwrap().value(),
            SignedDuration::from_millis(250)
        );
    }

    #[test]
    fn refuses_the_rest_without_panic() {
        for text in [
            "",
            "10",
            "m",
            "-1m",
            "1.5h",
            "1d",
            "10 m",
            "8761h",
            "99999999999999999999h",
            "1e9h",
            "ten",
            "hm",
            "1hm",
            "1mms",
            "8760h1ms",
            "9223372036854775807h",
        ] {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }
}
