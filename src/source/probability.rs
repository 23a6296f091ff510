//! Probabilities as a source gives them: as a share of 1 or in percent (G21).
//!
//! They are read as they stand, in millionths of the number given, and brought to one unit once
//! everything is read, because only all values together show which one it is. Where they could be
//! either, nothing is guessed.

use arrow::array::ArrayRef;

use super::convert::{self, BAD_AMOUNT};
use crate::config::{Input, ProbabilityUnit};
use crate::contract::{BAD_PROBABILITY, NO_PROBABILITY};
use crate::error::Error;
use crate::money::{Currency, DecimalMark, NO_AMOUNT, from_text};

/// Millionths of one.
const ONE: i32 = 1_000_000;
const HUNDRED: i32 = 100 * ONE;
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
        value if !(0..=most).contains(&value) => BAD_PROBABILITY,
        value if unit == ProbabilityUnit::Percent => (value + 50) / 100,
        value => value,
    }
}

fn settle(value: i64) -> i32 {
    match value {
        NO_AMOUNT => NO_PROBABILITY,
        BAD_AMOUNT => BAD_PROBABILITY,
        value => i32::try_from(value).unwrap_or(BAD_PROBABILITY),
    }
}

/// A column of probabilities.
pub(super) fn decode(array: &ArrayRef, mark: DecimalMark) -> Result<Vec<i32>, Error> {
    let unit = Currency { code: String::new(), scale: SCALE };
    let (values, _) = convert::money(array, &unit, mark)?;
    Ok(values.into_iter().map(settle).collect())
}

/// One probability in a text.
pub(super) fn parse(text: Option<&str>, mark: DecimalMark) -> i32 {
    match text.map(str::trim).filter(|text| !text.is_empty()) {
        None => NO_PROBABILITY,
        Some(text) => from_text(text, SCALE, mark).map_or(BAD_PROBABILITY, |(v, _)| settle(v)),
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
