//! Columns between reading and folding: every value as its distance from the column's least one, in
//! as few bytes as the largest distance needs.
//!
//! A unit's identifiers, times, amounts and codes lie close together, so that an event needs about
//! a third of the room that its plain values would. Invariant: what is unpacked is what was packed,
//! whatever the values.

use std::ops::Range;

/// Numbers of one width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed {
    /// The input does not have the column.
    Absent,
    /// The same number in every row.
    Same {
        /// How many rows.
        rows: usize,
        /// The number.
        number: u64,
    },
    /// Numbers below 2^8.
    U8(Vec<u8>),
    /// Numbers below 2^16.
    U16(Vec<u16>),
    /// Numbers below 2^32.
    U32(Vec<u32>),
    /// All others.
    U64(Vec<u64>),
}

impl Packed {
    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Same { rows, .. } => *rows,
            Self::U8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::U64(v) => v.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Absent | Self::Same { .. } => 0,
            Self::U8(v) => v.capacity(),
            Self::U16(v) => v.capacity() * 2,
            Self::U32(v) => v.capacity() * 4,
            Self::U64(v) => v.capacity() * 8,
        }
    }
}

/// A packed column. Number 0 stands for `none`, `n` for `base + (n - 1) * step`, all of it in
/// arithmetic that wraps around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// What number 0 stands for.
    pub none: i64,
    /// What number 1 stands for.
    pub base: i64,
    /// What every value's distance from the base is a multiple of.
    pub step: i64,
    /// The numbers.
    pub packed: Packed,
}

/// By which units the values of a column may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    /// As they are.
    One,
    /// As microseconds, milliseconds or seconds.
    Times,
}

const MILLI: i64 = 1_000;
const SECOND: i64 = 1_000_000;

impl Column {
    /// A column that the input does not have.
    pub const ABSENT: Self = Self { none: 0, base: 1, step: 1, packed: Packed::Absent };

    /// Packs a column, each row moved to its place; `wide` gives a value as 64 bits, `none` is what
    /// stands for no value.
    pub fn pack<T: Copy>(
        values: &[T],
        places: &[u32],
        none: i64,
        steps: Steps,
        wide: impl Fn(T) -> i64 + Copy,
    ) -> Self {
        if values.is_empty() {
            return Self::ABSENT;
        }
        let (mut min, mut max, mut nones) = (i64::MAX, i64::MIN, 0_usize);
        for value in values {
            let value = wide(*value);
            let is_none = value == none;
            nones += usize::from(is_none);
            min = min.min(if is_none { i64::MAX } else { value });
            max = max.max(if is_none { i64::MIN } else { value });
        }
        if nones == values.len() {
            let packed = Packed::Same { rows: nones, number: 0 };
            return Self { none, base: none.wrapping_add(1), step: 1, packed };
        }
        let distance = |from: i64| max.wrapping_sub(from).cast_unsigned();
        if nones == 0 && min == max {
            let packed = Packed::Same { rows: values.len(), number: 1 };
            return Self { none: min.wrapping_sub(1), base: min, step: 1, packed };
        }
        // Counting from `none` costs no look at each number when unpacking. Where it would cost
        // room, the least value is counted from; unless that leaves too few numbers.
        let from_none = nones > 0 && none < min && width(distance(none)) == width(distance(min));
        let around = distance(min) == u64::MAX;
        let base = if from_none || around { none.wrapping_add(1) } else { min };
        // Counted around from `none`, the largest value need not have the largest number.
        let top = |step: i64| {
            if around { u64::MAX } else { distance(base) / step.cast_unsigned() + 1 }
        };
        let all_of = |step: i64| {
            values.iter().all(|v| wide(*v) == none || wide(*v).wrapping_sub(base) % step == 0)
        };
        // Up to 2^62 a distance has no sign to lose.
        let fits = steps == Steps::Times && !from_none && distance(min) < 1 << 62;
        let (step, packed) = if fits && all_of(SECOND) {
            (SECOND, Self::placed::<T, SECOND>(values, places, none, base, top(SECOND), wide))
        } else if fits && all_of(MILLI) {
            (MILLI, Self::placed::<T, MILLI>(values, places, none, base, top(MILLI), wide))
        } else {
            (1, Self::placed::<T, 1>(values, places, none, base, top(1), wide))
        };
        // What number 0 gives anyway, where no row has it.
        let none = if nones == 0 { base.wrapping_sub(step) } else { none };
        Self { none, base, step, packed }
    }

    /// The numbers in the width that the largest one needs.
    fn placed<T: Copy, const STEP: i64>(
        values: &[T],
        places: &[u32],
        none: i64,
        base: i64,
        top: u64,
        wide: impl Fn(T) -> i64 + Copy,
    ) -> Packed {
        let number = |value: T| {
            let value = wide(value);
            let distance = value.wrapping_sub(base).cast_unsigned() / STEP.cast_unsigned();
            if value == none { 0 } else { distance.wrapping_add(1) }
        };
        match width(top) {
            1 => Packed::U8(place(values, places, |v| number(v) as u8)),
            2 => Packed::U16(place(values, places, |v| number(v) as u16)),
            4 => Packed::U32(place(values, places, |v| number(v) as u32)),
            _ => Packed::U64(place(values, places, number)),
        }
    }

    /// Calls `f` with the values of a range of rows, in order; with none where the column is absent.
    #[inline]
    pub fn for_each(&self, rows: Range<usize>, mut f: impl FnMut(i64)) {
        let before = self.base.wrapping_sub(self.step);
        let (none, step) = (self.none, self.step);
        let value = |number: u64| {
            let value = before.wrapping_add(number.cast_signed().wrapping_mul(step));
            if number == 0 { none } else { value }
        };
        match &self.packed {
            Packed::Absent => {}
            Packed::Same { number, .. } => rows.for_each(|_| f(value(*number))),
            Packed::U8(v) => slice(v, rows).iter().for_each(|n| f(value(u64::from(*n)))),
            Packed::U16(v) => slice(v, rows).iter().for_each(|n| f(value(u64::from(*n)))),
            Packed::U32(v) => slice(v, rows).iter().for_each(|n| f(value(u64::from(*n)))),
            Packed::U64(v) => slice(v, rows).iter().for_each(|n| f(value(*n))),
        }
    }

    /// Appends the values of a range of rows.
    pub fn unpack<T>(&self, rows: Range<usize>, to: &mut Vec<T>, narrow: impl Fn(i64) -> T) {
        let before = self.base.wrapping_sub(self.step);
        let plain = self.none == before;
        let (none, step) = (self.none, self.step);
        // One loop a case, so that the compiler can work on several numbers at once.
        match (plain, step) {
            (true, 1) => self.extend(rows, to, |n| narrow(before.wrapping_add(n))),
            (true, SECOND) => {
                self.extend(rows, to, |n| narrow(before.wrapping_add(n.wrapping_mul(SECOND))));
            }
            _ => self.extend(rows, to, |n| {
                let value = before.wrapping_add(n.wrapping_mul(step));
                narrow(if n == 0 { none } else { value })
            }),
        }
    }

    #[inline]
    fn extend<T>(&self, rows: Range<usize>, to: &mut Vec<T>, value: impl Fn(i64) -> T) {
        match &self.packed {
            Packed::Absent => {}
            Packed::Same { number, .. } => to.extend(rows.map(|_| value(number.cast_signed()))),
            Packed::U8(v) => to.extend(slice(v, rows).iter().map(|n| value(i64::from(*n)))),
            Packed::U16(v) => to.extend(slice(v, rows).iter().map(|n| value(i64::from(*n)))),
            Packed::U32(v) => to.extend(slice(v, rows).iter().map(|n| value(i64::from(*n)))),
            Packed::U64(v) => to.extend(slice(v, rows).iter().map(|n| value(n.cast_signed()))),
        }
    }
}

/// Bytes that a number needs.
fn width(number: u64) -> u32 {
    match number {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        0x1_0000..=0xFFFF_FFFF => 4,
        _ => 8,
    }
}

fn slice<T>(values: &[T], rows: Range<usize>) -> &[T] {
    values.get(rows).unwrap_or_default()
}

#[expect(clippy::indexing_slicing, reason = "places are a permutation of the rows")]
fn place<T: Copy, N: Copy + Default>(
    values: &[T],
    places: &[u32],
    number: impl Fn(T) -> N,
) -> Vec<N> {
    let mut placed = vec![N::default(); values.len()];
    for (value, place) in values.iter().zip(places) {
        placed[*place as usize] = number(*value);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: i64 = i64::MIN;

    /// Packs and unpacks; gives the column for a look at its width.
    #[track_caller]
    fn check(values: &[i64], none: i64, steps: Steps) -> Column {
        let rows = values.len() as u32;
        // Places in reverse, so that a row that is not moved would show.
        let places: Vec<u32> = (0..rows).rev().collect();
        let column = Column::pack(values, &places, none, steps, |v| v);
        let expected: Vec<i64> = values.iter().rev().copied().collect();
        let (mut unpacked, mut each) = (Vec::new(), Vec::new());
        column.unpack(0..values.len(), &mut unpacked, |v| v);
        column.for_each(0..values.len(), |v| each.push(v));
        assert_eq!(unpacked, expected);
        assert_eq!(each, expected);
        assert_eq!(column.packed.len(), values.len());
        column
    }

    #[test]
    fn columns_are_as_narrow_as_their_spread() {
        let bytes = |values: &[i64], steps| check(values, NONE, steps).packed.bytes();
        assert_eq!(bytes(&[7, 7, 7, 7], Steps::One), 0);
        assert_eq!(bytes(&[NONE, NONE], Steps::One), 0);
        assert_eq!(bytes(&[1 << 40, (1 << 40) + 254], Steps::One), 2);
        assert_eq!(bytes(&[1 << 40, (1 << 40) + 255], Steps::One), 4);
        assert_eq!(bytes(&[1 << 40, NONE, (1 << 40) + (1 << 31)], Steps::One), 12);
        let month = 31 * 86_400 * SECOND;
        assert_eq!(bytes(&[SECOND, SECOND + month], Steps::Times), 8);
        assert_eq!(bytes(&[MILLI, MILLI + month], Steps::Times), 8);
        assert_eq!(bytes(&[1, 1 + month + 1], Steps::Times), 16);
    }

    #[test]
    fn the_widest_columns_come_back() {
        check(&[i64::MIN, i64::MAX, 0, -1, 1], 0, Steps::One);
        check(&[i64::MIN, i64::MAX, 0, -1, 1], NONE, Steps::Times);
        check(&[i64::MIN, i64::MAX], 5, Steps::Times);
        check(&[i64::MIN, i64::MAX], i64::MAX - 2, Steps::One);
        check(&[i64::MAX, i64::MAX - 1_000_000, NONE], NONE, Steps::Times);
    }

    proptest! {
        #[test]
        fn what_is_unpacked_is_what_was_packed(
            base in prop_oneof![any::<i64>(), -5_i64..5, Just(1_700_000_000_000_000)],
            step in prop_oneof![Just(1_i64), Just(MILLI), Just(SECOND), any::<i64>()],
            spread in prop_oneof![1_i64..4, Just(300), Just(70_000), Just(1 << 33), Just(i64::MAX)],
            seeds in prop::collection::vec(any::<(i64, u8)>(), 1..50),
            none in prop_oneof![Just(NONE), Just(0), Just(i64::from(u32::MAX))],
        ) {
            let value = |(seed, lot): &(i64, u8)| {
                let distance = seed.rem_euclid(spread).wrapping_mul(step);
                if *lot < 40 { none } else { base.wrapping_add(distance) }
            };
            let values: Vec<i64> = seeds.iter().map(value).collect();
            for steps in [Steps::One, Steps::Times] {
                check(&values, none, steps);
            }
        }
    }
}
