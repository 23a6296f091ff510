//! One value as text for a terminal.
//!
//! Money, counts, dates and flags are exact. A float is exact up to six decimals and rounded
//! beyond; the file has the rest. Characters that steer a terminal are taken out of texts.

use polars::prelude as pl;

use crate::time::{day_text, instant_text};

/// How a missing value looks; a dash, so that it differs from an empty text.
pub(super) const NULL: &str = "–";

/// A value as text.
pub(super) fn text(value: &pl::AnyValue<'_>) -> String {
    match value {
        pl::AnyValue::Null => NULL.to_owned(),
        pl::AnyValue::String(text) => printable(text),
        pl::AnyValue::StringOwned(text) => printable(text),
        pl::AnyValue::Float64(number) => float(*number),
        pl::AnyValue::Float32(number) => float(f64::from(*number)),
        pl::AnyValue::Decimal(units, _, scale) => decimal(*units, *scale),
        pl::AnyValue::Date(day) => day_text(*day),
        pl::AnyValue::Datetime(at, unit, _) => instant_text(micros(*at, *unit)),
        pl::AnyValue::DatetimeOwned(at, unit, _) => instant_text(micros(*at, *unit)),
        other => printable(&other.to_string()),
    }
}

fn micros(at: i64, unit: pl::TimeUnit) -> i64 {
    match unit {
        pl::TimeUnit::Nanoseconds => at.div_euclid(1_000),
        pl::TimeUnit::Microseconds => at,
        pl::TimeUnit::Milliseconds => at.saturating_mul(1_000),
    }
}

fn float(number: f64) -> String {
    let exact = number.to_string();
    let decimals = exact.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    if decimals <= 6 {
        return exact;
    }
    if number.abs() < 0.001 {
        return format!("{number:.5e}");
    }
    format!("{number:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn decimal(units: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if units < 0 { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// The text without characters that steer a terminal or turn the direction of writing; those that
/// separate words become a space.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => Some(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
            _ if c.is_control() => None,
            _ => Some(c),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_exact_up_to_six_decimals() {
        let cases = [
            (0.0, "0"),
            (12.0, "12"),
            (0.631501, "0.631501"),
            (2.0 / 3.0, "0.666667"),
            (1.000_000_04, "1"),
            (-45.25, "-45.25"),
            (0.000_012_345_678, "1.23457e-5"),
            (1e21, "1000000000000000000000"),
        ];
        for (number, expected) in cases {
            assert_eq!(float(number), expected);
        }
    }

    #[test]
    fn money_has_all_its_digits() {
        let cases = [
            (123_456, 2, "1234.56"),
            (-5, 2, "-0.05"),
            (7, 0, "7"),
            (-1, 3, "-0.001"),
            (0, 2, "0.00"),
        ];
        for (units, scale, expected) in cases {
            assert_eq!(decimal(units, scale), expected);
        }
    }

    #[test]
    fn texts_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mred\u{7}\u{9b}2J\r\nb\u{202e}c"), "a[31mred2J  bc");
        assert_eq!(printable("北京 é"), "北京 é");
    }
}
