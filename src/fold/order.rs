//! Order: a bucket's events by (deal, time, seq, forward stage order, position in the source), G2;
//! duplicates out, ties counted, G3.

use std::cmp::Ordering;

use crate::config::Ties;
use crate::contract::{EventBatch, EventKind, Id, NO_STAGE, StageClass, StageTable};

/// A row's sort key; the last field is the rank within an instant above the row's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Key {
    hash: u64,
    time: i64,
    rank_and_row: u64,
}

/// Rows of a bucket in order, with the deals' ranges.
#[derive(Debug, Default)]
pub struct Ordered {
    /// Row numbers of the bucket in order.
    pub rows: Vec<u32>,
    /// Ends of the deals' ranges in `rows`.
    pub ends: Vec<usize>,
}

/// Orders buckets one after the other in the same room.
#[derive(Debug, Default)]
pub struct Sorter {
    keys: Vec<Key>,
    placed: Vec<Key>,
    /// Where each group of hashes ends.
    ends: Vec<u32>,
}

/// Orders a bucket's events.
#[must_use]
pub fn order(events: &EventBatch, stages: &StageTable, ties: Ties) -> Ordered {
    let mut ordered = Ordered::default();
    Sorter::default().order(events, stages, ties, &mut ordered);
    ordered
}

impl Sorter {
    /// Orders a bucket's events into `ordered`, whose room is used again.
    ///
    /// A bucket has few events a deal, and mostly they are in order already. So the keys are first
    /// counted into about half as many groups by the highest bits of the hash that differ, which
    /// keeps their order, and then each group of a handful is sorted by itself: a third of the time
    /// of one comparison sort of all.
    pub fn order(
        &mut self,
        events: &EventBatch,
        stages: &StageTable,
        ties: Ties,
        ordered: &mut Ordered,
    ) {
        ordered.rows.clear();
        ordered.ends.clear();
        self.keys(events, stages, ties);
        self.group();
        let mut rest = self.placed.as_mut_slice();
        let mut begin = 0;
        for end in &self.ends {
            let Some((group, after)) = rest.split_at_mut_checked((*end - begin) as usize) else {
                break;
            };
            (rest, begin) = (after, *end);
            sort(events, group);
            for deal in group.chunk_by_mut(|a, b| a.hash == b.hash) {
                split_collisions(events, deal, ordered);
            }
        }
    }

    fn keys(&mut self, events: &EventBatch, stages: &StageTable, ties: Ties) {
        self.keys.clear();
        self.keys.reserve_exact(if events.len() > super::LARGE { events.len() } else { 0 });
        let columns = events.deal.iter().zip(&events.time).zip(&events.kind).zip(&events.stage);
        self.keys.extend(columns.enumerate().map(|(row, (((deal, time), kind), stage))| {
            let rank = match ties {
                Ties::SourceOrder => 0,
                Ties::Forward | Ties::Reject => u64::from(rank(*kind, *stage, stages)),
            };
            Key { hash: deal.hash(), time: *time, rank_and_row: rank << 32 | row as u64 }
        }));
    }

    /// Moves the keys to `placed`, group by group, in each group in the order they had.
    #[expect(
        clippy::indexing_slicing,
        reason = "a group's number is at most that of the largest hash, and the places that were \
                  counted are below the number of keys"
    )]
    fn group(&mut self) {
        if self.keys.len() > super::LARGE {
            // Mostly one deal's: one group, and no second copy of its keys.
            std::mem::swap(&mut self.keys, &mut self.placed);
            self.ends.clear();
            self.ends.push(self.placed.len() as u32);
            return;
        }
        let hashes = || self.keys.iter().map(|key| key.hash);
        let (min, max) = (hashes().min().unwrap_or(0), hashes().max().unwrap_or(0));
        let groups_bits = (self.keys.len() / 2).max(1).ilog2();
        let shift = (u64::BITS - (max - min).leading_zeros()).saturating_sub(groups_bits).min(63);
        let group = |hash: u64| ((hash - min) >> shift) as usize;
        self.ends.clear();
        self.ends.resize(group(max) + 1, 0);
        for key in &self.keys {
            self.ends[group(key.hash)] += 1;
        }
        let mut begin = 0;
        for end in &mut self.ends {
            (*end, begin) = (begin, begin + *end);
        }
        self.placed.clear();
        self.placed.resize(self.keys.len(), Key::default());
        for key in &self.keys {
            // Begins become ends as the groups fill up.
            let next = &mut self.ends[group(key.hash)];
            self.placed[*next as usize] = *key;
            *next += 1;
        }
    }
}

/// Sorts the keys of a few deals.
fn sort(events: &EventBatch, keys: &mut [Key]) {
    if events.seq.is_empty() {
        if !keys.is_sorted() {
            keys.sort_unstable();
        }
        return;
    }
    let seq = |key: &Key| events.seq.get(key.rank_and_row as u32 as usize).copied();
    keys.sort_unstable_by(|a, b| {
        (a.hash, a.time, seq(a), a.rank_and_row).cmp(&(b.hash, b.time, seq(b), b.rank_and_row))
    });
}

/// The place of an event among those of its deal at one instant: attributes first, so that an
/// amount given with the close counts at the close; then restoring, creating, re-opening, the open
/// stages in order, unknown stages, won, lost, and deletion last.
fn rank(kind: EventKind, stage: u16, stages: &StageTable) -> u16 {
    match kind {
        EventKind::Attribute => 0,
        EventKind::Restored => 1,
        EventKind::Created => 2,
        EventKind::Reopened => 3,
        EventKind::Won => 40_001,
        EventKind::Lost => 40_002,
        EventKind::Deleted | EventKind::Merged | EventKind::ObservedGone => 40_003,
        EventKind::Stage | EventKind::Observed => {
            let stage = stages.stage(stage);
            match stage.class {
                StageClass::Ignored => 0,
                StageClass::Open => 10 + stage.order.cast_unsigned(),
                StageClass::Unknown => 40_000,
                StageClass::Won => 40_001,
                StageClass::Lost => 40_002,
            }
        }
        _ => 0,
    }
}

/// One deal's rows as they are; where two identifiers share a hash, one range for each.
fn split_collisions(events: &EventBatch, keys: &mut [Key], ordered: &mut Ordered) {
    let deal = |key: &Key| events.deal.get(key.rank_and_row as u32 as usize).copied();
    let first = keys.first().and_then(deal);
    if keys.iter().any(|key| deal(key) != first) {
        // Stable, so that each deal's events keep their order.
        keys.sort_by_key(deal);
    }
    for one in keys.chunk_by(|a, b| deal(a) == deal(b)) {
        ordered.rows.extend(one.iter().map(|key| key.rank_and_row as u32));
        ordered.ends.push(ordered.rows.len());
    }
}

/// What was noticed while duplicates were taken out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noticed {
    /// Events left out because they are given again.
    pub duplicates: u64,
    /// Those of them that have no identifier and are equal to another one in every column read.
    pub equal: u64,
    /// Stage events at the instant of another one of the same deal, without `seq`.
    pub ties: u64,
}

/// Takes the duplicates out of one deal's ordered rows: of several rows with one event id the last
/// ingested stays; of rows without id that are equal in every column, the first. `input` gives the
/// input of a row, because each input numbers its events by itself.
pub fn deduplicate(
    events: &EventBatch,
    rows: &mut Vec<u32>,
    input: impl Fn(u32) -> usize,
) -> Noticed {
    let mut noticed = Noticed::default();
    let time = |row: &u32| events.time.get(*row as usize).copied();
    // Most deals have one event an instant and no identifiers of events: nothing to compare.
    if events.event_id.is_empty() && rows.is_sorted_by(|a, b| time(a) < time(b)) {
        return noticed;
    }
    let before = rows.len();
    if !events.event_id.is_empty() {
        keep_last_ingested(events, rows, input);
    }
    let different = rows.len();
    drop_equal(events, rows);
    noticed.equal = (different - rows.len()) as u64;
    noticed.duplicates = (before - rows.len()) as u64;
    noticed.ties = count_ties(events, rows);
    noticed
}

fn keep_last_ingested(events: &EventBatch, rows: &mut Vec<u32>, input: impl Fn(u32) -> usize) {
    let id = |row: u32| events.event_id.get(row as usize).copied().unwrap_or_default();
    let ingested = |row: u32| events.ingested.get(row as usize).copied();
    let key = |row: u32| ((id(row), input(row)), ingested(row), row);
    let with_id = rows.iter().copied().filter(|row| !id(*row).is_none());
    let mut by_id: Vec<((Id, usize), Option<i64>, u32)> = with_id.map(key).collect();
    by_id.sort_unstable();
    let mut dropped: Vec<u32> = by_id
        .windows(2)
        .filter_map(|pair| match pair {
            [a, b] if a.0 == b.0 => Some(a.2),
            _ => None,
        })
        .collect();
    if !dropped.is_empty() {
        dropped.sort_unstable();
        rows.retain(|row| dropped.binary_search(row).is_err());
    }
}

fn drop_equal(events: &EventBatch, rows: &mut Vec<u32>) {
    let time = |row: &u32| events.time.get(*row as usize).copied();
    let has_no_id = |row: &u32| events.event_id.get(*row as usize).is_none_or(|id| id.is_none());
    let compare = |a: u32, b: u32| {
        content(events, a).cmp(&content(events, b)).then_with(|| dimensions(events, a, b))
    };
    let mut dropped: Vec<u32> = Vec::new();
    for instant in rows.chunk_by(|a, b| time(a) == time(b)).filter(|c| c.len() > 1) {
        let mut sorted: Vec<u32> = instant.iter().copied().filter(has_no_id).collect();
        // Stable, so that of equal rows the first in the fold's order stays.
        sorted.sort_by(|a, b| compare(*a, *b));
        for pair in sorted.windows(2) {
            if let [a, b] = pair
                && compare(*a, *b).is_eq()
            {
                dropped.push(*b);
            }
        }
    }
    if !dropped.is_empty() {
        dropped.sort_unstable();
        rows.retain(|row| dropped.binary_search(row).is_err());
    }
}

type Content = (Option<EventKind>, Option<Id>, [Option<i64>; 7]);

fn content(events: &EventBatch, row: u32) -> Content {
    let at = row as usize;
    let wide = |v: Option<&u32>| v.map(|v| i64::from(*v));
    (
        events.kind.get(at).copied(),
        events.customer.get(at).copied(),
        [
            events.stage.get(at).map(|s| i64::from(*s)),
            events.amount.get(at).copied(),
            wide(events.currency.get(at)),
            wide(events.owner.get(at)),
            events.expected_close.get(at).map(|d| i64::from(*d)),
            events.seq.get(at).copied(),
            events.pipeline.get(at).map(|p| i64::from(*p)),
        ],
    )
}

fn dimensions(events: &EventBatch, a: u32, b: u32) -> Ordering {
    let of = |row: u32| events.dimensions.iter().map(move |d| d.get(row as usize));
    of(a).cmp(of(b))
}

fn count_ties(events: &EventBatch, rows: &[u32]) -> u64 {
    let moves = |row: &u32| {
        events.kind.get(*row as usize).is_some_and(|k| {
            let named = events.stage.get(*row as usize).is_some_and(|s| *s != NO_STAGE);
            // Creation without a stage moves nothing, so it ties with nothing.
            matches!(k, EventKind::Stage | EventKind::Won | EventKind::Lost)
                || (matches!(k, EventKind::Created | EventKind::Observed) && named)
        })
    };
    let place = |row: &u32| {
        let at = *row as usize;
        (events.time.get(at).copied(), events.seq.get(at).copied())
    };
    rows.chunk_by(|a, b| place(a) == place(b))
        .map(|instant| instant.iter().filter(|row| moves(row)).count() as u64)
        .filter(|n| *n > 1)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(rows: &[(i64, i64)]) -> EventBatch {
        EventBatch {
            deal: rows.iter().map(|(deal, _)| Id::integer(*deal)).collect(),
            time: rows.iter().map(|(_, time)| *time).collect(),
            kind: vec![EventKind::Attribute; rows.len()],
            stage: vec![NO_STAGE; rows.len()],
            ..EventBatch::default()
        }
    }

    proptest! {
        #[test]
        fn order_is_that_of_one_sort_of_everything(
            rows in prop::collection::vec((0_i64..40, 0_i64..5), 0..300),
            skewed in any::<bool>(),
        ) {
            let rows: Vec<(i64, i64)> =
                rows.iter().map(|(d, t)| (if skewed { d / 39 } else { *d }, *t)).collect();
            let events = events(&rows);
            let stages = StageTable::new(&crate::config::Pipeline::default());
            let mut expected: Vec<u32> = (0..rows.len() as u32).collect();
            // Stable, so that position in the source decides last.
            expected.sort_by_key(|row| {
                let (deal, time) = rows[*row as usize];
                (crate::contract::hash_integer(deal), time)
            });
            let ordered = order(&events, &stages, Ties::Forward);
            let ends: Vec<usize> = expected
                .chunk_by(|a, b| rows[*a as usize].0 == rows[*b as usize].0)
                .scan(0, |end, deal| { *end += deal.len(); Some(*end) })
                .collect();
            prop_assert_eq!(ordered.rows, expected);
            prop_assert_eq!(ordered.ends, ends);
        }
    }
}
