//! Money in integer minor units, and the one place where other forms become minor units.
//!
//! Inside, an amount is an `i64` count of minor units (cents); [`NO_AMOUNT`] stands for "unknown",
//! which is not zero (G15).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Day;

/// Stands for "no amount" in plain columns.
pub const NO_AMOUNT: i64 = i64::MIN;

/// The largest absolute amount of one event. That sums stay inside 64 bits is checked where
/// deals become orders and where states are planned.
pub const MAX_AMOUNT: i64 = 1_000_000_000_000_000_000;

/// A currency and the number of its minor digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Currency {
    /// ISO 4217 code.
    pub code: String,
    /// Digits after the point: 2 for EUR, 0 for JPY.
    pub scale: u8,
}

impl Currency {
    /// Looks a code up in ISO 4217.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        let currency = iso_currency::Currency::from_code(code)?;
        let scale = u8::try_from(currency.exponent().unwrap_or(2)).ok()?;
        Some(Self { code: code.to_owned(), scale })
    }

    /// Minor units in one unit.
    #[must_use]
    pub fn factor(&self) -> i64 {
        10_i64.pow(u32::from(self.scale))
    }
}

/// Stands for an amount that is known in a currency without a rate.
pub const UNPRICED: i64 = i64::MIN + 3;

/// Digits after the point of an exchange rate. Rates of a million or more do not fit.
pub const RATE_SCALE: u8 = 12;

/// The rate of the reporting currency itself.
pub const ONE: i64 = 10_i64.pow(RATE_SCALE as u32);

/// What one unit of a currency is worth in the reporting currency, from day to day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates(Vec<(Day, i64)>);

impl Rates {
    /// Rates by the day from which they hold, in units of 10^-[`RATE_SCALE`].
    #[must_use]
    pub fn new(days: BTreeMap<Day, i64>) -> Self {
        Self(days.into_iter().collect())
    }

    /// The latest rate on or before a day; `None` before the first one (G16).
    #[must_use]
    pub fn on(&self, day: Day) -> Option<i64> {
        self.dated(day).map(|(_, rate)| rate)
    }

    /// As [`Self::on`], with the day from which it holds.
    #[must_use]
    pub fn dated(&self, day: Day) -> Option<(Day, i64)> {
        let later = self.0.partition_point(|(from, _)| *from <= day);
        later.checked_sub(1).and_then(|latest| self.0.get(latest)).copied()
    }
}

/// An amount in units of 10^-`scale` of some currency, by a rate in units of 10^-[`RATE_SCALE`], as
/// minor units of the reporting currency, rounded half to even, and whether that was exact. `None`
/// when too large.
#[must_use]
pub fn by_rate(amount: i64, scale: u8, rate: i64, to: &Currency) -> Option<(i64, bool)> {
    let product = i128::from(amount) * i128::from(rate);
    let digits = i8::try_from(scale + RATE_SCALE).ok()?;
    from_decimal(product, digits, to.scale)
}

/// A floating-point amount as minor units, rounded half to even, and whether it was within a
/// millionth of a minor unit of that integer. `None` when it is not finite or too large.
#[must_use]
pub fn from_float(value: f64, factor: i64) -> Option<(i64, bool)> {
    let scaled = value * factor as f64;
    if !scaled.is_finite() || scaled.abs() > MAX_AMOUNT as f64 {
        return None;
    }
    let rounded = scaled.round_ties_even();
    Some((rounded as i64, (scaled - rounded).abs() <= 1e-6))
}

/// A decimal given as an integer of 10^-`scale` as minor units, rounded half to even, and whether
/// it was within a millionth of a minor unit of that. `None` when too large.
#[must_use]
pub fn from_decimal(value: i128, scale: i8, minor_scale: u8) -> Option<(i64, bool)> {
    let shift = i32::from(scale) - i32::from(minor_scale);
    let (result, exact) = if shift <= 0 {
        (value.checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?, true)
    } else {
        let divisor = 10_i128.checked_pow(shift.unsigned_abs())?;
        let quotient = value.div_euclid(divisor);
        let rest = value.rem_euclid(divisor);
        // Compared with what is missing to the next unit: twice the rest may pass 128 bits.
        let missing = divisor - rest;
        let up = rest > missing || (rest == missing && quotient.rem_euclid(2) == 1);
        // A product past 128 bits is far more than a millionth.
        let millionths = rest.min(missing).checked_mul(1_000_000);
        (quotient + i128::from(up), millionths.is_some_and(|m| m <= divisor))
    };
    let result = i64::try_from(result).ok()?;
    (result.unsigned_abs() <= MAX_AMOUNT.unsigned_abs()).then_some((result, exact))
}

/// What stands before the decimals of an amount that is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DecimalMark {
    /// 1234.50
    #[default]
    #[serde(rename = ".")]
    Point,
    /// 1234,50
    #[serde(rename = ",")]
    Comma,
}

impl DecimalMark {
    /// Whether it is the one that is taken where none is declared.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Text such as `1,234.50` or `-12` as minor units, and whether it was exact. `None` when it is
/// not a plain decimal number.
///
/// Edge cases: groups of three digits may be parted by the mark that is not the decimal one, by
/// blanks or by apostrophes, the same throughout; `1,5` with a decimal point may mean one and a
/// half, or fifteen, and is not guessed.
#[must_use]
pub fn from_text(text: &str, minor_scale: u8, mark: DecimalMark) -> Option<(i64, bool)> {
    let text = text.trim();
    let (decimal, other) = match mark {
        DecimalMark::Point => ('.', ','),
        DecimalMark::Comma => (',', '.'),
    };
    let (whole, fraction) = text.split_once(decimal).unwrap_or((text, ""));
    let blanks = [' ', '\u{a0}', '\u{202f}', '\'', '\u{2019}'];
    let separator = whole.chars().find(|c| *c == other || blanks.contains(c)).unwrap_or(other);
    let mut groups = whole.split(separator);
    let head = groups.next().unwrap_or_default();
    let is_digits = |t: &str| t.chars().all(|c| c.is_ascii_digit());
    let mut digits = head.to_owned();
    for group in groups {
        let before = head.trim_start_matches(['+', '-']).len();
        if group.len() != 3 || !is_digits(group) || !(1..=3).contains(&before) {
            return None;
        }
        digits.push_str(group);
    }
    if !is_digits(fraction) {
        return None;
    }
    digits.push_str(fraction);
    let scale = fraction.len();
    if !digits.chars().any(|c| c.is_ascii_digit()) {
        return None;
    }
    from_decimal(digits.parse().ok()?, i8::try_from(scale).ok()?, minor_scale)
}

/// Minor units as plain decimal text.
#[must_use]
pub fn to_text(minor: i64, scale: u8) -> String {
    if scale == 0 {
        return minor.to_string();
    }
    let factor = 10_u64.pow(u32::from(scale));
    let magnitude = minor.unsigned_abs();
    let sign = if minor < 0 { "-" } else { "" };
    format!("{sign}{}.{:0width$}", magnitude / factor, magnitude % factor, width = scale.into())
}

/// The mean of a sum of minor units over a count, rounded half to even; `None` on a zero count.
#[must_use]
pub fn mean(sum: i64, count: i64) -> Option<i64> {
    if count <= 0 {
        return None;
    }
    let (quotient, rest) = (sum.div_euclid(count), i128::from(sum.rem_euclid(count)));
    let twice = rest * 2;
    let is_up =
        twice > i128::from(count) || (twice == i128::from(count) && quotient.rem_euclid(2) == 1);
    Some(quotient + i64::from(is_up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_rounded_half_to_even_on_both_sides_of_zero() {
        assert_eq!([1, 3, 5, 6].map(|sum| mean(sum, 2)), [0, 2, 2, 3].map(Some));
        assert_eq!([-1, -3, -5].map(|sum| mean(sum, 2)), [0, -2, -2].map(Some));
        assert_eq!([mean(10, 3), mean(11, 3), mean(-10, 3)], [Some(3), Some(4), Some(-3)]);
        assert_eq!(mean(7, 0), None);
    }

    #[test]
    fn a_rate_holds_from_its_day_until_the_next_one() {
        let rates = Rates::new(BTreeMap::from([(10, 2), (20, 3)]));
        assert_eq!(
            [9, 10, 19, 20, 999].map(|day| rates.on(day)),
            [None, Some(2), Some(2), Some(3), Some(3)]
        );
        assert_eq!(Rates::default().on(0), None);
    }

    #[test]
    fn conversion_rounds_half_to_even_once() {
        let usd = Currency::from_code("USD").unwrap();
        let rate = |text: &str| from_text(text, RATE_SCALE, DecimalMark::Point).unwrap().0;
        // 100 JPY at 0.0065 are 65 cents; 3 JPY are 1.95 cents; 0.05 EUR at 1.5 are 7.5 cents.
        assert_eq!(by_rate(1_000_000, 4, rate("0.0065"), &usd).map(|w| w.0), Some(65));
        assert_eq!(by_rate(30_000, 4, rate("0.0065"), &usd).map(|w| w.0), Some(2));
        assert_eq!(by_rate(500, 4, rate("1.5"), &usd).map(|w| w.0), Some(8));
        assert_eq!(by_rate(-500, 4, rate("1.5"), &usd).map(|w| w.0), Some(-8));
        assert_eq!(by_rate(MAX_AMOUNT, 4, rate("999999"), &usd), None);
    }

    #[track_caller]
    fn check_decimal(value: i128, scale: i8, expected: Option<(i64, bool)>) {
        assert_eq!(from_decimal(value, scale, 2), expected, "{value} at scale {scale}");
    }

    #[test]
    fn decimals_of_any_scale_become_cents_half_to_even() {
        check_decimal(12, 0, Some((1_200, true)));
        check_decimal(12, -2, Some((120_000, true)));
        check_decimal(1_250, 2, Some((1_250, true)));
        // 0.125, 0.135, 0.375 cents up or down to the even neighbour.
        check_decimal(125, 3, Some((12, false)));
        check_decimal(135, 3, Some((14, false)));
        check_decimal(-125, 3, Some((-12, false)));
        check_decimal(-135, 3, Some((-14, false)));
        check_decimal(1_251, 4, Some((13, false)));
        check_decimal(1_249, 4, Some((12, false)));
    }

    #[test]
    fn a_millionth_of_a_minor_unit_is_the_limit_of_exactness() {
        // 1.00 and 1e-8 units are 1e-6 cents; twice that is past the limit.
        check_decimal(100_000_001, 8, Some((100, true)));
        check_decimal(100_000_002, 8, Some((100, false)));
        check_decimal(99_999_999, 8, Some((100, true)));
        assert_eq!(from_float(1.000_000_009, 100).map(|(_, exact)| exact), Some(true));
        assert_eq!(from_float(1.000_000_1, 100).map(|(_, exact)| exact), Some(false));
    }

    #[test]
    fn the_widest_decimals_neither_wrap_nor_panic() {
        check_decimal(i128::MAX, 38, Some((170, false)));
        check_decimal(i128::MIN, 38, Some((-170, false)));
        check_decimal(99 * 10_i128.pow(36), 38, Some((99, true)));
        check_decimal(i128::MAX, 0, None);
        check_decimal(10_i128.pow(16), 0, Some((MAX_AMOUNT, true)));
        check_decimal(10_i128.pow(16) + 1, 0, None);
    }

    #[test]
    fn floats_are_rounded_half_to_even_and_bounded() {
        // 0.125 and 0.375 are exact in binary.
        assert_eq!(from_float(0.125, 100), Some((12, false)));
        assert_eq!(from_float(0.375, 100), Some((38, false)));
        assert_eq!(from_float(-0.125, 100), Some((-12, false)));
        // 19.99 is not, but within a millionth of a cent.
        assert_eq!(from_float(19.99, 100), Some((1_999, true)));
        for bad in [f64::NAN, f64::INFINITY, -f64::INFINITY, 1e30] {
            assert_eq!(from_float(bad, 100), None, "{bad}");
        }
    }

    #[track_caller]
    fn check_text(text: &str, expected: Option<(i64, bool)>) {
        assert_eq!(from_text(text, 2, DecimalMark::Point), expected, "{text:?}");
    }

    #[track_caller]
    fn check_comma(text: &str, expected: Option<(i64, bool)>) {
        assert_eq!(from_text(text, 2, DecimalMark::Comma), expected, "{text:?}");
    }

    #[test]
    fn a_decimal_comma_is_one_only_where_it_is_declared() {
        check_comma("1234,5", Some((123_450, true)));
        check_comma("-1.234.567,89", Some((-123_456_789, true)));
        check_comma("1 234 567,89", Some((123_456_789, true)));
        check_comma("1\u{202f}234,5", Some((123_450, true)));
        check_comma("1'234'567", Some((123_456_700, true)));
        check_comma("1.234", Some((123_400, true)));
        for bad in ["1.5", "1,234.50", "1.23,4", "1,2,3", "1.234 567,8", "12.34,5", ",", ""] {
            check_comma(bad, None);
        }
    }

    #[test]
    fn blanks_and_apostrophes_part_groups_of_three_digits_only() {
        check_text("1 234.5", Some((123_450, true)));
        check_text("1\u{a0}234\u{a0}567", Some((123_456_700, true)));
        check_text("1\u{2019}234.5", Some((123_450, true)));
        for bad in ["1 23", "1 234,567", "12 34", "1  234", "1 234 5"] {
            check_text(bad, None);
        }
    }

    #[test]
    fn text_is_a_plain_decimal_number_or_nothing() {
        check_text("1234.5", Some((123_450, true)));
        check_text(" 1,234,567.89 ", Some((123_456_789, true)));
        check_text("-12", Some((-1_200, true)));
        check_text("+.5", Some((50, true)));
        check_text("5.", Some((500, true)));
        check_text("0.125", Some((12, false)));
        for bad in ["", "-", ".", "n/a", "$5", "1e3", "1.2.3", "1.-5", "- 5", "0x10", "NaN"] {
            check_text(bad, None);
        }
    }

    #[test]
    fn commas_that_do_not_group_thousands_are_not_guessed() {
        for bad in ["1,5", "1,23", "1234,567", ",123", "1.234,50", "1,,234", "1,234,5"] {
            check_text(bad, None);
        }
    }
}
