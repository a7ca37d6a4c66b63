//! Budgets, breaker and ageing: spec to core, and storms to status and back.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rerail_core::{
    breaker::{Storm, Storms},
    budget::CountOrPercent,
    policy as core,
    words::one_line,
};

use crate::limits::{
    AgeingSpec, BreakerReset, BreakerSpec, BudgetSpec, COUNT_LIMIT, STARTS_LIMIT, STORMS_KEPT,
    StormState, StormStatus,
};

/// A value that is out of range; stored before the schema refused it, or in a ConfigMap, which has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {found} is out of range; write {expected}")]
pub struct LimitError {
    /// The field, from the spec or the document down.
    pub field: &'static str,
    found: String,
    expected: &'static str,
}

impl LimitError {
    fn new(field: &'static str, found: impl ToString, expected: &'static str) -> Self {
        let found = one_line(&found.to_string(), 40);
        LimitError { field, found, expected }
    }
}

const A_LENGTH: &str = "a duration longer than 0s, such as `10m`";

pub(super) fn budget(spec: &BudgetSpec) -> Result<core::Budget, LimitError> {
    let starts = &spec.max_starts;
    if !(1..=STARTS_LIMIT).contains(&starts.count) {
        return Err(LimitError::new("budget.maxStarts.count", starts.count, "1 to 1000"));
    }
    if starts.per.value().is_zero() {
        return Err(LimitError::new("budget.maxStarts.per", "0s", A_LENGTH));
    }
    Ok(core::Budget {
        max_unavailable: count_or_percent("budget.maxUnavailable", &spec.max_unavailable)?,
        min_floor: at_least(0, "budget.minFloor", spec.min_floor)?,
        max_domains: at_least(1, "budget.maxDomains", spec.max_domains)?,
        max_unavailable_per_domain: count_or_percent(
            "budget.maxUnavailablePerDomain",
            &spec.max_unavailable_per_domain,
        )?,
        max_starts: core::MaxStarts { count: starts.count, per: starts.per.value() },
    })
}

/// `reset` is the value of the annotation by which a person resets the breaker; one that is no time
/// resets nothing, and must not take the policy out of force while its runs are under way.
pub(super) fn breaker(
    spec: &BreakerSpec,
    reset: Option<&String>,
) -> Result<core::Breaker, LimitError> {
    if spec.window.value().is_zero() {
        return Err(LimitError::new("breaker.window", "0s", A_LENGTH));
    }
    Ok(core::Breaker {
        unhealthy: count_or_percent("breaker.unhealthy", &spec.unhealthy)?,
        correlated: count_or_percent("breaker.correlated", &spec.correlated)?,
        window: spec.window.value(),
        manual_reset: match spec.reset {
            BreakerReset::Automatic => false,
            BreakerReset::Manual => true,
        },
        reset_at: reset.and_then(|time| time.parse().ok()),
    })
}

pub(super) fn ageing(spec: &AgeingSpec) -> Result<core::Ageing, LimitError> {
    if spec.floor > 9999 {
        return Err(LimitError::new("priority.ageing.floor", spec.floor, "0 to 9999"));
    }
    Ok(core::Ageing { every: spec.every.value(), floor: spec.floor })
}

/// A limit as people write it.
pub(super) fn count_or_percent(
    field: &'static str,
    value: &IntOrString,
) -> Result<CountOrPercent, LimitError> {
    const EXPECTED: &str =
        "a number of nodes, such as `5`, or a percentage from 0% to 100%, such as `\"10%\"`";
    match value {
        IntOrString::Int(count) if *count <= COUNT_LIMIT => u32::try_from(*count)
            .map(CountOrPercent::Count)
            .map_err(|_| LimitError::new(field, count, EXPECTED)),
        IntOrString::Int(count) => Err(LimitError::new(field, count, EXPECTED)),
        IntOrString::String(text) => {
            let digits = text.strip_suffix('%').filter(|text| {
                (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
            });
            let percent = digits.and_then(|text| text.parse().ok()).filter(|p| *p <= 100);
            percent
                .map(CountOrPercent::Percent)
                .ok_or_else(|| LimitError::new(field, format!("`{text}`"), EXPECTED))
        }
    }
}

/// A count from `least` to what a cluster can have.
pub(super) fn at_least(least: u32, field: &'static str, value: u32) -> Result<u32, LimitError> {
    if value >= least && value <= COUNT_LIMIT.unsigned_abs() {
        return Ok(value);
    }
    let expected = if least == 0 { "0 to 100000" } else { "1 to 100000" };
    Err(LimitError::new(field, value, expected))
}

/// The storms on record in a policy's status.
pub fn storms(records: &[StormStatus]) -> Storms {
    let storm = |record: &StormStatus| {
        let since = record.since;
        let storm = match record.state {
            StormState::Open => Storm::Open { since },
            StormState::Probing => Storm::Probing { since },
            // A round of none would never pass.
            StormState::Ramp => Storm::Ramp { allowed: record.allowed.max(1), since },
        };
        (record.condition_type.clone(), storm)
    };
    records.iter().map(storm).collect()
}

/// Storms for a policy's status. Where there are more than it has room for, the ones that are not Open
/// stay: an Open one is found again for as long as its nodes show it.
pub fn storm_records(storms: &Storms) -> Vec<StormStatus> {
    let record = |(condition_type, storm): (&String, &Storm)| {
        let (state, allowed, since) = match *storm {
            Storm::Open { since } => (StormState::Open, 0, since),
            Storm::Probing { since } => (StormState::Probing, 1, since),
            Storm::Ramp { allowed, since } => (StormState::Ramp, allowed, since),
        };
        StormStatus { condition_type: condition_type.clone(), state, allowed, since }
    };
    let mut records: Vec<_> = storms.iter().map(record).collect();
    if records.len() > STORMS_KEPT {
        records.sort_by_key(|record| record.state == StormState::Open);
        records.truncate(STORMS_KEPT);
        records.sort_by(|a, b| a.condition_type.cmp(&b.condition_type));
    }
    records
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn text(value: &str) -> IntOrString {
        IntOrString::String(value.to_owned())
    }

    #[test]
    fn the_defaults_of_the_api_are_those_of_the_core() {
        assert_eq!(budget(&BudgetSpec::default()), Ok(core::Budget::default()));
        assert_eq!(breaker(&BreakerSpec::default(), None), Ok(core::Breaker::default()));
        assert_eq!(ageing(&AgeingSpec::default()), Ok(core::Ageing::default()));
    }

    #[test]
    fn counts_and_percentages_are_read_and_the_rest_names_its_field() {
        for (value, expected) in [
            (IntOrString::Int(0), CountOrPercent::Count(0)),
            (IntOrString::Int(100_000), CountOrPercent::Count(100_000)),
            (text("0%"), CountOrPercent::Percent(0)),
            (text("100%"), CountOrPercent::Percent(100)),
        ] {
            assert_eq!(count_or_percent("a", &value), Ok(expected), "{value:?}");
        }
        let bad = ["", "%", "101%", "-1%", "+1%", "10", "10 %", "1.5%", "0010%", "\u{661}%"];
        let bad = bad.map(text).into_iter();
        for value in bad.chain([IntOrString::Int(-1), IntOrString::Int(100_001)]) {
            let error = count_or_percent("budget.maxUnavailable", &value).unwrap_err().to_string();
            assert!(error.starts_with("budget.maxUnavailable: "), "{value:?}: {error}");
            assert!(error.contains("write a number of nodes"), "{error}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_its_name() {
        let refused = |change: fn(&mut BudgetSpec)| {
            let mut spec = BudgetSpec::default();
            change(&mut spec);
            budget(&spec).unwrap_err().field
        };
        assert_eq!(refused(|b| b.max_starts.count = 0), "budget.maxStarts.count");
        assert_eq!(refused(|b| b.max_starts.count = 1001), "budget.maxStarts.count");
        let zero: crate::duration::GoDuration = "0s".parse().unwrap();
        let mut spec = BudgetSpec::default();
        spec.max_starts.per = zero.clone();
        assert_eq!(budget(&spec).unwrap_err().field, "budget.maxStarts.per");
        assert_eq!(refused(|b| b.max_domains = 0), "budget.maxDomains");
        assert_eq!(refused(|b| b.min_floor = 100_001), "budget.minFloor");
        let spec = BreakerSpec { window: zero, ..BreakerSpec::default() };
        assert_eq!(breaker(&spec, None).unwrap_err().field, "breaker.window");
        let spec = AgeingSpec { floor: 10_000, ..AgeingSpec::default() };
        assert_eq!(ageing(&spec).unwrap_err().field, "priority.ageing.floor");
    }

    #[test]
    fn a_reset_that_is_no_time_resets_nothing() {
        let at =
            |text: &str| breaker(&BreakerSpec::default(), Some(&text.into())).unwrap().reset_at;
        assert_eq!(at("2026-01-01T00:00:00Z"), Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(at("now"), None);
        assert_eq!(at(""), None);
    }

    #[test]
    fn storms_come_back_from_the_status_as_they_were() {
        let since = Timestamp::UNIX_EPOCH;
        let known = Storms::from([
            ("A".to_owned(), Storm::Open { since }),
            ("B".to_owned(), Storm::Probing { since }),
            ("C".to_owned(), Storm::Ramp { allowed: 4, since }),
        ]);
        assert_eq!(storms(&storm_records(&known)), known);
    }

    #[test]
    fn a_status_without_room_forgets_only_what_is_found_again() {
        let since = Timestamp::UNIX_EPOCH;
        let mut many: Storms =
            (0..40).map(|i| (format!("A{i:02}"), Storm::Open { since })).collect();
        many.insert("Z".into(), Storm::Probing { since });
        let records = storm_records(&many);
        assert_eq!(records.len(), STORMS_KEPT);
        assert!(records.iter().any(|record| record.condition_type == "Z"));
        assert!(records.is_sorted_by_key(|record| record.condition_type.clone()));
    }
}
