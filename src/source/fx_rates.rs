//! Shape `fx_rates`: what one unit of a currency was worth in the reporting currency, by day.
//!
//! It judges rows and keeps every good rate; which day's rate is taken for an amount is the
//! question of [`crate::money::Rates`].

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use super::convert::{self, BAD_AMOUNT};
use super::read::{CheckedInput, Unit};
use super::spend::{Part, texts};
use super::{clock, wanted_columns};
use crate::config::{Config, Input, Shape};
use crate::contract::FX_RATES;
use crate::error::Error;
use crate::money::{Currency, NO_AMOUNT, RATE_SCALE, Rates};
use crate::quality::{Counts, Ledger, QuarantinedRow, Rule};
use crate::time::{Calendar, Day, NO_DAY};

/// All exchange rates of a run.
#[derive(Debug, Default)]
pub struct FxRates {
    /// Rates by currency, in upper case.
    pub rates: BTreeMap<String, Rates>,
    /// The checked inputs they come from.
    pub inputs: Vec<CheckedInput>,
}

/// The checked inputs of shape `fx_rates`.
pub struct FxSource {
    inputs: Vec<(CheckedInput, Input)>,
}

impl FxSource {
    /// Lists and checks every input of shape `fx_rates`.
    ///
    /// # Errors
    /// Everything that is wrong with the files of the first input that has faults.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Self, Error> {
        let mut inputs = Vec::new();
        for (name, input) in config.inputs.iter().filter(|(_, i)| i.shape == Shape::FxRates) {
            let wanted = wanted_columns(input, FX_RATES);
            let checked = CheckedInput::open(name, input, &wanted, clock(name, input, calendar)?)?;
            inputs.push((checked, input.clone()));
        }
        Ok(Self { inputs })
    }

    /// Reads every rate. Of several rates of a currency on a day the lowest counts, whatever the
    /// order of the files.
    ///
    /// # Errors
    /// The first file that cannot be decoded.
    pub fn read(self, ledger: &Ledger) -> Result<FxRates, Error> {
        let mut rates: Given = BTreeMap::new();
        for (checked, input) in &self.inputs {
            let mut part = Part::default();
            for unit in checked.units() {
                checked.read(&unit, |arrays, first_row| {
                    read_batch(checked, input, &unit, arrays, first_row, &mut rates, &mut part)
                })?;
            }
            part.settle(checked, ledger);
        }
        if let Some((checked, _)) = self.inputs.first() {
            let mut counts = Counts::default();
            let others = |values: &Vec<i64>| {
                let least = values.iter().min();
                values.iter().filter(|value| Some(*value) != least).count() as u64
            };
            let others = rates.values().flat_map(BTreeMap::values).map(others).sum();
            counts.add(Rule::DuplicateRates, others);
            ledger.record(&checked.name, &counts);
        }
        let least = |days: BTreeMap<Day, Vec<i64>>| {
            days.into_iter().filter_map(|(day, values)| Some((day, values.into_iter().min()?)))
        };
        let rates = rates.into_iter();
        let rates = rates.map(|(currency, days)| (currency, Rates::new(least(days).collect())));
        let inputs = self.inputs.into_iter().map(|(checked, _)| checked).collect();
        Ok(FxRates { rates: rates.collect(), inputs })
    }
}

/// Every rate given, by currency and day.
type Given = BTreeMap<String, BTreeMap<Day, Vec<i64>>>;

/// Positions of the columns of [`FX_RATES`].
const DATE: usize = 0;

fn read_batch(
    checked: &CheckedInput,
    input: &Input,
    unit: &Unit,
    arrays: &[Option<ArrayRef>],
    first_row: u64,
    rates: &mut Given,
    part: &mut Part,
) -> Result<(), Error> {
    let [Some(date), Some(currency), Some(rate)] = arrays else {
        return Err(Error::Bug("exchange rates have three columns".into()));
    };
    let days = checked.days(unit, DATE, date)?;
    let currencies = texts(currency, input.values.get("currency"))?;
    let scaled = Currency { code: String::new(), scale: RATE_SCALE };
    let (values, _) = checked.money(rate, &scaled)?;
    for (row, ((day, currency), value)) in days.iter().zip(currencies).zip(values).enumerate() {
        part.counts.rows_in += 1;
        let is_rate = ![NO_AMOUNT, BAD_AMOUNT].contains(&value) && value > 0 && *day != NO_DAY;
        let Some(currency) = currency.filter(|_| is_rate) else {
            part.counts.add(Rule::BadRate, 1);
            part.quarantine.push(QuarantinedRow {
                event_time: convert::display(Some(date), row),
                amount: convert::display(Some(rate), row),
                ..QuarantinedRow::of_fold(
                    checked.path(unit).to_path_buf(),
                    first_row + row as u64,
                    Rule::BadRate,
                )
            });
            continue;
        };
        part.counts.folded += 1;
        let known = rates.entry(currency.to_uppercase()).or_default();
        known.entry(*day).or_default().push(value);
    }
    Ok(())
}
