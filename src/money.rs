//! Money in integer minor units, and the one place where other forms become minor units.
//!
//! Inside, an amount is an `i64` count of minor units (cents); [`NO_AMOUNT`] stands for "unknown",
//! which is not zero (G15).

/// Stands for "no amount" in plain columns.
pub const NO_AMOUNT: i64 = i64::MIN;

/// The largest absolute amount of one event, so that sums over thousands of millions of rows
/// stay inside 64 bits is checked separately by the fold.
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
/// it was exact. `None` when too large.
#[must_use]
pub fn from_decimal(value: i128, scale: i8, minor_scale: u8) -> Option<(i64, bool)> {
    let shift = i32::from(scale) - i32::from(minor_scale);
    let (result, exact) = if shift <= 0 {
        (value.checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?, true)
    } else {
        let divisor = 10_i128.checked_pow(shift.unsigned_abs())?;
        let quotient = value.div_euclid(divisor);
        let rest = value.rem_euclid(divisor);
        let up = rest * 2 > divisor || (rest * 2 == divisor && quotient.rem_euclid(2) == 1);
        (quotient + i128::from(up), rest == 0)
    };
    let result = i64::try_from(result).ok()?;
    (result.unsigned_abs() <= MAX_AMOUNT.unsigned_abs()).then_some((result, exact))
}

/// Text such as `1,234.50` or `-12` as minor units, and whether it was exact. `None` when it is
/// not a plain decimal number.
#[must_use]
pub fn from_text(text: &str, minor_scale: u8) -> Option<(i64, bool)> {
    let cleaned: String = text.trim().chars().filter(|c| *c != ',' && *c != '_').collect();
    let (digits, scale) = match cleaned.split_once('.') {
        Some((whole, fraction)) => (format!("{whole}{fraction}"), fraction.len()),
        None => (cleaned, 0),
    };
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
}
