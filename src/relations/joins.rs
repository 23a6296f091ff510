//! Look-up tables joined to deals: which row each deal leads to, as of the instant that the deal's
//! dimensions are of (G18). A key has at most one row at an instant, so a join never fans out.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::Relation;
use super::assemble::{Assembler, Column, Parts};
use crate::config::DimensionAt;
use crate::contract::{Id, NO_CODE};
use crate::error::Error;
use crate::fold::{Chunk, Content, DealRow, Keys};
use crate::quality::{Counts, Rule};
use crate::source::{Lookup, LookupKey};
use crate::time::{Instant, NO_INSTANT};

/// A look-up table made ready for joining as of one time.
pub(super) struct Join<'a> {
    pub(super) lookup: &'a Lookup,
    /// Of which time a deal's owner, and the row that holds, are.
    pub(super) at: DimensionAt,
    /// The dimensions it gives, some of the table's.
    pub(super) dimensions: Vec<String>,
    counting: Counting,
    /// Where each key leads.
    keys: HashMap<&'a str, Key>,
    /// From when until when each row holds.
    spans: Vec<(Instant, Instant)>,
    by: JoinBy,
    /// The names behind the codes that it is joined by, where missing ones are to be named.
    names: Vec<String>,
}

/// Whether keys that lead nowhere are counted: once a table, as of `[dimensions] at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    Counted,
    Again,
}

/// What a look-up table is joined by.
enum JoinBy {
    /// Where each owner's rank leads.
    Owner(Vec<Key>),
    /// The fold's column, and where each of its codes leads.
    Dimension(usize, Vec<Key>),
    Customer,
}

/// Where a deal's key leads in a look-up table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Null,
    Orphan,
    Row(u32),
    /// To one of so many rows from the first one on, by the deal's instant.
    Dated {
        first: u32,
        rows: u32,
    },
}

impl<'a> Join<'a> {
    pub(super) fn new(
        parts: &Parts<'a>,
        lookup: &'a Lookup,
        at: DimensionAt,
        counting: Counting,
        known: &BTreeMap<String, (Vec<String>, Column)>,
    ) -> Result<Self, Error> {
        let mut keys = HashMap::with_capacity(lookup.rows.len());
        let mut spans: Vec<(Instant, Instant)> = Vec::with_capacity(lookup.rows.len());
        for (key, held) in &lookup.rows {
            let (first, rows) = (spans.len() as u32, held.len() as u32);
            spans.extend(held.iter().map(|row| (row.from, row.to)));
            let is_always = matches!(held.as_slice(), [row] if row.is_always());
            let to = if is_always { Key::Row(first) } else { Key::Dated { first, rows } };
            keys.insert(key.as_str(), to);
        }
        let lead = |names: &[String]| -> Vec<Key> {
            let find = |key: &String| keys.get(key.as_str()).copied().unwrap_or(Key::Orphan);
            names.iter().map(find).collect()
        };
        let mut own_names = Vec::new();
        let is_named = parts.ledger.is_profiling() && counting == Counting::Counted;
        let by = match &lookup.key {
            LookupKey::Owner => JoinBy::Owner(lead(&parts.owners)),
            LookupKey::Customer => JoinBy::Customer,
            LookupKey::Dimension(name) => match known.get(name) {
                Some((names, Column::Event(place, ranks))) => {
                    let keys = lead(names);
                    if is_named {
                        let name = |rank: &u32| names.get(*rank as usize).cloned();
                        own_names = ranks.iter().map(|r| name(r).unwrap_or_default()).collect();
                    }
                    let key = |rank: &u32| keys.get(*rank as usize).copied().unwrap_or(Key::Null);
                    JoinBy::Dimension(*place, ranks.iter().map(key).collect())
                }
                _ => return Err(Error::Bug(format!("look-up by unknown dimension {name:?}"))),
            },
        };
        let names = own_names;
        Ok(Self { lookup, at, dimensions: Vec::new(), counting, keys, spans, by, names })
    }

    /// Where a key leads.
    pub(super) fn find(&self, key: &str) -> Key {
        self.keys.get(key).copied().unwrap_or(Key::Orphan)
    }

    /// When what a key leads to may change.
    pub(super) fn changes(&self, key: Key) -> impl Iterator<Item = Instant> {
        let rows = if let Key::Dated { first, rows } = key { first..first + rows } else { 0..0 };
        let own = self.spans.get(rows.start as usize..rows.end as usize).unwrap_or_default();
        own.iter().flat_map(|(from, to)| [*from, *to])
    }

    /// The instant whose row holds for a deal as it is known at a time.
    pub(super) fn instant(&self, keys: &Keys, time: Instant) -> Instant {
        match self.at {
            DimensionAt::Created => keys.created,
            DimensionAt::Close if keys.closed != NO_INSTANT => keys.closed,
            DimensionAt::Close | DimensionAt::AsOf => time,
        }
    }

    /// The row that holds at an instant.
    pub(super) fn row_at(&self, key: Key, at: Instant) -> Key {
        let Key::Dated { first, rows } = key else { return key };
        let own = self.spans.get(first as usize..(first + rows) as usize).unwrap_or_default();
        let holds = |(from, to): &(Instant, Instant)| (*from..*to).contains(&at);
        let row = own.iter().zip(first..).find(|(span, _)| holds(span));
        row.map_or(Key::Orphan, |(_, row)| Key::Row(row))
    }
}

impl Assembler<'_> {
    /// Whether anybody wants what a look-up table has. Where nobody does, its key may not have been
    /// read.
    pub(super) fn is_joined(&self, join: &Join<'_>) -> bool {
        let asked = |r: Relation| join.dimensions.iter().any(|d| self.wanted.column(r, d));
        let is_counted = join.counting == Counting::Counted;
        is_counted && self.wanted.relation(Relation::Findings)
            || Relation::EVERY.into_iter().any(asked)
            || self.strata.iter().any(|(place, _)| {
                self.dimensions.get(*place).is_some_and(|d| join.dimensions.contains(d))
            })
    }

    /// Where each deal of a chunk leads in a look-up table.
    pub(super) fn join(&self, join: &Join<'_>, chunk: &Chunk) -> Vec<Key> {
        let lead = |keys: &[Key], code: u32| keys.get(code as usize).copied().unwrap_or(Key::Null);
        let mut keys: Vec<Key> = match &join.by {
            JoinBy::Owner(keys) => {
                let owner = |row: &DealRow| {
                    let rank =
                        self.owner_ranks.get(owner_at(&Keys::of(&row.deal), join.at) as usize);
                    rank.map_or(Key::Null, |rank| lead(keys, *rank))
                };
                chunk.deals.iter().map(owner).collect()
            }
            JoinBy::Dimension(place, keys) => match chunk.dimensions.get(*place) {
                Some(codes) => codes.iter().map(|code| lead(keys, *code)).collect(),
                None => vec![Key::Null; chunk.deals.len()],
            },
            JoinBy::Customer => {
                let mut known: HashMap<Id, Key> = HashMap::new();
                let find = |key: &str| join.keys.get(key).copied().unwrap_or(Key::Orphan);
                let lead = |id: Id| self.customers.text(id).map_or(Key::Null, |name| find(&name));
                let customer = |row: &DealRow| {
                    let id = row.deal.customer;
                    *known.entry(id).or_insert_with(|| lead(id))
                };
                chunk.deals.iter().map(customer).collect()
            }
        };
        for (key, row) in keys.iter_mut().zip(&chunk.deals) {
            *key = join.row_at(*key, join.instant(&Keys::of(&row.deal), self.as_of));
        }
        if chunk.content == Content::VisitsOnly || join.counting == Counting::Again {
            // The deal is counted with its own chunk.
            return keys;
        }
        let mut counts = Counts::of_deals(keys.len() as u64);
        let count = |wanted| keys.iter().filter(|k| **k == wanted).count() as u64;
        counts.add(Rule::Orphans, count(Key::Orphan));
        counts.add(Rule::NullKeys, count(Key::Null));
        self.ledger.record(&join.lookup.input, &counts);
        if self.ledger.is_profiling() {
            let lost = keys.iter().enumerate().filter(|(_, key)| **key == Key::Orphan);
            for name in lost.filter_map(|(row, _)| self.key_name(join, chunk, row)) {
                self.ledger.mention(Rule::Orphans, &join.lookup.input, &name, 1);
            }
        }
        keys
    }

    /// The key of a deal of a chunk, as the look-up table would spell it.
    fn key_name(&self, join: &Join<'_>, chunk: &Chunk, row: usize) -> Option<String> {
        let deal = chunk.deals.get(row)?;
        match &join.by {
            JoinBy::Owner(_) => {
                let rank =
                    *self.owner_ranks.get(owner_at(&Keys::of(&deal.deal), join.at) as usize)?;
                Some(self.dictionaries.name("owner", i64::from(rank))?.to_owned())
            }
            JoinBy::Dimension(place, _) => {
                let code = *chunk.dimensions.get(*place)?.get(row)?;
                join.names.get(code as usize).cloned()
            }
            JoinBy::Customer => self.customers.text(deal.deal.customer),
        }
    }

    /// Where a deal that is known by these keys leads; `dimension` gives its values of the fold's
    /// dimensions.
    pub(super) fn key_of(
        &self,
        join: &Join<'_>,
        keys: &Keys,
        dimension: impl Fn(usize) -> u32,
    ) -> Key {
        let lead = |to: &[Key], code: u32| to.get(code as usize).copied().unwrap_or(Key::Null);
        match &join.by {
            JoinBy::Owner(to) => {
                let rank = self.owner_ranks.get(owner_at(keys, join.at) as usize);
                rank.map_or(Key::Null, |rank| lead(to, *rank))
            }
            JoinBy::Dimension(place, to) => lead(to, dimension(*place)),
            JoinBy::Customer => {
                self.customers.text(keys.customer).map_or(Key::Null, |name| join.find(&name))
            }
        }
    }
}

/// The owner whose attributes a deal carries: of the time that its dimensions are of (G18).
fn owner_at(keys: &Keys, at: DimensionAt) -> u32 {
    match at {
        DimensionAt::AsOf => keys.owner,
        DimensionAt::Created => keys.created_owner,
        DimensionAt::Close if keys.closed_owner == NO_CODE => keys.owner,
        DimensionAt::Close => keys.closed_owner,
    }
}

/// The sorted names of a look-up's attribute, and the code of each row.
pub(super) fn attribute(lookup: &Lookup, index: usize) -> (Vec<String>, Vec<u32>) {
    let rows = || lookup.rows.values().flatten();
    let values = || rows().map(|row| row.values.get(index).cloned().flatten());
    let mut names: Vec<String> = values().flatten().collect();
    names.sort();
    names.dedup();
    let code = |name: String| names.binary_search(&name).map_or(NO_CODE, |c| c as u32);
    let codes = values().map(|value| value.map_or(NO_CODE, code)).collect();
    (names, codes)
}
