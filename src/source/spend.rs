//! Shape `spend`: what was spent by day, channel and cost type.

use super::convert::BAD_AMOUNT;
use super::read::CheckedInput;
use super::sheet::{Sheet, SheetBatch};
use super::task::TaskState;
use crate::config::{Config, Severity, Shape};
use crate::error::Error;
use crate::money::{Currency, NO_AMOUNT, UNPRICED};
use crate::quality::{Ledger, Rule};
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

/// The checked input of shape `spend`.
pub struct SpendSource {
    sheet: Option<Sheet>,
}

impl SpendSource {
    /// Lists and checks the input of shape `spend`.
    ///
    /// # Errors
    /// Everything that is wrong with the input's files.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Self, Error> {
        Ok(Self { sheet: Sheet::open(config, calendar, Shape::Spend)? })
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
        if let Some(sheet) = &self.sheet {
            sheet.read(ledger, |batch| reading.batch(batch))?;
        }
        let inputs: Vec<CheckedInput> = self.sheet.into_iter().map(|s| s.checked).collect();
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

impl Reading<'_> {
    fn batch(&mut self, batch: &mut SheetBatch<'_>) -> Result<(), Error> {
        let dates = batch.instants("date")?;
        let (amounts, inexact) = batch.decimals("amount", self.currency.scale)?;
        let (channels, cost_types) = (batch.texts("channel")?, batch.texts("cost_type")?);
        let currencies = batch.texts("currency")?;
        let columns = dates.iter().zip(amounts).zip(channels).zip(cost_types).zip(currencies);
        for (row, ((((at, amount), channel), cost_type), currency)) in columns.enumerate() {
            let is_inexact = inexact.binary_search(&row).is_ok();
            match self.judge(row, (*at, amount, is_inexact), batch) {
                Err(rule) => batch.refuse(row, rule),
                Ok(Fate::AfterAsOf) => batch.after_as_of(),
                Ok(Fate::Kept) => {
                    batch.keep();
                    let day = self.calendar.day(*at);
                    let amount = match amount {
                        BAD_AMOUNT | NO_AMOUNT => NO_AMOUNT,
                        amount => {
                            let currency = currency.as_deref();
                            (self.price)(&SpentIn { day, amount, currency })
                        }
                    };
                    batch.note_if(amount == UNPRICED, row, Rule::UnpricedSpend);
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
        row: usize,
        (at, amount, is_inexact): (Instant, i64, bool),
        batch: &mut SheetBatch<'_>,
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
        batch.note(row, rule);
        Ok(Fate::Kept)
    }
}

/// What becomes of a row that breaks no rule.
enum Fate {
    Kept,
    AfterAsOf,
}
