//! Shape `spend`: what was spent by day, channel and cost type.

use std::collections::BTreeMap;

use super::convert::{self, BAD_AMOUNT};
use super::events::UnitState;
use super::read::CheckedInput;
use super::{clock, wanted_columns};
use crate::config::{Config, Shape};
use crate::contract::SPEND;
use crate::error::Error;
use crate::money::{Currency, NO_AMOUNT};
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

/// All spend of a run.
#[derive(Debug)]
pub struct Spend {
    /// The rows up to `as_of`, in order of the source.
    pub rows: Vec<SpendRow>,
    /// The checked inputs they come from.
    pub inputs: Vec<CheckedInput>,
}

/// Reads every input of shape `spend`, which is small. Returns `None` if there is none.
///
/// # Errors
/// Everything that is wrong with the files, collected.
pub fn read_spend(
    config: &Config,
    calendar: Calendar,
    currency: &Currency,
    as_of: Instant,
    ledger: &Ledger,
) -> Result<Option<Spend>, Error> {
    let mut rows = Vec::new();
    let mut inputs = Vec::new();
    for (name, input) in &config.inputs {
        if input.shape != Shape::Spend {
            continue;
        }
        let wanted = wanted_columns(input, SPEND);
        let checked = CheckedInput::open(name, input, &wanted, clock(name, input, calendar)?)?;
        let mut counts = Counts::default();
        for unit in checked.units() {
            let path = checked.path(&unit).to_path_buf();
            let mut quarantine: Vec<QuarantinedRow> = Vec::new();
            checked.read(&unit, |arrays, first_row| {
                let [date, amount, channel, cost_type] = arrays else {
                    return Err(Error::Bug("spend has four columns".into()));
                };
                let (Some(date), Some(amount)) = (date, amount) else { return Ok(()) };
                let dates = convert::instants(date, &checked.clock)?;
                let (amounts, inexact) = convert::money(amount, currency)?;
                counts.add(Rule::InexactAmount, inexact);
                let names = |array: &Option<_>, column: &str| match array {
                    Some(array) => texts(array, input.values.get(column)),
                    None => Ok(vec![None; dates.len()]),
                };
                let channels = names(channel, "channel")?;
                let cost_types = names(cost_type, "cost_type")?;
                let columns = dates.iter().zip(amounts).zip(channels).zip(cost_types);
                for (row, (((at, amount), channel), cost_type)) in columns.enumerate() {
                    counts.rows_in += 1;
                    if let Some(rule) = UnitState::judge_time(*at) {
                        counts.add(rule, 1);
                        quarantine.push(QuarantinedRow {
                            file: path.clone(),
                            row: first_row + row as u64,
                            rule: rule.name(),
                            deal_id: None,
                            event_time: convert::display(Some(date), row),
                            event_type: None,
                            stage_id: None,
                            amount: None,
                        });
                        continue;
                    }
                    if *at > as_of {
                        counts.after_as_of += 1;
                        continue;
                    }
                    counts.folded += 1;
                    counts.add(Rule::BadAmount, u64::from(amount == BAD_AMOUNT));
                    counts.add(Rule::NullSpend, u64::from(amount == NO_AMOUNT));
                    let amount = if amount == BAD_AMOUNT { NO_AMOUNT } else { amount };
                    rows.push(SpendRow { day: calendar.day(*at), amount, channel, cost_type });
                }
                Ok(())
            })?;
            counts.quarantined += quarantine.len() as u64;
            ledger.quarantine(name, quarantine);
        }
        ledger.record(name, &counts);
        inputs.push(checked);
    }
    Ok((!inputs.is_empty()).then_some(Spend { rows, inputs }))
}

/// Names of a column, trimmed and replaced; empty text is none.
pub(super) fn texts(
    array: &arrow::array::ArrayRef,
    replace: Option<&BTreeMap<String, String>>,
) -> Result<Vec<Option<String>>, Error> {
    let mut texts = Vec::new();
    convert::each_text(array, |text| {
        let text = text.map(str::trim).filter(|t| !t.is_empty());
        let text = text.map(|t| replace.and_then(|r| r.get(t)).map_or(t, String::as_str));
        texts.push(text.map(str::to_owned));
        Ok(())
    })?;
    Ok(texts)
}
