//! What a deal's history books, event by event: the ledger clock of G8.
//!
//! After every event the deal either counts as won, with an amount and the values of its dimensions,
//! or it does not; whatever differs from what is booked becomes entries of that event's time. So an
//! entry is never taken back, only answered by a later one, and a period that has ended does not
//! change. An entry knows nothing of what comes later: amounts in other currencies are worth what
//! they are worth on the entry's own day wherever the policy would look ahead. It does not know
//! periods, look-ups or policies of deletion.
//!
//! Invariant: at any time the entries add up to what the deal counts for at that time, as a whole
//! and for each value of a dimension.

use super::deal::{Deal, Event, Outcome};
use super::pricing::Pricing;
use crate::config::MoneyPolicy;
use crate::contract::{EventBatch, EventKind, Id, NO_CODE};
use crate::money::NO_AMOUNT;
use crate::time::{Day, Instant, NO_DAY, NO_INSTANT};

/// Whether entries are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Booking {
    /// Nobody asks for them.
    #[default]
    Unread,
    /// They are made.
    Read,
    /// They are made with what look-ups need to know, and where that changes.
    WithKeys,
}

/// Why an entry was made; the number is its position in
/// [`crate::relations::bookings::BOOKING_KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// The deal was won.
    Booking = 0,
    /// It no longer counts as won: re-opened, lost or deleted.
    Reversal = 1,
    /// Its amount changed while it was won.
    Adjustment = 2,
    /// A dimension, or what one is looked up by, changed while it was won: out of the old values,
    /// into the new ones.
    Transfer = 3,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub time: Instant,
    /// Why.
    pub kind: EntryKind,
    /// Won deals more (1), fewer (-1) or as many (0).
    pub deals: i64,
    /// Minor units more; an unknown amount is nothing.
    pub amount: i64,
    /// The owner when the deal was booked.
    pub owner: u32,
}

/// What look-ups find a deal by, as it is known at the time of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is that of the deal")]
pub struct Keys {
    pub owner: u32,
    pub created_owner: u32,
    pub closed_owner: u32,
    pub customer: Id,
    pub created: Instant,
    pub closed: Instant,
}

impl Keys {
    /// Those of a deal.
    #[must_use]
    pub fn of(deal: &Deal) -> Self {
        let told = if deal.created == NO_INSTANT { deal.first_event } else { deal.created };
        Self {
            owner: deal.owner,
            created_owner: deal.created_owner,
            closed_owner: deal.closed_owner,
            customer: deal.customer,
            created: told.min(deal.first_event),
            closed: deal.closed,
        }
    }
}

/// The entries of one deal; keeps its buffers between deals.
#[derive(Debug)]
pub struct Ledger<'a> {
    /// The entries, in order of time.
    pub entries: Vec<Entry>,
    /// Of each entry the value of every dimension, one entry after the other.
    pub dimensions: Vec<u32>,
    /// Of each entry what look-ups need; empty where none does.
    pub keys: Vec<Keys>,
    booking: Booking,
    /// What amounts are worth; none where they are in the reporting currency.
    pricing: Option<&'a Pricing>,
    held: Held,
    now: Standing,
    /// What was booked before the telling that is under way, and how much of each list.
    before: Standing,
    kept: (usize, usize),
    /// Entries are made from the first instant on and before the second.
    span: (Instant, Instant),
    /// The deal has not come to the first one.
    is_early: bool,
}

/// What is booked, and under which values.
#[derive(Debug, Clone, Default)]
struct Standing {
    booked: Option<Booked>,
    dimensions: Vec<u32>,
    keys: Option<Keys>,
}

/// What is booked at present.
#[derive(Debug, Clone, Copy)]
struct Booked {
    amount: i64,
    owner: u32,
    /// The amount as given, of which that is the worth.
    held: Held,
    is_priced: bool,
}

/// The deal's amount as given, in the currency that has been told so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    amount: i64,
    currency: u32,
    /// The day of the event that gave it.
    given_on: Day,
}

const NOTHING: Held = Held { amount: NO_AMOUNT, currency: NO_CODE, given_on: NO_DAY };

impl<'a> Ledger<'a> {
    /// A ledger of amounts that are worth so much.
    #[must_use]
    pub fn new(booking: Booking, pricing: Option<&'a Pricing>) -> Self {
        Self {
            entries: Vec::new(),
            dimensions: Vec::new(),
            keys: Vec::new(),
            booking,
            pricing: pricing.filter(|pricing| pricing.policy != MoneyPolicy::None),
            held: NOTHING,
            now: Standing::default(),
            before: Standing::default(),
            kept: (0, 0),
            span: (NO_INSTANT, Instant::MAX),
            is_early: false,
        }
    }

    /// Begins another deal.
    pub fn clear(&mut self) {
        self.before.booked = None;
        (self.kept, self.span) = ((0, 0), (NO_INSTANT, Instant::MAX));
        self.begin();
    }

    /// Begins to tell the deal, perhaps again: what an earlier telling of the same span made is gone.
    pub fn begin(&mut self) {
        let (entries, dimensions) = self.kept;
        self.entries.truncate(entries);
        self.keys.truncate(entries);
        self.dimensions.truncate(dimensions);
        self.now.clone_from(&self.before);
        self.held = NOTHING;
        self.is_early = self.span.0 != NO_INSTANT;
    }

    /// Keeps what is booked; what the next telling makes is of this span of time.
    pub fn open(&mut self, from: Instant, until: Instant) {
        self.before.clone_from(&self.now);
        self.kept = (self.entries.len(), self.dimensions.len());
        self.span = (from, until);
        self.begin();
    }

    /// Brings the entries in line with the deal as it was before its events from this time on, if
    /// it now comes to the span.
    pub fn reach(&mut self, deal: &Deal, dimensions: &[u32], time: Instant) {
        if self.is_early && time >= self.span.0 {
            self.is_early = false;
            self.settle(deal, dimensions, self.span.0);
        }
    }

    /// Reverses what is booked, because the deal goes on in another one or is no longer told.
    pub fn close(&mut self, time: Instant) {
        if let Some(Booked { amount, owner, .. }) = self.now.booked.take() {
            self.push(time, EntryKind::Reversal, -1, amount.saturating_neg(), owner);
        }
    }

    /// What the entries add up to.
    #[must_use]
    pub fn held_amount(&self) -> i64 {
        self.now.booked.map_or(0, |booked| booked.amount)
    }

    /// Notes the amount and the currency that an event gives, before it is applied.
    pub fn note(&mut self, events: &EventBatch, row: usize, event: &Event) {
        let Some(pricing) = self.pricing else { return };
        let code = events.currency.get(row).copied().unwrap_or(NO_CODE);
        let is_other = code != NO_CODE && code != self.held.currency;
        let is_given = event.amount != NO_AMOUNT || event.kind == EventKind::Cleared;
        if is_other {
            self.held.currency = code;
        }
        if is_given {
            self.held.amount = event.amount;
        }
        if is_other || is_given {
            self.held.given_on = pricing.calendar.day(event.time);
        }
    }

    /// Brings the entries in line with the deal as it is after an event.
    pub fn settle(&mut self, deal: &Deal, dimensions: &[u32], time: Instant) {
        if !(self.span.0..self.span.1).contains(&time) {
            return;
        }
        let is_won = deal.outcome == Outcome::Won && deal.deleted == NO_INSTANT;
        match self.now.booked {
            None if is_won => {
                self.book_under(deal, dimensions);
                let value = self.value(deal, time);
                let (amount, is_priced) = (value.unwrap_or(0), value.is_some());
                let (owner, held) = (deal.owner, self.held);
                self.now.booked = Some(Booked { amount, owner, held, is_priced });
                self.push(time, EntryKind::Booking, 1, amount, owner);
            }
            None => {}
            Some(booked) if is_won => self.adjust(booked, deal, dimensions, time),
            Some(_) => self.close(time),
        }
    }

    fn adjust(&mut self, booked: Booked, deal: &Deal, dimensions: &[u32], time: Instant) {
        let is_moved = self.now.keys.is_some_and(|keys| keys != Keys::of(deal));
        if is_moved || self.now.dimensions != dimensions {
            let taken = booked.amount.saturating_neg();
            self.push(time, EntryKind::Transfer, -1, taken, booked.owner);
            self.book_under(deal, dimensions);
            self.push(time, EntryKind::Transfer, 1, booked.amount, booked.owner);
        }
        let (more, is_priced) = self.change(&booked, deal, time);
        if more != 0 {
            self.push(time, EntryKind::Adjustment, 0, more, booked.owner);
        }
        let amount = booked.amount.saturating_add(more);
        self.now.booked = Some(Booked { amount, is_priced, held: self.held, ..booked });
    }

    /// How much more the deal counts for than what is booked, and whether all of it has a rate.
    ///
    /// Definition: where entries are worth what they are worth on their own day, only a change of the
    /// amount as given is booked, by the rate of its day; a change of the currency books the whole
    /// anew. No change of a rate is an entry.
    fn change(&self, booked: &Booked, deal: &Deal, time: Instant) -> (i64, bool) {
        let (was, now) = (booked.held, self.held);
        let by_own_day = |pricing: &&Pricing| {
            matches!(pricing.policy, MoneyPolicy::AtClose | MoneyPolicy::AtAsOf)
        };
        if let Some(pricing) = self.pricing.filter(by_own_day)
            && was.currency == now.currency
        {
            if was.amount == now.amount {
                return (0, booked.is_priced);
            }
            let are_known = booked.is_priced && now.amount != NO_AMOUNT;
            let more = now.amount.saturating_sub(was.amount);
            let more = pricing.worth_on(more, now.currency, pricing.calendar.day(time));
            if let Some(more) = more.filter(|_| are_known) {
                return (more, true);
            }
        }
        let value = self.value(deal, time);
        (value.unwrap_or(0).saturating_sub(booked.amount), value.is_some())
    }

    /// What the deal's amount is worth; `None` if that is unknown.
    fn value(&self, deal: &Deal, time: Instant) -> Option<i64> {
        let Some(pricing) = self.pricing else {
            return (deal.amount != NO_AMOUNT).then_some(deal.amount);
        };
        let Held { amount, currency, given_on } = self.held;
        let day = match pricing.policy {
            MoneyPolicy::AtEvent => given_on,
            MoneyPolicy::Constant => pricing.day,
            _ => pricing.calendar.day(time),
        };
        (amount != NO_AMOUNT).then(|| pricing.worth_on(amount, currency, day)).flatten()
    }

    fn book_under(&mut self, deal: &Deal, dimensions: &[u32]) {
        self.now.dimensions.clear();
        self.now.dimensions.extend_from_slice(dimensions);
        self.now.keys = (self.booking == Booking::WithKeys).then(|| Keys::of(deal));
    }

    fn push(&mut self, time: Instant, kind: EntryKind, deals: i64, amount: i64, owner: u32) {
        self.entries.push(Entry { time, kind, deals, amount, owner });
        self.dimensions.extend_from_slice(&self.now.dimensions);
        self.keys.extend(self.now.keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::NO_CODE;

    /// A deal from text: `open`, `deleted*100`, or `won*100/2`, won with an amount in region 2.
    fn deal(text: &str) -> (Deal, u32) {
        let (text, region) = text.split_once('/').unwrap_or((text, ""));
        let (word, amount) = text.split_once('*').unwrap_or((text, ""));
        let deal = Deal {
            outcome: if word == "open" { Outcome::Open } else { Outcome::Won },
            deleted: if word == "deleted" { 1 } else { NO_INSTANT },
            amount: amount.parse().unwrap_or(NO_AMOUNT),
            ..Deal::default()
        };
        (deal, region.parse().unwrap_or(NO_CODE))
    }

    /// The entries as text: time, first letter of the kind, deals, amount, region.
    #[track_caller]
    fn check(states: &str, expected: &str) {
        let mut ledger = Ledger::new(Booking::Read, None);
        ledger.clear();
        for (time, state) in (0..).zip(states.split_whitespace()) {
            let (deal, region) = deal(state);
            ledger.settle(&deal, &[region], time);
        }
        let entries = ledger.entries.iter().zip(&ledger.dimensions).map(|(entry, region)| {
            let kind = &format!("{:?}", entry.kind)[..1];
            let region = if *region == NO_CODE { String::new() } else { format!("/{region}") };
            format!("{}{kind}{:+}*{}{region}", entry.time, entry.deals, entry.amount)
        });
        assert_eq!(entries.collect::<Vec<_>>().join(" "), expected, "{states}");
    }

    #[test]
    fn reversal_takes_back_what_was_booked_by_then() {
        check("open*50 won*100 won*100 open*70", "1B+1*100 3R-1*-100");
        check("won*100 won*130 open*90 won*90", "0B+1*100 1A+0*30 2R-1*-130 3B+1*90");
    }

    #[test]
    fn deletion_reverses_and_restoration_books_again() {
        check("won*100 deleted*100 deleted*80 won*80", "0B+1*100 1R-1*-100 3B+1*80");
    }

    #[test]
    fn unknown_amount_books_a_deal_and_nothing_else() {
        check("won won*40 won", "0B+1*0 1A+0*40 2A+0*-40");
    }

    #[test]
    fn change_of_a_dimension_moves_the_deal_before_its_amount_changes() {
        check("won*100/1 won*120/2", "0B+1*100/1 1T-1*-100/1 1T+1*100/2 1A+0*20/2");
        check("won*5 won*5/1 open*5/3", "0B+1*5 1T-1*-5 1T+1*5/1 2R-1*-5/1");
    }
}
