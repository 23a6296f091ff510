//! Shape `contracts`: what customers have agreed to pay a month, from when until when.

use super::convert::{BAD_AMOUNT, BAD_INSTANT, is_plausible};
use super::sheet::SheetBatch;
use super::tables::TableSettings;
use crate::contract::Id;
use crate::error::Error;
use crate::money::NO_AMOUNT;
use crate::quality::Rule;
use crate::time::{Day, Instant, NO_DAY, NO_INSTANT};

/// One contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractRow {
    /// Whose it is.
    pub customer: Id,
    /// First day.
    pub from: Day,
    /// The day after its last one; [`NO_DAY`] while it runs.
    pub to: Day,
    /// What it brings a month, in minor units; [`NO_AMOUNT`] without a rate.
    pub amount: i64,
}

/// Adds the rows of a batch. A contract that begins after `as_of` does not exist; one that is to
/// end later runs.
pub(super) fn read_batch(
    batch: &mut SheetBatch<'_>,
    settings: &TableSettings<'_>,
    rows: &mut Vec<ContractRow>,
) -> Result<(), Error> {
    let customers = batch.ids("customer_id", &settings.names.customer)?;
    let (starts, ends) = (batch.days("start")?, batch.instants("end")?);
    let (amounts, inexact) = batch.decimals("mrr", settings.currency.scale)?;
    let currencies = batch.texts("currency")?;
    let today = settings.calendar.day(settings.as_of);
    let columns = customers.into_iter().zip(starts.into_iter().zip(ends)).zip(amounts);
    for (row, (((customer, (from, end)), amount), currency)) in columns.zip(currencies).enumerate()
    {
        let to = end_day(end, settings);
        let is_amount = ![NO_AMOUNT, BAD_AMOUNT].contains(&amount) && amount >= 0;
        let is_span = from != NO_DAY && to.is_some_and(|to| to == NO_DAY || from < to);
        let Some(to) = to.filter(|_| is_amount && is_span && !customer.is_none()) else {
            batch.refuse(row, Rule::BadContract);
            continue;
        };
        if from > today {
            batch.after_as_of();
            continue;
        }
        let is_inexact = inexact.binary_search(&row).is_ok();
        match settings.worth((from, amount, currency.as_deref()), (row, is_inexact), batch) {
            Err(rule) => batch.refuse(row, rule),
            Ok(amount) => {
                batch.keep();
                rows.push(ContractRow { customer, from, to, amount });
            }
        }
    }
    Ok(())
}

/// The day of an end; [`NO_DAY`] for none or a stand-in for none, `None` for one that cannot be
/// read.
fn end_day(end: Instant, settings: &TableSettings<'_>) -> Option<Day> {
    match end {
        BAD_INSTANT => None,
        NO_INSTANT => Some(NO_DAY),
        at if !is_plausible(at) => Some(NO_DAY),
        at => Some(settings.calendar.day(at)),
    }
}
