//! The ledger's entries of the deals that are folded, also of those that no other relation has: a deal
//! that is deleted counts until its deletion, one that was merged until its merge.
//!
//! What a deal was before others were merged into it is told by its own events alone, and what it is
//! from then on by those of all; so each span of time between two merges is folded by itself. Runs
//! without merges, and runs that nobody asks what deals book, pay nothing for that.
//!
//! Invariant: what is booked before a merge does not depend on the merge.

use super::merged::{ends_loser, is_late};
use super::{BookingRow, EventBatch, Folder, Ties, order};
use crate::contract::{EventKind, Id};
use crate::source::Merges;
use crate::time::{Instant, NO_INSTANT};

/// Deals that are one in the end.
struct Group<'g> {
    merges: &'g Merges,
    events: &'g EventBatch,
    units: &'g [(usize, usize)],
    /// The deal that goes on.
    winner: Id,
    /// The rows of all, in order, and the deal that each was of.
    rows: Vec<(u32, Id)>,
    members: Vec<Id>,
}

impl Group<'_> {
    /// The time of a deal's first own row, if it has any; a row of current deals always was.
    fn begins(&self, member: Id) -> Option<Instant> {
        let own = self.rows.iter().filter(|(_, own)| *own == member);
        let time = |(row, _): &(u32, Id)| {
            let at = *row as usize;
            let is_current = self.events.kind.get(at).is_some_and(|kind| kind.is_current());
            let time = self.events.time.get(at).copied().unwrap_or(NO_INSTANT);
            if is_current { NO_INSTANT } else { time }
        };
        own.map(time).min()
    }
}

impl Folder<'_> {
    /// Begins the entries of another deal.
    pub(super) fn begin_bookings(&mut self) {
        self.booked_apart = None;
        if let Some(ledger) = &mut self.machine.ledger {
            ledger.clear();
        }
    }

    /// What the ledger holds for the deal that was emitted last.
    pub(super) fn emit_held(&mut self) {
        if let Some(ledger) = &self.machine.ledger {
            self.out.held.push(self.booked_apart.unwrap_or_else(|| ledger.held_amount()));
        }
    }

    /// The entries of the deal that was folded last.
    pub(super) fn emit_bookings(&mut self, deal: Id) {
        if self.booked_apart.is_none() {
            self.emit_entries(deal, self.machine.deal.customer);
        }
    }

    fn emit_entries(&mut self, deal: Id, customer: Id) {
        let Some(ledger) = &self.machine.ledger else { return };
        let split = if customer.is_none() { deal.hash() } else { customer.hash() };
        let rows = ledger.entries.iter().map(|entry| BookingRow { deal, split, entry: *entry });
        self.out.bookings.extend(rows);
        self.out.booking_keys.extend_from_slice(&ledger.keys);
        let dimensions = self.settings.dimensions;
        for (place, column) in self.out.booking_dimensions.iter_mut().enumerate() {
            column.extend(ledger.dimensions.iter().skip(place).step_by(dimensions));
        }
    }

    /// The entries of deals that were merged, each as long as it was a deal of its own, and of the
    /// one that goes on; nothing for a deal that has nothing to do with a merge.
    pub(super) fn book_merged(
        &mut self,
        merges: &Merges,
        events: &EventBatch,
        units: &[(usize, usize)],
        rows: &[u32],
    ) {
        let first = rows.first().and_then(|row| events.deal.get(*row as usize));
        let Some(winner) = first.copied().filter(|_| self.machine.ledger.is_some()) else { return };
        let own = |row: &u32| (*row, self.own.get(*row as usize).copied().unwrap_or(winner));
        let rows: Vec<(u32, Id)> = rows.iter().map(own).collect();
        let mut members = vec![winner];
        for (_, own) in &rows {
            if !members.contains(own) {
                members.push(*own);
            }
        }
        if members.len() == 1 && merges.of(winner).is_none() {
            return;
        }
        // Whatever is noticed on the way is noticed again when the deal is folded.
        let tally = std::mem::take(&mut self.out.tally);
        let group = Group { merges, events, units, winner, rows, members };
        for member in &group.members {
            self.book_member(&group, *member);
            if *member == winner {
                let held = self.machine.ledger.as_ref().map(|ledger| ledger.held_amount());
                self.booked_apart = Some(held.unwrap_or(0));
            }
        }
        self.out.tally = tally;
        if let Some(ledger) = &mut self.machine.ledger {
            ledger.clear();
        }
    }

    /// The entries of one deal of a group, until it is merged itself.
    fn book_member(&mut self, group: &Group<'_>, member: Id) {
        let end = group.merges.of(member).map(|merge| merge.at);
        if let Some(ledger) = &mut self.machine.ledger {
            ledger.clear();
        }
        if end == Some(NO_INSTANT) {
            // A merge without a time always was.
            return;
        }
        let until = end.unwrap_or(Instant::MAX);
        let joins = group.members.iter().filter(|other| **other != member);
        let joins = joins.filter_map(|other| Some((*other, group.merges.joined(*other, member)?)));
        let joins: Vec<(Id, Instant)> = joins.filter(|(_, at)| *at < until).collect();
        // Until it has rows of its own it goes on as those that were merged into it.
        let begins = group.begins(member);
        let mut starts: Vec<Instant> = joins.iter().map(|(_, at)| *at).collect();
        starts.extend(begins.filter(|at| *at < until));
        starts.push(NO_INSTANT);
        starts.sort_unstable();
        starts.dedup();
        let mut customer = Id::NONE;
        let ends = starts.iter().skip(1).copied().chain([until]);
        for (from, to) in starts.iter().copied().zip(ends) {
            let is_joined = joins.iter().any(|(_, at)| *at <= from);
            let is_begun = !is_joined || begins.is_some_and(|at| at <= from);
            let is_in = |own: Id| match own == member {
                true => is_begun,
                false => joins.iter().any(|(other, at)| *other == own && *at <= from),
            };
            let counts = |(row, own): &&(u32, Id)| {
                let at = *row as usize;
                let merge = group.merges.of(*own);
                let is_late = merge.is_some_and(|merge| is_late(group.events, at, merge));
                is_in(*own) && !is_late && (*own == member || !ends_loser(group.events, at))
            };
            let mut rows: Vec<u32> =
                group.rows.iter().filter(counts).map(|(row, _)| *row).collect();
            self.label(group, member);
            let is_told = self.book_span(group, &mut rows, (from, to));
            self.label(group, group.winner);
            if is_told {
                customer = self.machine.deal.customer;
            }
        }
        if let (Some(end), Some(ledger)) = (end, &mut self.machine.ledger) {
            ledger.close(end);
        }
        self.emit_entries(member, customer);
    }

    /// Makes the fold take the rows of one deal of the group for its own and all others for history.
    fn label(&mut self, group: &Group<'_>, as_winner: Id) {
        for (row, own) in &group.rows {
            let name = match *own {
                own if own == as_winner => group.winner,
                own if own == group.winner => as_winner,
                own => own,
            };
            if let Some(label) = self.own.get_mut(*row as usize) {
                *label = name;
            }
        }
    }

    /// Books one span of time by these rows; whether they tell anything.
    fn book_span(
        &mut self,
        group: &Group<'_>,
        rows: &mut Vec<u32>,
        (from, until): (Instant, Instant),
    ) -> bool {
        let (events, units, telling) = (group.events, group.units, self.settings.telling);
        if let Some(ledger) = &mut self.machine.ledger {
            ledger.open(from, until);
        }
        let noticed = order::deduplicate(events, rows, |row| telling.input_of(units, row as usize));
        let is_seen = |row: &u32| events.kind.get(*row as usize) == Some(&EventKind::Seen);
        let is_rejected = noticed.ties > 0 && self.settings.ties == Ties::Reject;
        let is_told = !rows.iter().all(is_seen)
            && !is_rejected
            && self.fold_rows(events, units, rows, &mut ()).is_some();
        let machine = &mut self.machine;
        if let Some(ledger) = &mut machine.ledger {
            if is_told {
                ledger.reach(&machine.deal, &machine.dimensions, Instant::MAX);
            } else {
                ledger.close(from);
            }
        }
        is_told
    }
}
