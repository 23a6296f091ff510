//! Shape `targets`: what an owner, a team or everybody is to reach in a period.

use super::convert::BAD_AMOUNT;
use super::sheet::SheetBatch;
use super::tables::TableSettings;
use crate::error::Error;
use crate::money::NO_AMOUNT;
use crate::quality::Rule;
use crate::time::{Day, NO_DAY};

/// What is counted towards a target that does not say so.
pub const NET_WON_AMOUNT: &str = "net_won_amount";

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRow {
    /// Whose it is; with neither owner nor team everybody's.
    pub owner: Option<String>,
    /// The team's.
    pub team: Option<String>,
    /// What is counted.
    pub metric: String,
    /// First day of the period.
    pub from: Day,
    /// The day after its last one.
    pub to: Day,
    /// What is to be reached, in minor units; [`NO_AMOUNT`] without a rate.
    pub amount: i64,
}

/// Adds the rows of a batch. Targets of periods to come are plans, not events, and count.
pub(super) fn read_batch(
    batch: &mut SheetBatch<'_>,
    settings: &TableSettings<'_>,
    rows: &mut Vec<TargetRow>,
) -> Result<(), Error> {
    let (owners, teams) = (batch.texts("owner_id")?, batch.texts("team_id")?);
    let (starts, ends) = (batch.days("period_start")?, batch.days("period_end")?);
    let (amounts, inexact) = batch.decimals("target", settings.currency.scale)?;
    let (metrics, currencies) = (batch.texts("metric")?, batch.texts("currency")?);
    let whose = owners.into_iter().zip(teams);
    let spans = starts.into_iter().zip(ends);
    let columns = whose.zip(spans).zip(amounts).zip(metrics).zip(currencies).enumerate();
    for (row, (((((owner, team), (from, to)), amount), metric), currency)) in columns {
        let is_amount = ![NO_AMOUNT, BAD_AMOUNT].contains(&amount);
        let is_span = from != NO_DAY && to != NO_DAY && from < to;
        if !is_amount || !is_span {
            batch.refuse(row, Rule::BadTarget);
            continue;
        }
        let is_inexact = inexact.binary_search(&row).is_ok();
        match settings.worth((from, amount, currency.as_deref()), (row, is_inexact), batch) {
            Err(rule) => batch.refuse(row, rule),
            Ok(amount) => {
                batch.keep();
                batch.note_if(amount != NO_AMOUNT && amount <= 0, row, Rule::NonpositiveTargets);
                let metric = metric.unwrap_or_else(|| NET_WON_AMOUNT.to_owned());
                rows.push(TargetRow { owner, team, metric, from, to, amount });
            }
        }
    }
    Ok(())
}
