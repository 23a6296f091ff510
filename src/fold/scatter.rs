//! Scatter: a batch of events into buckets by the hash of their deal, column by column.
//!
//! A bucket holds all events of its deals, so buckets are ordered and folded independently. One
//! counting pass gives each row its place; then every column is copied once, in bucket order.

use crate::contract::{EventBatch, EventKind};

/// One unit's events in bucket order.
#[derive(Debug, Default)]
pub struct Scattered {
    /// Number of the unit the events come from.
    pub unit: usize,
    /// `offsets[b]..offsets[b + 1]` are the rows of bucket `b`.
    pub offsets: Vec<u32>,
    /// The events, in bucket order; within a bucket in the order of the source.
    pub events: EventBatch,
}

/// Number of buckets (as a power of two) for so many rows: about sixteen thousand rows a bucket, so
/// that a bucket's keys stay in the second-level cache while they are sorted.
#[must_use]
pub fn bucket_bits(rows: u64) -> u32 {
    const ROWS_PER_BUCKET: u64 = 1 << 14;
    const BITS_MAX: u32 = 12;
    let buckets = rows.div_ceil(ROWS_PER_BUCKET).max(1);
    (64 - (buckets - 1).leading_zeros()).min(BITS_MAX)
}

/// The bucket of a deal: the high bits of its hash, so that buckets in order are hashes in order.
#[must_use]
pub fn bucket_of(hash: u64, bits: u32) -> usize {
    if bits == 0 { 0 } else { (hash >> (64 - bits)) as usize }
}

/// Scatters a unit's events into `2^bits` buckets.
#[expect(
    clippy::indexing_slicing,
    reason = "bucket numbers are below 2^bits by construction and places below the row count"
)]
#[must_use]
pub fn scatter(unit: usize, batch: EventBatch, bits: u32) -> Scattered {
    let buckets = 1_usize << bits;
    let mut offsets = vec![0_u32; buckets + 1];
    for hash in &batch.deal_hash {
        offsets[bucket_of(*hash, bits) + 1] += 1;
    }
    for bucket in 0..buckets {
        offsets[bucket + 1] += offsets[bucket];
    }
    let mut next = offsets.clone();
    let places: Vec<u32> = batch
        .deal_hash
        .iter()
        .map(|hash| {
            let slot = &mut next[bucket_of(*hash, bits)];
            let place = *slot;
            *slot += 1;
            place
        })
        .collect();
    let events = EventBatch {
        deal: place(batch.deal, &places),
        deal_hash: place(batch.deal_hash, &places),
        time: place(batch.time, &places),
        kind: place(batch.kind, &places),
        stage: place(batch.stage, &places),
        row: place(batch.row, &places),
        amount: place(batch.amount, &places),
        owner: place(batch.owner, &places),
        customer: place(batch.customer, &places),
        expected_close: place(batch.expected_close, &places),
        seq: place(batch.seq, &places),
        event_id: place(batch.event_id, &places),
        ingested: place(batch.ingested, &places),
        dimensions: batch.dimensions.into_iter().map(|d| place(d, &places)).collect(),
    };
    Scattered { unit, offsets, events }
}

/// The column with each row moved to its place; an absent column stays absent.
#[expect(clippy::indexing_slicing, reason = "places are a permutation of the rows")]
fn place<T: Copy + Default>(column: Vec<T>, places: &[u32]) -> Vec<T> {
    if column.is_empty() {
        return column;
    }
    let mut placed = vec![T::default(); column.len()];
    for (value, place) in column.into_iter().zip(places) {
        placed[*place as usize] = value;
    }
    placed
}

/// All events of one bucket, unit after unit.
#[must_use]
pub fn gather(parts: &[Scattered], bucket: usize) -> (EventBatch, Vec<(usize, usize)>) {
    let mut all = EventBatch::default();
    let mut units = Vec::with_capacity(parts.len());
    let range = |part: &Scattered| -> Option<std::ops::Range<usize>> {
        Some(*part.offsets.get(bucket)? as usize..*part.offsets.get(bucket + 1)? as usize)
    };
    let rows = parts.iter().filter_map(range).map(|r| r.len()).sum();
    reserve(&mut all, rows, parts.first().map_or(0, |p| p.events.dimensions.len()));
    for part in parts {
        let Some(range) = range(part) else { continue };
        if range.is_empty() {
            continue;
        }
        units.push((all.len(), part.unit));
        append(&mut all, &part.events, range);
    }
    (all, units)
}

fn reserve(batch: &mut EventBatch, rows: usize, dimensions: usize) {
    batch.deal.reserve_exact(rows);
    batch.deal_hash.reserve_exact(rows);
    batch.time.reserve_exact(rows);
    batch.kind.reserve_exact(rows);
    batch.stage.reserve_exact(rows);
    batch.row.reserve_exact(rows);
    batch.dimensions.resize_with(dimensions, Vec::new);
}

fn append(to: &mut EventBatch, from: &EventBatch, range: std::ops::Range<usize>) {
    fn extend<T: Copy>(to: &mut Vec<T>, from: &[T], range: &std::ops::Range<usize>) {
        // An absent column is empty and has no such range.
        if let Some(values) = from.get(range.clone()) {
            to.extend_from_slice(values);
        }
    }
    extend(&mut to.deal, &from.deal, &range);
    extend(&mut to.deal_hash, &from.deal_hash, &range);
    extend(&mut to.time, &from.time, &range);
    extend::<EventKind>(&mut to.kind, &from.kind, &range);
    extend(&mut to.stage, &from.stage, &range);
    extend(&mut to.row, &from.row, &range);
    extend(&mut to.amount, &from.amount, &range);
    extend(&mut to.owner, &from.owner, &range);
    extend(&mut to.customer, &from.customer, &range);
    extend(&mut to.expected_close, &from.expected_close, &range);
    extend(&mut to.seq, &from.seq, &range);
    extend(&mut to.event_id, &from.event_id, &range);
    extend(&mut to.ingested, &from.ingested, &range);
    for (to, from) in to.dimensions.iter_mut().zip(&from.dimensions) {
        extend(to, from, &range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_lands_once_in_its_bucket_in_source_order() {
        let hashes: Vec<u64> = (0..1000_i64).map(|i| crate::source::hash_integer(i % 97)).collect();
        let rows = hashes.len();
        let batch = EventBatch {
            deal: (0..rows as i64).map(|i| i % 97).collect(),
            deal_hash: hashes,
            time: vec![0; rows],
            kind: vec![EventKind::Stage; rows],
            stage: vec![0; rows],
            row: (0..rows as u32).collect(),
            ..EventBatch::default()
        };
        let parts = [scatter(0, batch, 4)];
        let mut seen = 0;
        for bucket in 0..16 {
            let (events, _) = gather(&parts, bucket);
            assert!(events.deal_hash.iter().all(|h| bucket_of(*h, 4) == bucket));
            assert!(events.row.is_sorted(), "source order is kept within a bucket");
            seen += events.len();
        }
        assert_eq!(seen, rows);
    }

    #[test]
    fn bucket_counts_are_powers_of_two_near_the_target() {
        assert_eq!(bucket_bits(0), 0);
        assert_eq!(bucket_bits(16_384), 0);
        assert_eq!(bucket_bits(16_385), 1);
        assert_eq!(bucket_bits(6_500_000), 9);
    }
}
