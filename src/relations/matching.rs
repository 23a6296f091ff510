//! Which customers and deals that the optional tables name are in the deal histories, noted while
//! the fold goes on: a look-up by identifier that cannot add rows.

use std::sync::{Mutex, OnceLock, PoisonError};

use hashbrown::{HashMap, HashSet};

use crate::contract::Id;
use crate::fold::{Chunk, DealRow};
use crate::source::Tables;
use crate::time::{Day, Instant};

/// The identifiers that are looked for. `7` is 7, since another file may hold it as text.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// The customer as the deals spell it, once a deal has it.
    customers: HashMap<Id, OnceLock<Id>>,
    /// The deal's customer, once the deal is seen.
    deals: HashMap<Id, OnceLock<Id>>,
    /// The purchase days of customers who were asked or whose deals were, where anybody asks.
    purchases: Mutex<HashMap<Id, Vec<Day>>>,
    /// The visits of the deals that are named, where anybody asks.
    paths: Mutex<HashMap<Id, Vec<Stay>>>,
    /// Whose the purchase days are, once all deals have been seen.
    buyers: OnceLock<HashSet<Id>>,
}

/// A visit of a deal that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stay {
    pub(super) entered: Instant,
    /// As the fold has it, as the owner.
    pub(super) stage: u16,
    pub(super) owner: u32,
}

/// Whose a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whose {
    /// The customer, the same for every spelling; none where it is not known.
    pub(super) customer: Id,
    /// The customer as the deals spell it, or else the row.
    pub(super) spelled: Id,
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
        (!customers.is_empty() || !deals.is_empty()).then_some(Self {
            customers,
            deals,
            ..Self::default()
        })
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

    /// Notes the visits of the deals that are looked for.
    pub(super) fn note_visits(&self, chunk: &Chunk) {
        let is_named = |row: &DealRow| self.deals.contains_key(&row.id.as_number());
        let named: Vec<bool> = chunk.deals.iter().map(is_named).collect();
        if !named.contains(&true) {
            return;
        }
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        for row in &chunk.visits {
            let place = row.deal as usize;
            let is_named = named.get(place) == Some(&true);
            let Some(deal) = chunk.deals.get(place).filter(|_| is_named) else { continue };
            let visit = &row.visit;
            let stay = Stay { entered: visit.entered, stage: visit.stage, owner: visit.owner };
            paths.entry(deal.id.as_number()).or_default().push(stay);
        }
    }

    /// Where a deal was at an instant.
    pub(super) fn stay_at(&self, deal: Id, at: Instant) -> Option<Stay> {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let known = paths.get(&deal.as_number())?.iter().filter(|stay| stay.entered <= at);
        // Of visits that began at once the last one.
        known.max_by_key(|stay| stay.entered).copied()
    }

    /// Notes the purchase days of a customer that is looked for; every deal has been noted.
    pub(super) fn note_purchases(&self, customer: Id, days: &[Day]) {
        let buyers = self.buyers.get_or_init(|| {
            let named = self.customers.values().chain(self.deals.values());
            named.filter_map(|found| found.get()).map(|id| id.as_number()).collect()
        });
        // Payments and deals may spell it differently.
        let customer = customer.as_number();
        if buyers.contains(&customer) {
            let mut all = self.purchases.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(customer, days.to_vec());
        }
    }

    /// The purchase days of a customer, the same for every spelling.
    pub(super) fn purchases_of(&self, customer: Id) -> Vec<Day> {
        let all = self.purchases.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&customer).cloned().unwrap_or_default()
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
            let spelled = customer;
            return Whose { customer: customer.as_number(), spelled, hash, has_deal };
        }
        let found = of(&self.customers, customer);
        let spelled = found.unwrap_or(customer);
        let has_deal = found.is_some();
        Whose { customer: customer.as_number(), spelled, hash: spelled.hash(), has_deal }
    }
}
