//! The columns of one decoded batch that all shapes of deal histories share.

use crate::contract::{Id, NO_CODE, NO_PROBABILITY};
use crate::money::NO_AMOUNT;
use crate::time::{Instant, NO_DAY};

/// One decoded batch: canonical columns of equal length; empty where the input has none.
#[derive(Default)]
pub(super) struct Decoded {
    pub(super) deal: Vec<Id>,
    pub(super) amount: Vec<i64>,
    /// Rows whose amount was rounded, ascending.
    pub(super) inexact: Vec<usize>,
    pub(super) currency: Vec<u32>,
    pub(super) owner: Vec<u32>,
    pub(super) customer: Vec<Id>,
    pub(super) expected_close: Vec<i32>,
    pub(super) probability: Vec<i32>,
    pub(super) seq: Vec<i64>,
    pub(super) event_id: Vec<Id>,
    pub(super) ingested: Vec<Instant>,
    pub(super) dimensions: Vec<Vec<u32>>,
    /// Whether each row's pipeline is asked for; empty where all are.
    pub(super) wanted_pipeline: Vec<bool>,
    /// The pipelines, where the run has several.
    pub(super) pipeline: Vec<u16>,
}

impl Decoded {
    /// These rows, in this order; columns that are not there stay so.
    pub(super) fn pick(&self, rows: &[u32]) -> Self {
        fn pick<T: Copy>(column: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().filter_map(|row| column.get(*row as usize).copied()).collect()
        }
        Self {
            deal: pick(&self.deal, rows),
            amount: pick(&self.amount, rows),
            inexact: Vec::new(),
            currency: pick(&self.currency, rows),
            owner: pick(&self.owner, rows),
            customer: pick(&self.customer, rows),
            expected_close: pick(&self.expected_close, rows),
            probability: pick(&self.probability, rows),
            seq: pick(&self.seq, rows),
            event_id: pick(&self.event_id, rows),
            ingested: pick(&self.ingested, rows),
            dimensions: self.dimensions.iter().map(|d| pick(d, rows)).collect(),
            wanted_pipeline: Vec::new(),
            pipeline: pick(&self.pipeline, rows),
        }
    }

    /// Forgets what a row says of its deal.
    pub(super) fn forget(&mut self, row: usize) {
        fn clear<T>(column: &mut [T], row: usize, none: T) {
            if let Some(slot) = column.get_mut(row) {
                *slot = none;
            }
        }
        clear(&mut self.amount, row, NO_AMOUNT);
        clear(&mut self.currency, row, NO_CODE);
        clear(&mut self.owner, row, NO_CODE);
        clear(&mut self.customer, row, Id::NONE);
        clear(&mut self.expected_close, row, NO_DAY);
        clear(&mut self.probability, row, NO_PROBABILITY);
        self.dimensions.iter_mut().for_each(|codes| clear(codes, row, NO_CODE));
    }
}
