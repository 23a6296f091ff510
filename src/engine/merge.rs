//! How states merge: rows with equal keys become one by adding, or by the least or greatest value.
//!
//! The same function joins shards, rolls a base period up to longer ones, and rolls a slice up to
//! one with fewer dimensions: each only says which keys to keep and what to map them to.
//!
//! Invariant: the result is sorted by dimensions, then keys, and has no two rows with equal keys;
//! it does not depend on how rows were spread over the parts.

use rayon::prelude::*;

use crate::metrics::{NO_KEY, StateRows};

/// How two values of an additive column become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// They are added.
    Sum,
    /// The lesser is kept; [`NO_KEY`] is no value.
    Min,
    /// The greater is kept; [`NO_KEY`] is no value.
    Max,
}

impl Merge {
    /// Both as one; `None` where a sum leaves 64 bits.
    pub(crate) fn apply(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Self::Sum => a.checked_add(b),
            Self::Min if a == NO_KEY => Some(b),
            Self::Min if b == NO_KEY => Some(a),
            Self::Min => Some(a.min(b)),
            Self::Max => Some(a.max(b)),
        }
    }
}

/// What happens to one key.
#[derive(Clone, Copy)]
pub(crate) enum KeyRule<'a> {
    /// It stays.
    Keep,
    /// It is replaced, the same value by the same one.
    Map(&'a (dyn Fn(i64) -> i64 + Sync)),
    /// Only rows with this value stay, and the key goes.
    Only(i64),
}

/// The name of the sum that does not fit 64 bits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflowed(pub(crate) String);

/// Merges the rows of all parts, which have the same columns.
///
/// Shape: any rows in; one row per distinct kept dimensions (positions `dimensions`) and keys out.
/// Errors: the name of an additive column whose sum does not fit 64 bits.
pub(crate) fn combine(
    parts: &[&StateRows],
    dimensions: &[usize],
    keys: &[KeyRule<'_>],
    merges: &[Merge],
) -> Result<StateRows, Overflowed> {
    let Some(first) = parts.first() else { return Ok(StateRows::default()) };
    let chosen: Vec<Option<Vec<usize>>> = parts.iter().map(|p| chosen_rows(p, keys)).collect();
    let gather = |column: &dyn Fn(&StateRows) -> Option<&Vec<i64>>| {
        let mut all = Vec::new();
        for (part, rows) in parts.iter().zip(&chosen) {
            let Some(values) = column(part) else { continue };
            match rows {
                None => all.extend_from_slice(values),
                Some(rows) => all.extend(rows.iter().filter_map(|r| values.get(*r).copied())),
            }
        }
        all
    };
    let rows = parts.iter().zip(&chosen).map(|(p, c)| c.as_ref().map_or(p.rows, Vec::len)).sum();
    let mut columns: Vec<Vec<i64>> =
        dimensions.iter().map(|d| gather(&|part: &StateRows| part.dimensions.get(*d))).collect();
    let mut names = Vec::new();
    for (position, (name, _)) in first.keys.iter().enumerate() {
        let column = || gather(&|part: &StateRows| part.keys.get(position).map(|(_, v)| v));
        match keys.get(position) {
            Some(KeyRule::Only(_)) => continue,
            Some(KeyRule::Map(map)) => columns.push(mapped(column(), map)),
            Some(KeyRule::Keep) | None => columns.push(column()),
        }
        names.push(name.clone());
    }
    let groups = group(&columns, rows);
    let mut keyed = columns.par_iter().map(|c| pick(c, &groups)).collect::<Vec<_>>().into_iter();
    let kept = keyed.by_ref().take(dimensions.len()).collect();
    let merged = |(position, (name, _)): (usize, &(String, Vec<i64>))| {
        let all = gather(&|part: &StateRows| part.values.get(position).map(|(_, v)| v));
        let merge = merges.get(position).copied().unwrap_or(Merge::Sum);
        let merged = fold(&all, &groups, merge).ok_or_else(|| Overflowed(name.clone()))?;
        Ok((name.clone(), merged))
    };
    let values =
        first.values.par_iter().enumerate().map(merged).collect::<Result<_, Overflowed>>()?;
    Ok(StateRows {
        dimensions: kept,
        keys: names.into_iter().zip(keyed).collect(),
        values,
        rows: groups.starts.len(),
    })
}

/// The rows that every [`KeyRule::Only`] lets through; `None` for all.
fn chosen_rows(part: &StateRows, keys: &[KeyRule<'_>]) -> Option<Vec<usize>> {
    let only: Vec<(&Vec<i64>, i64)> = part
        .keys
        .iter()
        .zip(keys)
        .filter_map(|((_, column), rule)| match rule {
            KeyRule::Only(value) => Some((column, *value)),
            _ => None,
        })
        .collect();
    if only.is_empty() {
        return None;
    }
    let passes = |row: &usize| only.iter().all(|(column, value)| column.get(*row) == Some(value));
    Some((0..part.rows).filter(passes).collect())
}

/// Maps a column of which few values are distinct, asking for each run of equal values once.
fn mapped(mut column: Vec<i64>, map: &(dyn Fn(i64) -> i64 + Sync)) -> Vec<i64> {
    let mut known: hashbrown::HashMap<i64, i64> = hashbrown::HashMap::new();
    for value in &mut column {
        *value = *known.entry(*value).or_insert_with(|| map(*value));
    }
    column
}

/// Rows in order, and where in that order each group begins.
struct Groups {
    order: Vec<u32>,
    starts: Vec<u32>,
}

#[expect(clippy::indexing_slicing, reason = "rows are below the length of every column")]
fn group(columns: &[Vec<i64>], rows: usize) -> Groups {
    let packing = Packing::of(columns);
    if packing.bits <= 64 {
        return grouped(
            (0..rows).into_par_iter().map(|r| packing.pack(columns, r) as u64).collect(),
        );
    }
    if packing.bits <= 128 {
        return grouped((0..rows).into_par_iter().map(|r| packing.pack(columns, r)).collect());
    }
    grouped((0..rows).map(|r| columns.iter().map(|c| c[r]).collect::<Vec<i64>>()).collect())
}

fn grouped<K: Ord + Send>(keys: Vec<K>) -> Groups {
    let mut keyed: Vec<(K, u32)> = keys.into_iter().zip(0_u32..).collect();
    if !keyed.is_sorted() {
        keyed.par_sort_unstable();
    }
    let mut starts = Vec::new();
    let mut last: Option<&K> = None;
    for ((key, _), position) in keyed.iter().zip(0_u32..) {
        if last != Some(key) {
            starts.push(position);
            last = Some(key);
        }
    }
    Groups { order: keyed.iter().map(|(_, row)| *row).collect(), starts }
}

/// How several columns become one number that sorts like them: each value less its column's least,
/// in as many bits as its column needs. [`NO_KEY`] becomes 0 without widening the range.
struct Packing {
    parts: Vec<(i64, u32)>,
    bits: u32,
}

impl Packing {
    fn of(columns: &[Vec<i64>]) -> Self {
        let parts: Vec<(i64, u32)> = columns
            .iter()
            .map(|column| {
                let known = || column.iter().copied().filter(|v| *v != NO_KEY);
                let least = known().min().unwrap_or(0);
                let most = known().max().unwrap_or(0);
                let range = (i128::from(most) - i128::from(least) + 1).unsigned_abs();
                (least, 128 - range.leading_zeros())
            })
            .collect();
        let bits = parts.iter().map(|(_, bits)| bits).sum();
        Self { parts, bits }
    }

    #[expect(clippy::indexing_slicing, reason = "rows are below the length of every column")]
    fn pack(&self, columns: &[Vec<i64>], row: usize) -> u128 {
        let mut packed = 0;
        for (column, (least, bits)) in columns.iter().zip(&self.parts) {
            let value = column[row];
            let offset = if value == NO_KEY { 0 } else { value.wrapping_sub(*least) as u64 };
            let digit = u128::from(offset) + u128::from(value != NO_KEY);
            packed = packed << bits | digit;
        }
        packed
    }
}

#[expect(clippy::indexing_slicing, reason = "groups are made of rows of this column")]
fn pick(column: &[i64], groups: &Groups) -> Vec<i64> {
    groups.starts.iter().map(|s| column[groups.order[*s as usize] as usize]).collect()
}

#[expect(clippy::indexing_slicing, reason = "groups are made of rows of this column")]
fn fold(column: &[i64], groups: &Groups, merge: Merge) -> Option<Vec<i64>> {
    let ends = groups.starts.iter().skip(1).map(|s| *s as usize).chain([groups.order.len()]);
    groups
        .starts
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            let mut rows = groups.order[*start as usize..end].iter().map(|r| column[*r as usize]);
            let first = rows.next()?;
            rows.try_fold(first, |a, b| merge.apply(a, b))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MERGES: [Merge; 3] = [Merge::Sum, Merge::Min, Merge::Max];

    /// Rows of two dimensions, one key and three values.
    fn state(rows: &[[i64; 6]]) -> StateRows {
        let column = |i: usize| rows.iter().map(|r| r[i]).collect::<Vec<i64>>();
        StateRows {
            dimensions: vec![column(0), column(1)],
            keys: vec![("k".into(), column(2))],
            values: vec![("s".into(), column(3)), ("a".into(), column(4)), ("b".into(), column(5))],
            rows: rows.len(),
        }
    }

    #[track_caller]
    fn check(parts: &[&[[i64; 6]]], dimensions: &[usize], rule: KeyRule<'_>, expected: &[&[i64]]) {
        let parts: Vec<StateRows> = parts.iter().map(|p| state(p)).collect();
        let parts: Vec<&StateRows> = parts.iter().collect();
        let merged = combine(&parts, dimensions, &[rule], &MERGES).unwrap();
        let columns = merged
            .dimensions
            .iter()
            .chain(merged.keys.iter().map(|(_, v)| v))
            .chain(merged.values.iter().map(|(_, v)| v));
        let columns: Vec<&Vec<i64>> = columns.collect();
        let rows: Vec<Vec<i64>> =
            (0..merged.rows).map(|r| columns.iter().map(|c| c[r]).collect()).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn parts_merge_by_adding_least_and_greatest() {
        check(
            &[&[[0, 1, 5, 10, 10, 10], [0, 0, 5, 1, 1, 1]], &[[0, 1, 5, 7, 7, 7]]],
            &[0, 1],
            KeyRule::Keep,
            &[&[0, 0, 5, 1, 1, 1], &[0, 1, 5, 17, 7, 10]],
        );
    }

    #[test]
    fn null_dimension_sorts_first_and_stays_its_own_group() {
        check(
            &[&[[2, -1, 0, 1, 1, 1], [-1, 0, 0, 2, 2, 2], [-1, 0, NO_KEY, 3, 3, 3]]],
            &[0],
            KeyRule::Keep,
            &[&[-1, NO_KEY, 3, 3, 3], &[-1, 0, 2, 2, 2], &[2, 0, 1, 1, 1]],
        );
    }

    #[test]
    fn mapped_keys_fall_together() {
        let tens = |k: i64| k - k.rem_euclid(10);
        check(
            &[&[[0, 0, 11, 1, 1, 1], [0, 0, 19, 2, 2, 2], [0, 0, 20, 4, 4, 4]]],
            &[0],
            KeyRule::Map(&tens),
            &[&[0, 10, 3, 1, 2], &[0, 20, 4, 4, 4]],
        );
    }

    #[test]
    fn only_rule_selects_and_drops_the_key() {
        check(
            &[&[[0, 0, 3, 1, 1, 1], [0, 1, 4, 2, 2, 2]], &[[0, 0, 4, 8, 8, 8]]],
            &[1],
            KeyRule::Only(4),
            &[&[0, 8, 8, 8], &[1, 2, 2, 2]],
        );
    }

    #[test]
    fn absent_extreme_gives_way() {
        check(
            &[&[[0, 0, 0, 0, NO_KEY, NO_KEY]], &[[0, 0, 0, 0, 5, 5]]],
            &[],
            KeyRule::Keep,
            &[&[0, 0, 5, 5]],
        );
    }

    #[test]
    fn wide_keys_group_like_narrow_ones() {
        let (low, high) = (i64::MIN + 1, i64::MAX);
        check(
            &[&[[high, low, high, 1, 1, 1], [low, low, low, 2, 2, 2], [high, low, high, 4, 4, 4]]],
            &[0, 1],
            KeyRule::Keep,
            &[&[low, low, low, 2, 2, 2], &[high, low, high, 5, 1, 4]],
        );
    }

    #[test]
    fn sum_beyond_64_bits_is_named() {
        let part = state(&[[0, 0, 0, i64::MAX, 0, 0]]);
        let result = combine(&[&part, &part], &[0, 1], &[KeyRule::Keep], &MERGES);
        assert_eq!(result, Err(Overflowed("s".into())));
    }
}
