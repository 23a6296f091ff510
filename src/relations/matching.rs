//! Which customers and deals that the optional tables name are in the deal histories, noted while
//! the fold goes on: a look-up by identifier that cannot add rows.

use std::sync::OnceLock;

use hashbrown::HashMap;

use crate::contract::Id;
use crate::fold::DealRow;
use crate::source::Tables;

/// The identifiers that are looked for. `7` is 7, since another file may hold it as text.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// The customer as the deals spell it, once a deal has it.
    customers: HashMap<Id, OnceLock<Id>>,
    /// The deal's customer, once the deal is seen.
    deals: HashMap<Id, OnceLock<Id>>,
}

/// Whose a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whose {
    /// The customer, the same for every spelling; none where it is not known.
    pub(super) customer: Id,
    /// By what the row is split: the hash that the deals of the customer have.
    pub(super) hash: u64,
    /// Whether a deal has the customer, or is the one that is named.
    pub(super) has_deal: bool,
}

impl Matching {
    /// What is to be looked for; `None` where there is nothing.
    pub(super) fn new(tables: &Tables) -> Option<Self> {
        let surveys = || tables.surveys.iter().flatten();
        let customers = surveys()
            .map(|row| row.customer)
            .chain(tables.touches.iter().flatten().map(|row| row.customer))
            .chain(tables.contracts.iter().flatten().map(|row| row.customer));
        let wanted = |ids: &mut dyn Iterator<Item = Id>| -> HashMap<Id, OnceLock<Id>> {
            let known = ids.filter(|id| !id.is_none());
            known.map(|id| (id.as_number(), OnceLock::new())).collect()
        };
        let customers = wanted(&mut customers.into_iter());
        let deals = wanted(&mut surveys().map(|row| row.deal));
        (!customers.is_empty() || !deals.is_empty()).then_some(Self { customers, deals })
    }

    /// Notes which of them a chunk's deals are or have.
    pub(super) fn note(&self, rows: &[DealRow]) {
        for row in rows {
            let customer = row.deal.customer;
            if let Some(found) = self.customers.get(&customer.as_number()) {
                // Every deal of a customer spells it in the same way.
                let _ = found.set(customer);
            }
            if self.deals.is_empty() {
                continue;
            }
            if let Some(found) = self.deals.get(&row.id.as_number()) {
                let _ = found.set(customer);
            }
        }
    }

    /// Whose a row is that names a customer, a deal or both.
    pub(super) fn whose(&self, customer: Id, deal: Id) -> Whose {
        let of = |ids: &HashMap<Id, OnceLock<Id>>, id: Id| {
            ids.get(&id.as_number()).and_then(|found| found.get().copied())
        };
        if customer.is_none() {
            let of_deal = of(&self.deals, deal);
            let customer = of_deal.unwrap_or(Id::NONE);
            let split = if customer.is_none() { deal } else { customer };
            let (hash, has_deal) = (split.hash(), of_deal.is_some());
            return Whose { customer: customer.as_number(), hash, has_deal };
        }
        let found = of(&self.customers, customer);
        let hash = found.unwrap_or(customer).hash();
        Whose { customer: customer.as_number(), hash, has_deal: found.is_some() }
    }
}
