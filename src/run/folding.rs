//! The middle of a run: folded chunks become batches of relations, and transactions become
//! customers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::focus::Focus;
use super::history::Taker;
use super::memory::Memory;
use super::orders::Orders;
use crate::error::Error;
use crate::fold::{self, Scattered};
use crate::quality::Ledger;
use crate::relations::assemble::{Assembler, Transactions};
use crate::relations::{Batch, Of};
use crate::source::record_orphans;
use crate::spill::Complete;

/// What the fold leaves behind when its batches are taken.
pub(super) struct Folded {
    pub(super) tally: fold::Tally,
    pub(super) deals: u64,
    orders: Vec<(Of, Orders)>,
    /// Of the events.
    spilled_bytes: u64,
}

impl Folded {
    /// Folds all events and hands over what comes out.
    ///
    /// # Errors
    /// Whatever the taker refuses; events that cannot be read back.
    pub(super) fn new<T: Taker>(
        events: Complete<Scattered>,
        settings: &fold::Settings<'_>,
        assembler: &Assembler<'_>,
        (taker, focus): (&T, Option<Focus>),
        (memory, ledger): (&Memory, &Ledger),
    ) -> Result<Self, Error> {
        let won = Orders::new(memory, events.rows());
        let payments = assembler.payments();
        let paid = payments.map(|p| Orders::new(memory, events.rows().max(p.rows().len() as u64)));
        let add = |made: Transactions| {
            won.add(made.won)?;
            paid.as_ref().map_or(Ok(()), |paid| paid.add(made.paid))
        };
        let deals = AtomicU64::new(0);
        let tally = fold::fold(&events, settings, |chunk| {
            if chunk.content == fold::Content::Deals {
                deals.fetch_add(chunk.deals.len() as u64, Ordering::Relaxed);
            }
            let take = |batch: &Batch| taker.take(batch);
            add(match focus {
                None => assembler.chunk(chunk, take)?,
                Some(focus) => focus.chunk(assembler, chunk, take)?,
            })
        })?;
        // Of one deal's story, payments that are not of it are no part.
        if let Some(payments) = payments.filter(|_| focus.is_none()) {
            let (rest, orphans) = assembler.rest_of_payments(|batch| taker.take(batch))?;
            add(Transactions { paid: rest, ..Transactions::default() })?;
            record_orphans(payments, &orphans, ledger);
        }
        if let Some(splits) = assembler.judged_splits().filter(|_| focus.is_none()) {
            splits.record_orphans(ledger);
        }
        let (deals, spilled_bytes) = (deals.into_inner(), events.spilled_bytes());
        let mut orders = vec![(Of::Won, won)];
        orders.extend(paid.map(|paid| (Of::Paid, paid)));
        Ok(Self { tally, deals, orders, spilled_bytes })
    }

    /// Makes the relations about customers.
    ///
    /// # Errors
    /// Whatever the taker refuses; orders that cannot be written or read back.
    pub(super) fn customers<T: Taker>(
        self,
        assembler: &Assembler<'_>,
        taker: &T,
    ) -> Result<(), Error> {
        let mut bytes = self.spilled_bytes;
        for (of, orders) in self.orders {
            let orders = orders.complete()?;
            orders.customers(assembler, of, |batch| taker.take(batch))?;
            bytes += orders.spilled_bytes();
        }
        tracing::debug!(bytes, "scratch");
        Ok(())
    }
}
