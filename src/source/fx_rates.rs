//! Shape `fx_rates`: what one unit of a currency was worth in the reporting currency, by day.
//!
//! It judges rows and keeps every good rate; which day's rate is taken for an amount is the
//! question of [`crate::money::Rates`].

use std::collections::BTreeMap;

use super::convert::BAD_AMOUNT;
use super::read::CheckedInput;
use super::sheet::{Sheet, SheetBatch};
use crate::config::{Config, Shape};
use crate::error::Error;
use crate::money::{NO_AMOUNT, RATE_SCALE, Rates};
use crate::quality::{Counts, Ledger, Rule};
use crate::time::{Calendar, Day, NO_DAY, day_text};

/// All exchange rates of a run.
#[derive(Debug, Default)]
pub struct FxRates {
    /// Rates by currency, in upper case.
    pub rates: BTreeMap<String, Rates>,
    /// The checked inputs they come from.
    pub inputs: Vec<CheckedInput>,
}

/// The checked input of shape `fx_rates`.
pub struct FxSource {
    sheet: Option<Sheet>,
}

/// Every rate given, by currency and day.
type ByDay = BTreeMap<String, BTreeMap<Day, Vec<i64>>>;

impl FxSource {
    /// Lists and checks the input of shape `fx_rates`.
    ///
    /// # Errors
    /// Everything that is wrong with the input's files.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Self, Error> {
        Ok(Self { sheet: Sheet::open(config, calendar, Shape::FxRates)? })
    }

    /// Reads every rate. Of several rates of a currency on a day the lowest counts, whatever the
    /// order of the files.
    ///
    /// # Errors
    /// The first file that cannot be decoded.
    pub fn read(self, ledger: &Ledger) -> Result<FxRates, Error> {
        let mut rates = ByDay::new();
        if let Some(sheet) = &self.sheet {
            sheet.read(ledger, |batch| read_batch(batch, &mut rates))?;
        }
        if let Some(sheet) = &self.sheet {
            let mut counts = Counts::default();
            let others = |values: &Vec<i64>| {
                let least = values.iter().min();
                values.iter().filter(|value| Some(*value) != least).count() as u64
            };
            let others = rates.values().flat_map(BTreeMap::values).map(others).sum();
            counts.add(Rule::DuplicateRates, others);
            if ledger.is_profiling() && others > 0 {
                let all = rates.iter().flat_map(|(c, days)| days.iter().map(move |own| (c, own)));
                for (currency, (day, values)) in all {
                    let least = values.iter().min();
                    let others = values.iter().filter(|value| Some(*value) != least).count();
                    if others > 0 {
                        let said = format!("{currency} on {}", day_text(*day));
                        let input = &sheet.checked.name;
                        ledger.mention(Rule::DuplicateRates, input, &said, others as u64);
                    }
                }
            }
            ledger.record(&sheet.checked.name, &counts);
        }
        let least = |days: BTreeMap<Day, Vec<i64>>| {
            days.into_iter().filter_map(|(day, values)| Some((day, values.into_iter().min()?)))
        };
        let rates = rates.into_iter();
        let rates = rates.map(|(currency, days)| (currency, Rates::new(least(days).collect())));
        let inputs = self.sheet.into_iter().map(|sheet| sheet.checked).collect();
        Ok(FxRates { rates: rates.collect(), inputs })
    }
}

fn read_batch(batch: &mut SheetBatch<'_>, rates: &mut ByDay) -> Result<(), Error> {
    let (days, currencies) = (batch.days("date")?, batch.texts("currency")?);
    let (values, _) = batch.decimals("rate_to_base", RATE_SCALE)?;
    for (row, ((day, currency), value)) in days.into_iter().zip(currencies).zip(values).enumerate()
    {
        let is_rate = ![NO_AMOUNT, BAD_AMOUNT].contains(&value) && value > 0 && day != NO_DAY;
        let Some(currency) = currency.filter(|_| is_rate) else {
            batch.refuse(row, Rule::BadRate);
            continue;
        };
        batch.keep();
        let known = rates.entry(currency.to_uppercase()).or_default();
        known.entry(day).or_default().push(value);
    }
    Ok(())
}
