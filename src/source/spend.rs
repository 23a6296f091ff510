//! Shape `spend`: what was spent by day, channel and cost type.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use super::convert::{self, BAD_AMOUNT};
use super::read::{CheckedInput, Unit};
use super::task::TaskState;
use super::{clock, wanted_columns};
use crate::config::{Config, Input, Severity, Shape};
use crate::contract::SPEND;
use crate::error::Error;
use crate::money::{Currency, NO_AMOUNT, UNPRICED};
use crate::quality::{Counts, Ledger, QuarantinedRow, Rule};
use crate::time::{Calendar, Day, Instant};

/// One row of spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendRow {
    /// The civil day.
    pub day: Day,
    /// Minor units, [`NO_AMOUNT`] if unknown.
    pub amount: i64,
    /// The channel, if attributed.
    pub channel: Option<String>,
    /// The kind of cost, if given.
    pub cost_type: Option<String>,
}

/// An amount of spend as it was read.
#[derive(Debug, Clone, Copy)]
pub struct SpentIn<'a> {
    /// The civil day.
    pub day: Day,
    /// As given, never unknown.
    pub amount: i64,
    /// Its currency; the reporting one if none is given.
    pub currency: Option<&'a str>,
}

/// All spend of a run.
#[derive(Debug)]
pub struct Spend {
    /// The rows up to `as_of`, in order of the source.
    pub rows: Vec<SpendRow>,
    /// The checked inputs they come from.
    pub inputs: Vec<CheckedInput>,
}

/// The checked inputs of shape `spend`.
pub struct SpendSource {
    inputs: Vec<(CheckedInput, Input)>,
}

impl SpendSource {
    /// Lists and checks every input of shape `spend`.
    ///
    /// # Errors
    /// Everything that is wrong with the files of the first input that has faults.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Self, Error> {
        let mut inputs = Vec::new();
        for (name, input) in config.inputs.iter().filter(|(_, i)| i.shape == Shape::Spend) {
            let wanted = wanted_columns(input, SPEND);
            let checked = CheckedInput::open(name, input, &wanted, clock(name, input, calendar)?)?;
            inputs.push((checked, input.clone()));
        }
        Ok(Self { inputs })
    }

    /// Reads every row, of which there are few. Returns `None` if there is no such input. `price`
    /// gives what an amount is worth in the reporting currency, or [`UNPRICED`].
    ///
    /// # Errors
    /// The first file that cannot be decoded.
    pub fn read(
        self,
        calendar: Calendar,
        currency: &Currency,
        price: &dyn Fn(&SpentIn<'_>) -> i64,
        as_of: Instant,
        ledger: &Ledger,
    ) -> Result<Option<Spend>, Error> {
        let mut reading = Reading { calendar, currency, price, as_of, ledger, rows: Vec::new() };
        for (checked, input) in &self.inputs {
            let mut part = Part::default();
            for unit in checked.units() {
                checked.read(&unit, |arrays, first_row| {
                    reading.batch(checked, input, &unit, arrays, first_row, &mut part)
                })?;
            }
            part.settle(checked, ledger);
        }
        let inputs: Vec<CheckedInput> = self.inputs.into_iter().map(|(c, _)| c).collect();
        Ok((!inputs.is_empty()).then_some(Spend { rows: reading.rows, inputs }))
    }
}

struct Reading<'a> {
    calendar: Calendar,
    currency: &'a Currency,
    price: &'a dyn Fn(&SpentIn<'_>) -> i64,
    as_of: Instant,
    ledger: &'a Ledger,
    rows: Vec<SpendRow>,
}

/// What became of the rows of one small input.
#[derive(Default)]
pub(super) struct Part {
    pub(super) counts: Counts,
    pub(super) quarantine: Vec<QuarantinedRow>,
}

impl Part {
    /// Records it when the input has been read.
    pub(super) fn settle(mut self, checked: &CheckedInput, ledger: &Ledger) {
        self.counts.quarantined = self.quarantine.len() as u64;
        ledger.record(&checked.name, &self.counts);
        ledger.quarantine(&checked.name, self.quarantine);
        checked.settle_refused(ledger);
    }
}

/// Positions of the columns of [`SPEND`].
const DATE: usize = 0;

impl Reading<'_> {
    fn batch(
        &mut self,
        checked: &CheckedInput,
        input: &Input,
        unit: &Unit,
        arrays: &[Option<ArrayRef>],
        first_row: u64,
        part: &mut Part,
    ) -> Result<(), Error> {
        let [date, amount, channel, cost_type, currency] = arrays else {
            return Err(Error::Bug("spend has five columns".into()));
        };
        let (Some(date), Some(amount)) = (date, amount) else {
            return Err(Error::Bug("required columns of spend are missing".into()));
        };
        let dates = checked.instants(unit, DATE, date)?;
        let (amounts, inexact) = checked.money(amount, self.currency)?;
        let names = |array: &Option<_>, column: &str| match array {
            Some(array) => texts(array, input.values.get(column)),
            None => Ok(vec![None; dates.len()]),
        };
        let (channels, cost_types) = (names(channel, "channel")?, names(cost_type, "cost_type")?);
        let currencies = names(currency, "currency")?;
        let columns = dates.iter().zip(amounts).zip(channels).zip(cost_types).zip(currencies);
        for (row, ((((at, amount), channel), cost_type), currency)) in columns.enumerate() {
            part.counts.rows_in += 1;
            let is_inexact = inexact.binary_search(&row).is_ok();
            match self.judge(*at, amount, is_inexact, &mut part.counts) {
                Err(rule) => {
                    part.counts.add(rule, 1);
                    part.quarantine.push(QuarantinedRow {
                        event_time: convert::display(Some(date), row),
                        amount: convert::display(arrays.get(1).and_then(Option::as_ref), row),
                        ..QuarantinedRow::of_fold(
                            checked.path(unit).to_path_buf(),
                            first_row + row as u64,
                            rule,
                        )
                    });
                }
                Ok(Fate::AfterAsOf) => part.counts.after_as_of += 1,
                Ok(Fate::Kept) => {
                    part.counts.folded += 1;
                    let day = self.calendar.day(*at);
                    let amount = match amount {
                        BAD_AMOUNT | NO_AMOUNT => NO_AMOUNT,
                        amount => {
                            let currency = currency.as_deref();
                            (self.price)(&SpentIn { day, amount, currency })
                        }
                    };
                    part.counts.add(Rule::UnpricedSpend, u64::from(amount == UNPRICED));
                    let amount = if amount == UNPRICED { NO_AMOUNT } else { amount };
                    self.rows.push(SpendRow { day, amount, channel, cost_type });
                }
            }
        }
        Ok(())
    }

    /// What becomes of a row; breaches of rules that keep no row out are counted.
    fn judge(
        &self,
        at: Instant,
        amount: i64,
        is_inexact: bool,
        counts: &mut Counts,
    ) -> Result<Fate, Rule> {
        if let Some(rule) = TaskState::judge_time(at) {
            return Err(rule);
        }
        if at > self.as_of {
            return Ok(Fate::AfterAsOf);
        }
        let rule = match amount {
            BAD_AMOUNT => Rule::BadAmount,
            NO_AMOUNT => Rule::NullSpend,
            _ if is_inexact => Rule::InexactAmount,
            _ => return Ok(Fate::Kept),
        };
        if self.ledger.severity(rule) == Severity::Quarantine {
            return Err(rule);
        }
        counts.add(rule, 1);
        Ok(Fate::Kept)
    }
}

/// What becomes of a row that breaks no rule.
enum Fate {
    Kept,
    AfterAsOf,
}

/// Names of a column, trimmed and replaced; empty text is none.
pub(super) fn texts(
    array: &ArrayRef,
    replace: Option<&BTreeMap<String, String>>,
) -> Result<Vec<Option<String>>, Error> {
    let mut texts = Vec::new();
    convert::each_text(array, |text| {
        texts.push(convert::named(text, replace).map(str::to_owned));
        Ok(())
    })?;
    Ok(texts)
}
