//! Scatter: a piece of the events into buckets by the hash of their deal, column by column.
//!
//! A bucket holds all events of its deals, so buckets are ordered and folded independently. One
//! counting pass gives each row its place; then every column is packed once, in bucket order. The
//! hash is not kept: it is recomputed from the identifier.

pub mod packed;
mod scratch;

use std::ops::Range;

pub use packed::{Column, Packed};

use crate::contract::{EventBatch, EventKind, Id, NO_CODE, NO_PIPELINE, NO_STAGE};
use crate::error::Error;
use crate::money::NO_AMOUNT;
use crate::spill::Complete;
use crate::time::{NO_DAY, NO_INSTANT};
use packed::Steps;

/// One piece of a unit: its events in bucket order.
#[derive(Debug, Clone, Default)]
pub struct Scattered {
    /// Number of the unit the events come from; pieces of one unit follow one another.
    pub unit: usize,
    /// The first bucket that is here: 0 but for a range that was written and read back.
    pub first: usize,
    /// `offsets[b]..offsets[b + 1]` are the rows of bucket `first + b`.
    pub offsets: Vec<u32>,
    /// The columns of [`FIELDS`], then one a dimension; within a bucket in the order of the source.
    pub columns: Vec<Column>,
}

/// What the columns are, in order; identifiers are two words each.
pub const FIELDS: [&str; 17] = [
    "deal_high",
    "deal_low",
    "time",
    "kind",
    "stage",
    "row",
    "amount",
    "currency",
    "owner",
    "customer_high",
    "customer_low",
    "expected_close",
    "seq",
    "event_id_high",
    "event_id_low",
    "ingested",
    "pipeline",
];

impl Scattered {
    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.last().map_or(0, |end| *end as usize)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(|c| c.packed.bytes()).sum();
        columns + self.offsets.capacity() * 4 + self.columns.capacity() * size_of::<Column>()
    }

    /// The rows of a bucket.
    #[must_use]
    pub fn rows(&self, bucket: usize) -> Range<usize> {
        self.rows_in(&(bucket..bucket + 1))
    }

    /// The rows of a range of buckets that is here.
    #[must_use]
    pub fn rows_in(&self, buckets: &Range<usize>) -> Range<usize> {
        let at = |bucket: usize| {
            let row = bucket.checked_sub(self.first).and_then(|b| self.offsets.get(b));
            row.map_or(0, |row| *row as usize)
        };
        at(buckets.start)..at(buckets.end).max(at(buckets.start))
    }
}

/// Number of buckets (as a power of two) for so many rows: about eight thousand rows a bucket, so
/// that a bucket's keys and columns stay in a second-level cache of 1 MiB while it is folded.
#[must_use]
pub fn bucket_bits(rows: u64) -> u32 {
    const ROWS_PER_BUCKET: u64 = 1 << 13;
    const BITS_MAX: u32 = 12;
    let buckets = rows.div_ceil(ROWS_PER_BUCKET).max(1);
    (64 - (buckets - 1).leading_zeros()).min(BITS_MAX)
}

/// The bucket of a deal: the high bits of its hash, so that buckets in order are hashes in order.
#[must_use]
#[inline]
pub fn bucket_of(hash: u64, bits: u32) -> usize {
    if bits == 0 { 0 } else { (hash >> (64 - bits)) as usize }
}

/// Scatters events into `2^bits` buckets.
#[must_use]
pub fn scatter(unit: usize, batch: &EventBatch, bits: u32) -> Scattered {
    scatter_as(unit, batch, bits, |deal| deal)
}

/// Scatters events into `2^bits` buckets, each to that of the deal which `folded_as` gives.
#[must_use]
pub fn scatter_as(
    unit: usize,
    batch: &EventBatch,
    bits: u32,
    folded_as: impl Fn(Id) -> Id,
) -> Scattered {
    let buckets = batch.deal.iter().map(|deal| bucket_of(folded_as(*deal).hash(), bits));
    let (offsets, places) = places(buckets, 1 << bits);
    let at = places.as_slice();
    // No code is -1 then, next to the first one, which is cheapest to unpack.
    let wide = |code: u32| i64::from(code.cast_signed());
    let (no_code, one) = (wide(NO_CODE), Steps::One);
    let stage = |code: u16| i64::from(code.cast_signed());
    let (deal_high, deal_low) = pack_ids(&batch.deal, at);
    let (customer_high, customer_low) = pack_ids(&batch.customer, at);
    let (event_high, event_low) = pack_ids(&batch.event_id, at);
    let mut columns = Vec::with_capacity(FIELDS.len() + batch.dimensions.len());
    columns.extend([
        deal_high,
        deal_low,
        Column::pack(&batch.time, at, NO_INSTANT, Steps::Times, |v| v),
        Column::pack(&batch.kind, at, i64::MIN, one, |kind| i64::from(kind as u8)),
        Column::pack(&batch.stage, at, stage(NO_STAGE), one, stage),
        Column::pack(&batch.row, at, i64::MIN, one, wide),
        Column::pack(&batch.amount, at, NO_AMOUNT, one, |v| v),
        Column::pack(&batch.currency, at, no_code, one, wide),
        Column::pack(&batch.owner, at, no_code, one, wide),
        customer_high,
        customer_low,
        Column::pack(&batch.expected_close, at, i64::from(NO_DAY), one, i64::from),
        Column::pack(&batch.seq, at, i64::MIN, one, |v| v),
        event_high,
        event_low,
        Column::pack(&batch.ingested, at, NO_INSTANT, Steps::Times, |v| v),
        Column::pack(&batch.pipeline, at, stage(NO_PIPELINE), one, stage),
    ]);
    columns.extend(batch.dimensions.iter().map(|d| Column::pack(d, at, no_code, one, wide)));
    Scattered { unit, first: 0, offsets, columns }
}

/// Where each of so many buckets begins, and the place of each row, whose bucket is given.
#[must_use]
#[expect(
    clippy::indexing_slicing,
    reason = "bucket numbers are below their count and places below the row count"
)]
pub fn places(of_rows: impl Iterator<Item = usize>, buckets: usize) -> (Vec<u32>, Vec<u32>) {
    let mut offsets = vec![0_u32; buckets + 1];
    let mut places = Vec::with_capacity(of_rows.size_hint().0);
    for bucket in of_rows {
        offsets[bucket + 1] += 1;
        places.push(bucket as u32);
    }
    for bucket in 0..buckets {
        offsets[bucket + 1] += offsets[bucket];
    }
    let mut next = offsets.clone();
    for place in &mut places {
        let slot = &mut next[*place as usize];
        *place = *slot;
        *slot += 1;
    }
    (offsets, places)
}

/// High and low words of identifiers; 0 is a common low word of none, so that one none does not widen the column.
#[must_use]
pub fn pack_ids(ids: &[Id], places: &[u32]) -> (Column, Column) {
    let high = |id: Id| id.words().0.cast_signed();
    let low = |id: Id| id.words().1.cast_signed();
    let high = Column::pack(ids, places, 0, Steps::One, high);
    (high, Column::pack(ids, places, 0, Steps::One, low))
}

/// All events of one bucket, piece after piece, into `all`, whose room is used again; `units` gets
/// the first row and the number of each unit.
///
/// Invariant: rows are in the order of the source if the parts are in the order of their units.
pub fn gather(
    parts: &[&Scattered],
    bucket: usize,
    all: &mut EventBatch,
    units: &mut Vec<(usize, usize)>,
) {
    all.clear();
    units.clear();
    let dimensions = parts.first().map_or(0, |p| p.columns.len().saturating_sub(FIELDS.len()));
    all.dimensions.resize_with(dimensions, Vec::new);
    let rows = parts.iter().map(|part| part.rows(bucket).len()).sum();
    if rows > super::LARGE {
        reserve(parts, rows, all);
    }
    for part in parts {
        let rows = part.rows(bucket);
        if !rows.is_empty() {
            units.push((all.len(), part.unit));
            append(all, part, &rows);
        }
    }
}

/// How many events have each of so many values of a dimension.
///
/// # Errors
/// Events that cannot be read back.
pub fn count_codes(
    events: &Complete<Scattered>,
    dimension: usize,
    values: usize,
) -> Result<Vec<u64>, Error> {
    let mut counts = vec![0; values];
    let mut count = |part: &Scattered, rows: Range<usize>| {
        let Some(column) = part.columns.get(FIELDS.len() + dimension) else { return };
        column.for_each(rows, |code| {
            if let Some(n) = usize::try_from(code).ok().and_then(|code| counts.get_mut(code)) {
                *n += 1;
            }
        });
    };
    if let Some(parts) = events.held() {
        parts.iter().for_each(|part| count(part, 0..part.len()));
        return Ok(counts);
    }
    for (number, buckets) in events.ranges().iter().enumerate() {
        for part in events.range(number)? {
            count(&part, part.rows_in(buckets));
        }
    }
    Ok(counts)
}

/// Makes room for just so many rows in every column that a part has.
fn reserve(parts: &[&Scattered], rows: usize, all: &mut EventBatch) {
    fn room<T>(column: &mut Vec<T>, rows: usize) {
        column.reserve_exact(rows);
    }
    let is_there = |column: &Column| !matches!(column.packed, Packed::Absent);
    for (place, field) in FIELDS.iter().enumerate() {
        if !parts.iter().any(|part| part.columns.get(place).is_some_and(is_there)) {
            continue;
        }
        match *field {
            "deal_low" => room(&mut all.deal, rows),
            "time" => room(&mut all.time, rows),
            "kind" => room(&mut all.kind, rows),
            "stage" => room(&mut all.stage, rows),
            "row" => room(&mut all.row, rows),
            "amount" => room(&mut all.amount, rows),
            "currency" => room(&mut all.currency, rows),
            "owner" => room(&mut all.owner, rows),
            "customer_low" => room(&mut all.customer, rows),
            "expected_close" => room(&mut all.expected_close, rows),
            "seq" => room(&mut all.seq, rows),
            "event_id_low" => room(&mut all.event_id, rows),
            "ingested" => room(&mut all.ingested, rows),
            "pipeline" => room(&mut all.pipeline, rows),
            _ => {}
        }
    }
    all.dimensions.iter_mut().for_each(|column| room(column, rows));
}

fn append(to: &mut EventBatch, from: &Scattered, rows: &Range<usize>) {
    let Some((
        [
            deal_high,
            deal_low,
            time,
            kind,
            stage,
            row,
            amount,
            currency,
            owner,
            customer_high,
            customer_low,
            expected_close,
            seq,
            event_id_high,
            event_id_low,
            ingested,
            pipeline,
        ],
        dimensions,
    )) = from.columns.split_first_chunk::<{ FIELDS.len() }>()
    else {
        return;
    };
    let rows = || rows.clone();
    let code = |v: i64| v as u32;
    unpack_ids(deal_high, deal_low, rows(), &mut to.deal);
    time.unpack(rows(), &mut to.time, |v| v);
    kind.unpack(rows(), &mut to.kind, |v| EventKind::from_number(v as u8));
    stage.unpack(rows(), &mut to.stage, |v| v as u16);
    row.unpack(rows(), &mut to.row, code);
    amount.unpack(rows(), &mut to.amount, |v| v);
    currency.unpack(rows(), &mut to.currency, code);
    owner.unpack(rows(), &mut to.owner, code);
    unpack_ids(customer_high, customer_low, rows(), &mut to.customer);
    expected_close.unpack(rows(), &mut to.expected_close, |v| v as i32);
    seq.unpack(rows(), &mut to.seq, |v| v);
    unpack_ids(event_id_high, event_id_low, rows(), &mut to.event_id);
    ingested.unpack(rows(), &mut to.ingested, |v| v);
    pipeline.unpack(rows(), &mut to.pipeline, |v| v as u16);
    for (to, from) in to.dimensions.iter_mut().zip(dimensions) {
        from.unpack(rows(), to, code);
    }
}

/// Appends the identifiers of a range of rows.
pub fn unpack_ids(high: &Column, low: &Column, rows: Range<usize>, to: &mut Vec<Id>) {
    if let Packed::Same { .. } = high.packed {
        // Integers: one look at the high word will do.
        let mut same = 0;
        high.for_each(rows.start..rows.start + 1, |word| same = word.cast_unsigned());
        low.unpack(rows, to, |word| Id::from_words(same, word.cast_unsigned()));
        return;
    }
    let before = to.len();
    high.unpack(rows.clone(), to, |word| Id::from_words(word.cast_unsigned(), 0));
    let mut own = to.iter_mut().skip(before);
    low.for_each(rows, |word| {
        if let Some(id) = own.next() {
            *id = Id::from_words(id.words().0, word.cast_unsigned());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spill::{Budget, Part, Scratch, Spilling, Store};
    use proptest::prelude::*;

    /// Ids of every sort by a number.
    fn id(sort: u8, n: u64) -> Id {
        match sort % 5 {
            0 => Id::NONE,
            1 => Id::integer(n.cast_signed()),
            2 => Id::packed(&format!("D{}", n % 1_000_000)).unwrap(),
            3 => Id::interned(n as u32, n),
            _ => Id::integer((n % 50).cast_signed()),
        }
    }

    /// Events whose columns are all different; `sorts` limits the sorts of ids.
    fn events(seeds: &[u64], sorts: u8) -> EventBatch {
        let code = |n: &u64| if n.is_multiple_of(7) { NO_CODE } else { (n % 300) as u32 };
        let all = |f: &dyn Fn(u64) -> i64| seeds.iter().map(|n| f(*n)).collect::<Vec<i64>>();
        let ids = |by: u64| -> Vec<Id> {
            seeds.iter().map(|n| id((n / by) as u8 % sorts + 5 - sorts, n / by)).collect()
        };
        EventBatch {
            deal: ids(3),
            time: all(&|n| (n % 1_000_000_007).cast_signed() * 1_000_000),
            kind: seeds.iter().map(|n| EventKind::from_number((n % 9) as u8)).collect(),
            stage: seeds.iter().map(|n| if n % 5 == 0 { NO_STAGE } else { *n as u16 }).collect(),
            pipeline: seeds.iter().map(|n| (n % 3) as u16).collect(),
            row: (0..seeds.len() as u32).collect(),
            amount: all(&|n| if n % 3 == 0 { NO_AMOUNT } else { n.cast_signed() / 9 }),
            currency: seeds.iter().map(|n| (n % 4) as u32).collect(),
            owner: seeds.iter().map(code).collect(),
            customer: ids(11),
            expected_close: vec![NO_DAY; seeds.len()],
            seq: all(&u64::cast_signed),
            event_id: Vec::new(),
            ingested: all(&|n| (n % 77).cast_signed()),
            dimensions: vec![seeds.iter().map(code).collect(), vec![3; seeds.len()]],
        }
    }

    /// Scatters pieces and gathers all buckets: the rows come back, in the order of the source.
    #[track_caller]
    fn check(pieces: &[EventBatch], bits: u32) {
        let parts: Vec<Scattered> =
            pieces.iter().enumerate().map(|(n, piece)| scatter(n / 2, piece, bits)).collect();
        let parts: Vec<&Scattered> = parts.iter().collect();
        let (mut all, mut units) = (EventBatch::default(), Vec::new());
        let mut seen = 0;
        for bucket in 0..1 << bits {
            gather(&parts, bucket, &mut all, &mut units);
            let mut expected = EventBatch::default();
            expected.dimensions.resize_with(2, Vec::new);
            let mut first = 0;
            let mut places = units.iter();
            for (n, piece) in pieces.iter().enumerate() {
                let own = |r: &usize| bucket_of(piece.deal[*r].hash(), bits) == bucket;
                let rows: Vec<usize> = (0..piece.len()).filter(own).collect();
                let part = piece.pick(&rows);
                if !part.is_empty() {
                    assert_eq!(places.next(), Some(&(first, n / 2)));
                }
                first += part.len();
                seen += part.len();
                concat(&mut expected, part);
            }
            assert_eq!(all, expected);
        }
        assert_eq!(seen, pieces.iter().map(EventBatch::len).sum::<usize>());
        check_written(&parts, bits);
    }

    /// What is written to a scratch file comes back the same.
    #[track_caller]
    fn check_written(parts: &[&Scattered], bits: u32) {
        let folder = tempfile::tempdir().unwrap();
        let budget = Budget::spilling_when(0, Spilling::Always);
        let scratch = Scratch::within(folder.path());
        let store = Store::new(&budget, Part::Events, &scratch, 1 << bits, 3);
        for part in parts {
            store.add((*part).clone()).unwrap();
        }
        let complete = store.complete();
        let (mut held, mut read, mut units) =
            (EventBatch::default(), EventBatch::default(), Vec::new());
        for (number, buckets) in complete.ranges().iter().enumerate() {
            let own = complete.range(number).unwrap();
            let own: Vec<&Scattered> = own.iter().map(|part| &**part).collect();
            for bucket in buckets.clone() {
                gather(parts, bucket, &mut held, &mut units);
                let expected = units.clone();
                gather(&own, bucket, &mut read, &mut units);
                read.dimensions.resize_with(held.dimensions.len(), Vec::new);
                assert_eq!((&read, &units), (&held, &expected));
            }
        }
    }

    fn concat(to: &mut EventBatch, mut from: EventBatch) {
        to.deal.append(&mut from.deal);
        to.time.append(&mut from.time);
        to.kind.append(&mut from.kind);
        to.stage.append(&mut from.stage);
        to.row.append(&mut from.row);
        to.amount.append(&mut from.amount);
        to.currency.append(&mut from.currency);
        to.owner.append(&mut from.owner);
        to.customer.append(&mut from.customer);
        to.expected_close.append(&mut from.expected_close);
        to.seq.append(&mut from.seq);
        to.event_id.append(&mut from.event_id);
        to.ingested.append(&mut from.ingested);
        for (to, from) in to.dimensions.iter_mut().zip(&mut from.dimensions) {
            to.append(from);
        }
    }

    #[test]
    fn every_row_lands_once_in_its_bucket_in_source_order() {
        let seeds: Vec<u64> = (0..1000).map(|i| i * i % 977).collect();
        check(&[events(&seeds, 1)], 4);
        check(&[events(&seeds, 5)], 0);
    }

    proptest! {
        #[test]
        fn scattered_columns_come_back(
            pieces in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..40), 1..5),
            sorts in 1_u8..6,
            bits in 0_u32..5,
        ) {
            let pieces: Vec<EventBatch> = pieces.iter().map(|s| events(s, sorts)).collect();
            check(&pieces, bits);
        }
    }

    #[test]
    fn an_event_of_small_numbers_is_small() {
        let rows = 1000_u64;
        let batch = EventBatch {
            deal: (0..rows).map(|n| Id::integer(5_000_000_000 + n.cast_signed() * 60)).collect(),
            time: (0..rows).map(|n| (1_700_000_000 + n.cast_signed() * 999) * 1_000_000).collect(),
            kind: vec![EventKind::Stage; rows as usize],
            stage: vec![3; rows as usize],
            ..EventBatch::default()
        };
        let scattered = scatter(0, &batch, 0);
        let columns: usize = scattered.columns.iter().map(|c| c.packed.bytes()).sum();
        assert_eq!(columns, 1000 * (2 + 4), "kind, stage and high words are the same in all rows");
    }

    #[test]
    fn bucket_counts_are_powers_of_two_near_the_target() {
        assert_eq!(bucket_bits(0), 0);
        assert_eq!(bucket_bits(8_192), 0);
        assert_eq!(bucket_bits(8_193), 1);
        assert_eq!(bucket_bits(6_500_000), 10);
    }
}
