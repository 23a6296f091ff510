//! Shape `touches`: when customers and leads were in contact with us, and through what.

use super::sheet::SheetBatch;
use super::tables::TableSettings;
use super::task::TaskState;
use crate::contract::Id;
use crate::error::Error;
use crate::quality::Rule;
use crate::time::Instant;

/// One contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchRow {
    /// When.
    pub at: Instant,
    /// The customer, if it is told.
    pub customer: Id,
    /// The lead, if it is told.
    pub lead: Id,
    /// The channel, if it is told.
    pub channel: Option<String>,
    /// The campaign, if it is told.
    pub campaign: Option<String>,
}

/// Adds the rows of a batch.
pub(super) fn read_batch(
    batch: &mut SheetBatch<'_>,
    settings: &TableSettings<'_>,
    rows: &mut Vec<TouchRow>,
) -> Result<(), Error> {
    let times = batch.instants("at")?;
    let customers = batch.ids("customer_id", &settings.names.customer)?;
    let leads = batch.ids("lead_id", &settings.names.customer)?;
    let (channels, campaigns) = (batch.texts("channel")?, batch.texts("campaign_id")?);
    let columns = times.into_iter().zip(customers).zip(leads).zip(channels).zip(campaigns);
    for (row, ((((at, customer), lead), channel), campaign)) in columns.enumerate() {
        match TaskState::judge_time(at) {
            Some(rule) => batch.refuse(row, rule),
            None if at > settings.as_of => batch.after_as_of(),
            None => {
                batch.keep();
                let is_nobodys = customer.is_none() && lead.is_none();
                batch.note_if(is_nobodys, row, Rule::UnattributedRows);
                rows.push(TouchRow { at, customer, lead, channel, campaign });
            }
        }
    }
    Ok(())
}
