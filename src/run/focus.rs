//! A run that asks about one deal only: its rows are taken, and the orders of its customer, so that
//! it is the same order among them as in a run; all others are folded and let go.

use crate::error::Error;
use crate::fold::Chunk;
use crate::relations::Batch;
use crate::relations::assemble::{Assembler, Transactions};

/// The deal, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Focus {
    /// Hash of the deal.
    pub(super) deal: u64,
    /// Hash of its customer, where it has one.
    pub(super) customer: Option<u64>,
}

impl Focus {
    /// Takes what a chunk has of the deal; with the orders of its customer.
    ///
    /// # Errors
    /// Whatever `take` returns.
    pub(super) fn chunk(
        self,
        assembler: &Assembler<'_>,
        chunk: &Chunk,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<Transactions, Error> {
        let own = chunk.only(|row| row.id.hash() == self.deal, |row| row.deal.hash() == self.deal);
        if !own.deals.is_empty() || !own.bookings.is_empty() {
            assembler.chunk(&own, take)?;
        }
        let of_customer =
            chunk.only(|row| Some(row.deal.customer.hash()) == self.customer, |_| false);
        if of_customer.deals.is_empty() {
            return Ok(Transactions::default());
        }
        assembler.chunk(&of_customer, |_| Ok(()))
    }
}
