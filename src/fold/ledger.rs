//! What a deal's history books, event by event: the ledger clock of G8.
//!
//! After every event the deal either counts as won, with an amount and the values of its dimensions,
//! or it does not; whatever differs from what is booked becomes entries of that event's time. So an
//! entry is never taken back, only answered by a later one, and a period that has ended does not
//! change. It does not know periods, look-ups or policies of deletion.
//!
//! Invariant: at any time the entries add up to what the deal counts for at that time, as a whole
//! and for each value of a dimension.

use super::deal::{Deal, Outcome};
use crate::money::NO_AMOUNT;
use crate::time::{Instant, NO_INSTANT};

/// Whether entries are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Booking {
    /// Nobody asks for them.
    #[default]
    Unread,
    /// They are made.
    Read,
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
    /// A dimension changed while it was won: out of the old values, into the new ones.
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

/// The entries of one deal; keeps its buffers between deals.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// The entries, in order of time.
    pub entries: Vec<Entry>,
    /// Of each entry the value of every dimension, one entry after the other.
    pub dimensions: Vec<u32>,
    booked: Option<Booked>,
    /// The values of the dimensions that are booked.
    under: Vec<u32>,
}

/// What is booked at present.
#[derive(Debug, Clone, Copy)]
struct Booked {
    amount: i64,
    owner: u32,
}

impl Ledger {
    /// Begins a deal.
    pub fn begin(&mut self) {
        self.entries.clear();
        self.dimensions.clear();
        self.booked = None;
    }

    /// Brings the entries in line with the deal as it is after an event.
    pub fn settle(&mut self, deal: &Deal, dimensions: &[u32], time: Instant) {
        let is_won = deal.outcome == Outcome::Won && deal.deleted == NO_INSTANT;
        let amount = if deal.amount == NO_AMOUNT { 0 } else { deal.amount };
        match self.booked {
            None if is_won => {
                self.book_under(dimensions);
                self.booked = Some(Booked { amount, owner: deal.owner });
                self.push(time, EntryKind::Booking, 1, amount, deal.owner);
            }
            None => {}
            Some(booked) if is_won => {
                let owner = booked.owner;
                if self.under != dimensions {
                    let taken = booked.amount.saturating_neg();
                    self.push(time, EntryKind::Transfer, -1, taken, owner);
                    self.book_under(dimensions);
                    self.push(time, EntryKind::Transfer, 1, booked.amount, owner);
                }
                if booked.amount != amount {
                    let more = amount.saturating_sub(booked.amount);
                    self.push(time, EntryKind::Adjustment, 0, more, owner);
                    self.booked = Some(Booked { amount, owner });
                }
            }
            Some(Booked { amount, owner }) => {
                self.booked = None;
                self.push(time, EntryKind::Reversal, -1, amount.saturating_neg(), owner);
            }
        }
    }

    fn book_under(&mut self, dimensions: &[u32]) {
        self.under.clear();
        self.under.extend_from_slice(dimensions);
    }

    fn push(&mut self, time: Instant, kind: EntryKind, deals: i64, amount: i64, owner: u32) {
        self.entries.push(Entry { time, kind, deals, amount, owner });
        self.dimensions.extend_from_slice(&self.under);
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
        let mut ledger = Ledger::default();
        ledger.begin();
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
