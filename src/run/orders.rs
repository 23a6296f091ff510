//! Orders between the fold and the pass over customers: stored by shard of the customer, so that the
//! relations about customers are made a range of shards at a time and never whole.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::memory::Memory;
use crate::error::Error;
use crate::fold::Scattered;
use crate::relations::assemble::Assembler;
use crate::relations::orders_pass::OrderColumns;
use crate::relations::{Batch, Of, SHARDS_MAX};
use crate::spill::{Complete, Part, Store};

/// The orders on their way from the fold to the pass over customers: a thread's are collected until
/// they are many, then packed by shard of the customer and stored.
pub(super) struct Orders {
    store: Store<Scattered>,
    /// Orders of threads that fold at present.
    idle: Mutex<Vec<OrderColumns>>,
}

/// All orders of a run.
pub(super) struct AllOrders(Complete<Scattered>);

impl Orders {
    /// Orders packed at a time: enough that a shard's share of them is worth a look.
    const AT_ONCE: usize = 1 << 16;
    /// No orders, of so many events at most.
    #[must_use]
    pub(super) fn new(memory: &Memory, events: u64) -> Self {
        let (budget, scratch) = (&memory.budget, &memory.scratch);
        let shards = SHARDS_MAX as usize;
        let ranges = memory.order_ranges(events, shards);
        let store = Store::new(budget, Part::Orders, scratch, shards, ranges);
        Self { store, idle: Mutex::default() }
    }

    /// Adds the orders of a chunk.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn add(&self, orders: OrderColumns) -> Result<(), Error> {
        if orders.is_empty() {
            return Ok(());
        }
        let idle = self.idle().pop();
        let mut own = idle.unwrap_or_default();
        own.append(orders);
        if own.len() >= Self::AT_ONCE {
            self.store.add(own.scatter())?;
            own.clear();
        }
        self.idle().push(own);
        Ok(())
    }

    /// Everything has been added.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(super) fn complete(self) -> Result<AllOrders, Error> {
        for rest in std::mem::take(&mut *self.idle()).iter().filter(|rest| !rest.is_empty()) {
            self.store.add(rest.scatter())?;
        }
        Ok(AllOrders(self.store.complete()))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<OrderColumns>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AllOrders {
    /// Bytes of scratch data.
    #[must_use]
    pub(super) fn spilled_bytes(&self) -> u64 {
        self.0.spilled_bytes()
    }

    /// The relations about customers, a range of shards at a time, so that they are never whole.
    ///
    /// # Errors
    /// Whatever `take` returns; orders that cannot be read back.
    pub(super) fn customers(
        &self,
        assembler: &Assembler<'_>,
        of: Of,
        take: impl Fn(&Batch) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        let ranges = self.0.ranges().par_iter().enumerate().with_max_len(1);
        ranges.try_for_each(|(number, shards)| {
            let parts = self.0.range(number)?;
            let own = OrderColumns::gather(parts.iter().map(|part| &**part), shards);
            drop(parts);
            if own.is_empty() { Ok(()) } else { assembler.customers(&own, of, &take) }
        })
    }
}
