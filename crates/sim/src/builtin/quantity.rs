//! Quantities in the form that the real server gives them (`apimachinery/pkg/api/resource`): `7.5Gi` is
//! `7680Mi`, and `1000m` is `1`.

use serde_json::Value;

const DECIMAL: &[(&str, i32)] = &[
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: &[(&str, u32)] =
    &[("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// Gives all quantities of a list their form; what is none is left for others to refuse.
pub(super) fn all(parent: &mut Value, list: &str) {
    for value in parent.get_mut(list).and_then(Value::as_object_mut).into_iter().flatten() {
        let text = match &*value.1 {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => continue,
        };
        if let Some(canonical) = canonical(&text) {
            *value.1 = Value::String(canonical);
        }
    }
}

fn canonical(text: &str) -> Option<String> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        let large = digits.checked_mul(1_i128 << bits)?;
        let parts = 10_i128.checked_pow(fraction.len().try_into().ok()?)?;
        return match large / parts {
            bytes if large % parts == 0 && bytes.abs() >= 1024 => Some(binary(bytes)),
            _ => decimal(large, -places),
        };
    }
    // An exponent would stay one, and nobody writes it.
    let (_, exponent) = DECIMAL.iter().find(|(name, _)| *name == suffix)?;
    decimal(digits, exponent - places)
}

fn binary(mut bytes: i128) -> String {
    let mut suffix = "";
    for (name, _) in BINARY {
        if bytes % 1024 != 0 {
            break;
        }
        (bytes, suffix) = (bytes / 1024, name);
    }
    format!("{bytes}{suffix}")
}

fn decimal(mut digits: i128, mut exponent: i32) -> Option<String> {
    if digits == 0 {
        return Some("0".to_owned());
    }
    while digits % 10 == 0 {
        (digits, exponent) = (digits / 10, exponent + 1);
    }
    // What is finer than a billionth is rounded up.
    while exponent < -9 {
        (digits, exponent) = (digits / 10 + digits.signum(), exponent + 1);
    }
    while exponent.rem_euclid(3) != 0 || exponent > 18 {
        (digits, exponent) = (digits.checked_mul(10)?, exponent - 1);
    }
    let (suffix, _) = DECIMAL.iter().find(|(_, known)| *known == exponent)?;
    Some(format!("{digits}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Go's `resource.MustParse(…).String()` says.
    #[test]
    fn quantities_have_one_form() {
        for (given, wanted) in [
            ("7.5Gi", "7680Mi"),
            ("1024Mi", "1Gi"),
            ("100Ki", "100Ki"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.50", "1500m"),
            ("2000", "2k"),
            ("110", "110"),
            ("0", "0"),
            ("8", "8"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(wanted), "{given}");
        }
        assert_eq!(canonical("much"), None);
    }
}
