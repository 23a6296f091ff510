//! Probabilities as a source gives them: as a share of 1 or in percent (G21).
//!
//! They are read as they stand, in millionths of the number given, and brought to one unit once
//! everything is read, because only all values together show which one it is. Where they could be
//! either, nothing is guessed. A text with a percent sign says its unit itself.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use super::convert::{self, BAD_AMOUNT};
use crate::config::{Input, ProbabilityUnit};
use crate::contract::{BAD_PROBABILITY, NO_PROBABILITY};
use crate::error::Error;
use crate::money::{Currency, DecimalMark, NO_AMOUNT, from_text};

/// Millionths of one.
const ONE: i32 = 1_000_000;
const HUNDRED: i32 = 100 * ONE;
/// Added to a value with a percent sign, which is in percent whatever the others are in; more than
/// any value that can be a probability.
const SIGNED: i32 = 1_000 * ONE;
/// Digits after the point that count.
pub(super) const SCALE: u8 = 6;

/// What the values of an input look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    max: i32,
    /// The least value between 0 and 1, if there is any.
    fraction: Option<i32>,
}

impl Span {
    /// Notes values; what is none in either unit says nothing.
    pub fn note(&mut self, values: &[i32]) {
        for value in values.iter().copied().filter(|v| (0..=HUNDRED).contains(v)) {
            self.max = self.max.max(value);
            if (1..ONE).contains(&value) {
                self.fraction = Some(self.fraction.map_or(value, |least| least.min(value)));
            }
        }
    }

    /// Adds what another part of the input looks like.
    pub fn merge(&mut self, other: &Self) {
        self.max = self.max.max(other.max);
        self.fraction = match (self.fraction, other.fraction) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// The unit of the values: the declared one, or the only one in which they make sense.
    ///
    /// # Errors
    /// Both do; what is said then.
    pub fn unit(&self, declared: ProbabilityUnit) -> Result<ProbabilityUnit, String> {
        match (declared, self.fraction) {
            (ProbabilityUnit::Auto, _) if self.max <= ONE => Ok(ProbabilityUnit::Share),
            (ProbabilityUnit::Auto, None) => Ok(ProbabilityUnit::Percent),
            (ProbabilityUnit::Auto, Some(least)) => {
                let number = |millionths: i32| f64::from(millionths) / f64::from(ONE);
                Err(format!(
                    "holds values up to {} and as small as {}: in percent, the latter is {} %; as \
                     shares of 1, it is {} % and the former more than certain",
                    number(self.max),
                    number(least),
                    number(least),
                    number(least) * 100.0
                ))
            }
            (unit, _) => Ok(unit),
        }
    }
}

/// Leaves a column unread that only happens to be called `probability`: nobody mapped it or said its
/// unit, and a run may not be refused for what nobody asked for.
pub(super) fn hide_unsaid(input: &mut Input) {
    if input.probability_unit == ProbabilityUnit::Auto {
        input.columns.entry("probability".into()).or_default();
    }
}

/// What to do where both units make sense.
pub fn unit_hint(input: &str) -> String {
    format!("say which in [inputs.{input}]: probability_unit = \"percent\" or \"share\"")
}

/// A value as given, in millionths of 1; [`BAD_PROBABILITY`] where it is no probability.
#[must_use]
pub fn in_millionths(value: i32, unit: ProbabilityUnit) -> i32 {
    let most = if unit == ProbabilityUnit::Percent { HUNDRED } else { ONE };
    match value {
        NO_PROBABILITY => NO_PROBABILITY,
        value if (SIGNED..=SIGNED + HUNDRED).contains(&value) => {
            in_millionths(value - SIGNED, ProbabilityUnit::Percent)
        }
        value if !(0..=most).contains(&value) => BAD_PROBABILITY,
        value if unit == ProbabilityUnit::Percent => (value + 50) / 100,
        value => value,
    }
}

fn settle(value: i64) -> i32 {
    match value {
        NO_AMOUNT => NO_PROBABILITY,
        BAD_AMOUNT => BAD_PROBABILITY,
        // What is none in either unit is none.
        value if !(0..=i64::from(HUNDRED)).contains(&value) => BAD_PROBABILITY,
        value => i32::try_from(value).unwrap_or(BAD_PROBABILITY),
    }
}

/// A column of probabilities.
pub(super) fn decode(array: &ArrayRef, mark: DecimalMark) -> Result<Vec<i32>, Error> {
    let values = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    if matches!(values, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        let mut parsed = Vec::with_capacity(array.len());
        convert::each_text(array, |text| {
            parsed.push(parse(text, mark));
            Ok(())
        })?;
        return Ok(parsed);
    }
    let unit = Currency { code: String::new(), scale: SCALE };
    let (values, _) = convert::money(array, &unit, mark)?;
    Ok(values.into_iter().map(settle).collect())
}

/// One probability in a text, perhaps with a percent sign.
pub(super) fn parse(text: Option<&str>, mark: DecimalMark) -> i32 {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return NO_PROBABILITY;
    };
    let number = text.strip_suffix(['%', '\u{ff05}']);
    let value = from_text(number.unwrap_or(text), SCALE, mark);
    match value.map_or(BAD_PROBABILITY, |(value, _)| settle(value)) {
        BAD_PROBABILITY => BAD_PROBABILITY,
        value if number.is_some() => SIGNED + value,
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[i32], expected: Result<ProbabilityUnit, &str>) {
        let mut span = Span::default();
        span.note(values);
        let found = span.unit(ProbabilityUnit::Auto);
        match expected {
            Ok(unit) => assert_eq!(found, Ok(unit)),
            Err(words) => assert!(found.unwrap_err().contains(words)),
        }
        assert_eq!(span.unit(ProbabilityUnit::Share), Ok(ProbabilityUnit::Share));
    }

    #[test]
    fn values_up_to_one_are_shares_and_whole_ones_above_percent() {
        check(&[0, 250_000, ONE], Ok(ProbabilityUnit::Share));
        check(&[0, ONE, 50 * ONE, HUNDRED], Ok(ProbabilityUnit::Percent));
        check(&[], Ok(ProbabilityUnit::Share));
        // 500 and -1 are no probabilities in any unit.
        check(&[500 * ONE, -ONE, 200_000, NO_PROBABILITY], Ok(ProbabilityUnit::Share));
    }

    #[test]
    fn small_fractions_beside_large_values_could_be_either() {
        check(&[500_000, 80 * ONE], Err("up to 80 and as small as 0.5: in percent"));
    }

    #[test]
    fn a_percent_sign_says_the_unit_of_its_value_only() {
        let point = |text| parse(Some(text), DecimalMark::Point);
        for (text, expected) in [
            ("40%", 400_000),
            (" 40 % ", 400_000),
            ("0.5%", 5_000),
            ("100\u{ff05}", ONE),
            ("0%", 0),
        ] {
            for unit in [ProbabilityUnit::Share, ProbabilityUnit::Percent] {
                assert_eq!(in_millionths(point(text), unit), expected, "{text}");
            }
        }
        assert_eq!(
            in_millionths(parse(Some("12,5 %"), DecimalMark::Comma), ProbabilityUnit::Share),
            125_000
        );
        for bad in ["%", "101%", "-1%", "40%%", "1040", "% 40"] {
            assert_eq!(point(bad), BAD_PROBABILITY, "{bad}");
        }
        // They say nothing of the unit of the others.
        check(&[point("80%"), 500_000], Ok(ProbabilityUnit::Share));
        check(&[point("0.5%"), 80 * ONE], Ok(ProbabilityUnit::Percent));
    }

    #[test]
    fn percent_are_millionths_of_one_rounded() {
        let percent = |value| in_millionths(value, ProbabilityUnit::Percent);
        assert_eq!(
            [percent(35 * ONE), percent(HUNDRED), percent(12_345_678)],
            [350_000, ONE, 123_457]
        );
        assert_eq!(percent(HUNDRED + 1), BAD_PROBABILITY);
        assert_eq!(in_millionths(ONE + 1, ProbabilityUnit::Share), BAD_PROBABILITY);
        assert_eq!(percent(NO_PROBABILITY), NO_PROBABILITY);
    }
}
