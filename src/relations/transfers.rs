//! What look-ups say of booked deals: at each entry what held at its time, and where what holds
//! changes while the deal is booked, a transfer from the old values to the new ones.
//!
//! A look-up as of the run's instant says something new whenever another row of its table begins to
//! hold, without an event of the deal; so such days are entries, too. Runs without look-ups, and those
//! that ask none of the ledger, pass the entries on as they are.
//!
//! Invariant: what a row says depends on nothing later than its own time.

use std::borrow::Cow;
use std::ops::Range;

use super::Relation;
use super::assemble::{Assembler, Column};
use super::joins::{Join, Key};
use crate::config::DimensionAt;
use crate::contract::NO_CODE;
use crate::fold::ledger::{Entry, EntryKind};
use crate::fold::{BookingRow, Chunk, Keys};
use crate::time::Instant;

/// The entries of a chunk.
pub(super) struct Entries<'c> {
    pub(super) rows: Cow<'c, [BookingRow]>,
    /// Of each row the entry of the chunk that has its dimensions; empty where it is its own.
    places: Vec<usize>,
    /// Which dimensions of the run come from look-ups, and their codes, a row.
    codes: Vec<(usize, Vec<u32>)>,
}

impl Entries<'_> {
    /// The entry of the chunk that has a row's dimensions.
    pub(super) fn place(&self, row: usize) -> usize {
        self.places.get(row).copied().unwrap_or(row)
    }

    /// The codes of some rows for a dimension from a look-up.
    pub(super) fn codes(&self, dimension: usize, rows: Range<usize>) -> Vec<u32> {
        let own = self.codes.iter().find(|(number, _)| *number == dimension);
        own.and_then(|(_, codes)| codes.get(rows)).unwrap_or_default().to_vec()
    }

    fn push(&mut self, row: BookingRow, place: usize, codes: &[u32]) {
        self.rows.to_mut().push(row);
        self.places.push(place);
        for ((_, column), code) in self.codes.iter_mut().zip(codes) {
            column.push(*code);
        }
    }
}

/// A deal while it is booked.
struct Held {
    row: BookingRow,
    keys: Keys,
    /// The entry of the chunk that has its dimensions.
    place: usize,
    codes: Vec<u32>,
    amount: i64,
    /// Up to when it was looked up.
    since: Instant,
}

/// A dimension that a look-up gives: the look-up, and the code of each of its rows.
type Given<'a> = (&'a Join<'a>, &'a [u32]);

impl Assembler<'_> {
    /// The entries of a chunk, with what look-ups say of them.
    pub(super) fn entries<'c>(&self, chunk: &'c Chunk) -> Entries<'c> {
        let sources = self.dimensions.iter().zip(&self.sources).enumerate();
        let given = sources.filter_map(|(number, (name, source))| {
            let Column::Lookup(place, by_row) = source else { return None };
            let join = self.lookups.get(*place)?;
            let is_wanted = self.wanted.column(Relation::Bookings, name);
            is_wanted.then_some((number, (join, by_row.as_slice())))
        });
        let (numbers, given): (Vec<usize>, Vec<Given<'_>>) = given.unzip();
        if given.is_empty() {
            let rows = Cow::Borrowed(chunk.bookings.as_slice());
            return Entries { rows, places: Vec::new(), codes: Vec::new() };
        }
        let codes = numbers.into_iter().map(|number| (number, Vec::new())).collect();
        let mut all = Entries { rows: Cow::Owned(Vec::new()), places: Vec::new(), codes };
        let mut place = 0;
        for rows in chunk.bookings.chunk_by(|a, b| a.deal == b.deal) {
            self.look_up(chunk, (place, rows), &given, &mut all);
            place += rows.len();
        }
        all
    }

    /// One deal's entries; `first` is the place of the first one.
    fn look_up(
        &self,
        chunk: &Chunk,
        (first, rows): (usize, &[BookingRow]),
        given: &[Given<'_>],
        all: &mut Entries<'_>,
    ) {
        let mut held: Option<Held> = None;
        let mut out: Option<(BookingRow, usize)> = None;
        for (row, place) in rows.iter().zip(first..) {
            let entry = row.entry;
            let Some(keys) = chunk.booking_keys.get(place).copied() else { return };
            if let Some(held) = &mut held {
                self.pass(chunk, held, entry.time, given, all);
            }
            let codes = || self.codes_at(chunk, place, &keys, entry.time, given);
            match (entry.kind, &mut held) {
                (EntryKind::Booking, _) | (_, None) => {
                    let codes = codes();
                    all.push(*row, place, &codes);
                    let (amount, since) = (entry.amount, entry.time);
                    held = Some(Held { row: *row, keys, place, codes, amount, since });
                }
                (EntryKind::Transfer, Some(_)) if entry.deals < 0 => out = Some((*row, place)),
                (EntryKind::Transfer, Some(held)) => {
                    let codes = codes();
                    let is_same = |column: &Vec<u32>| column.get(held.place) == column.get(place);
                    let is_moved =
                        codes != held.codes || !chunk.booking_dimensions.iter().all(is_same);
                    if let Some((row_out, place_out)) = out.take().filter(|_| is_moved) {
                        all.push(row_out, place_out, &held.codes);
                        all.push(*row, place, &codes);
                    }
                    (held.keys, held.place, held.codes) = (keys, place, codes);
                }
                (EntryKind::Adjustment, Some(held)) => {
                    all.push(*row, place, &held.codes);
                    held.amount = held.amount.saturating_add(entry.amount);
                }
                (EntryKind::Reversal, Some(own)) => {
                    all.push(*row, place, &own.codes);
                    held = None;
                }
            }
        }
        if let Some(held) = &mut held {
            self.pass(chunk, held, self.as_of, given, all);
        }
    }

    /// Transfers a booked deal wherever its look-ups say something else, up to an instant.
    fn pass(
        &self,
        chunk: &Chunk,
        held: &mut Held,
        until: Instant,
        given: &[Given<'_>],
        all: &mut Entries<'_>,
    ) {
        let mut times = Vec::new();
        for (join, _) in given.iter().filter(|(join, _)| join.at == DimensionAt::AsOf) {
            let changes = join.changes(self.key(join, chunk, held.place, &held.keys));
            times.extend(changes.filter(|at| held.since < *at && *at <= until));
        }
        times.sort_unstable();
        times.dedup();
        for time in times {
            let codes = self.codes_at(chunk, held.place, &held.keys, time, given);
            if codes != held.codes {
                let (kind, owner) = (EntryKind::Transfer, held.row.entry.owner);
                let row = |deals: i64| {
                    let amount = held.amount.saturating_mul(deals);
                    BookingRow { entry: Entry { time, kind, deals, amount, owner }, ..held.row }
                };
                all.push(row(-1), held.place, &held.codes);
                all.push(row(1), held.place, &codes);
                held.codes = codes;
            }
        }
        held.since = until;
    }

    /// The code of every dimension that a look-up gives, for a deal with these keys at a time.
    fn codes_at(
        &self,
        chunk: &Chunk,
        place: usize,
        keys: &Keys,
        time: Instant,
        given: &[Given<'_>],
    ) -> Vec<u32> {
        let code = |(join, by_row): &Given<'_>| {
            let key = self.key(join, chunk, place, keys);
            match join.row_at(key, join.instant(keys, time)) {
                Key::Row(row) => by_row.get(row as usize).copied().unwrap_or(NO_CODE),
                _ => NO_CODE,
            }
        };
        given.iter().map(code).collect()
    }

    fn key(&self, join: &Join<'_>, chunk: &Chunk, place: usize, keys: &Keys) -> Key {
        self.key_of(join, keys, |dimension| {
            let codes = chunk.booking_dimensions.get(dimension);
            codes.and_then(|codes| codes.get(place)).copied().unwrap_or(NO_CODE)
        })
    }
}
