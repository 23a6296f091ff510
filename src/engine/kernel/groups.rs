//! A hash table of groups: packed keys, and sums beside them.
//!
//! A group is a few 64-bit words in a row: its keys packed into one or more, then its values. The
//! groups stand in the table's slots, so that a row of the relation touches one place. Every key has
//! as many bits as its values have needed so far; when one does not fit, the layout grows and the
//! groups are packed anew, which happens a few times a run.
//!
//! Packed keys sort like the keys themselves, null first.

mod kept;
mod runs;

pub(super) use self::kept::{Kept, Sorted};
use super::super::merge::Merge;
use super::program::NULL;

/// The place of one key in the packed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    /// The least value that fits; what is packed is the distance from it, plus one.
    least: i64,
    /// Bits; 0 while no value has been seen.
    bits: u32,
    word: usize,
    shift: u32,
    /// Codes of a known list of names always fit.
    is_bounded: bool,
}

impl Field {
    /// The greatest value that fits, if there is any.
    fn most(&self) -> Option<i64> {
        let values = (u128::from(u64::MAX) >> (64 - self.bits.min(64))).checked_sub(1)?;
        let most = i128::from(self.least) + i128::try_from(values).ok()?;
        (self.bits > 0).then(|| i64::try_from(most).unwrap_or(i64::MAX))
    }

    fn digit(&self, value: i64) -> u64 {
        if value == NULL { 0 } else { (value.wrapping_sub(self.least) as u64).wrapping_add(1) }
    }

    fn value(&self, digit: u64) -> i64 {
        if digit == 0 { NULL } else { self.least.wrapping_add((digit - 1) as i64) }
    }

    /// The value at its place in a word.
    fn pack(&self, value: i64) -> u64 {
        if self.bits == 0 { 0 } else { self.digit(value) << self.shift }
    }

    /// The value in a packed group.
    fn unpack(&self, group: &[u64]) -> i64 {
        if self.bits == 0 {
            return NULL;
        }
        let word = group.get(self.word).copied().unwrap_or(0);
        // Shifted up and down, so that only the field's bits are left.
        let above = 64 - self.bits - self.shift;
        self.value(word << above >> (above + self.shift))
    }
}

/// Groups with their sums: a hash table with the groups in its slots.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    fields: Vec<Field>,
    /// Words of a packed key.
    words: usize,
    merges: Vec<Merge>,
    /// Slots of `words + merges` numbers each; one whose first word is 0 is free, because the lowest
    /// bit of a packed key is always set.
    slots: Vec<u64>,
    len: usize,
    /// Kept between blocks: the packed keys of a block, and where its rows' groups begin.
    packed: Vec<u64>,
    places: Vec<usize>,
}

/// The bit that a packed key always has.
const TAKEN: u64 = 1;

/// A sum left 64 bits: the position of its column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow(pub(super) usize);

impl Groups {
    /// No groups. `names` says of each key how many names its codes can be, where it has codes.
    pub(super) fn new(names: &[Option<usize>], merges: Vec<Merge>) -> Self {
        let field = |names: &Option<usize>| {
            let bits = names.map_or(0, |n| u64::BITS - (n as u64).leading_zeros());
            Field { least: 0, bits, word: 0, shift: 0, is_bounded: bits > 0 }
        };
        let mut groups = Self {
            fields: names.iter().map(field).collect(),
            words: 1,
            merges,
            slots: Vec::new(),
            len: 0,
            packed: Vec::new(),
            places: Vec::new(),
        };
        groups.lay_out();
        groups
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * 8
    }

    fn width(&self) -> usize {
        self.words + self.merges.len()
    }

    /// Gives every field its word and place: earlier keys in higher bits, none across two words.
    fn lay_out(&mut self) {
        let (mut word, mut used) = (0, 0);
        for field in &mut self.fields {
            let room = if word == 0 { 63 } else { 64 };
            if used + field.bits > room {
                (word, used) = (word + 1, 0);
            }
            field.word = word;
            used += field.bits;
            // From the top for now, so that order of words and bits is order of keys.
            field.shift = 64 - used;
        }
        self.words = word + 1;
    }

    /// Adds rows. `keys` are the key columns, `values` the columns of values (`None` counts), all of
    /// one block; `rows` picks rows of it.
    pub(super) fn add(
        &mut self,
        keys: &[&[i64]],
        values: &[Option<&[i64]>],
        rows: Option<&[u32]>,
        block: usize,
    ) -> Result<(), Overflow> {
        self.fit(keys);
        self.pack(keys, block);
        self.reserve(rows.map_or(block, <[u32]>::len));
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        if self.words == 1 {
            self.find_all(rows, &mut places);
        } else {
            match rows {
                None => places.extend((0..block).map(|row| self.find(row))),
                Some(rows) => places.extend(rows.iter().map(|row| self.find(*row as usize))),
            }
        }
        let result = self.add_values(values, rows, &places);
        self.places = places;
        result
    }

    /// Makes room in the fields for every value of the columns.
    fn fit(&mut self, keys: &[&[i64]]) {
        let mut grown: Option<Vec<Field>> = None;
        for (place, (field, column)) in self.fields.iter().zip(keys).enumerate() {
            let known = if field.is_bounded { None } else { range(column) };
            let Some((least, most)) = known else { continue };
            if field.most().is_some_and(|m| least >= field.least && most <= m) {
                continue;
            }
            let (least, most) = match field.most() {
                Some(known) => (least.min(field.least), most.max(known)),
                None => (least, most),
            };
            let fields = grown.get_or_insert_with(|| self.fields.clone());
            if let Some(field) = fields.get_mut(place) {
                (field.least, field.bits) = roomy(least, most);
            }
        }
        if let Some(fields) = grown {
            self.repack(fields);
        }
    }

    /// Packs every group by a layout with other bounds.
    fn repack(&mut self, fields: Vec<Field>) {
        let mut other = Self {
            fields,
            merges: self.merges.clone(),
            packed: std::mem::take(&mut self.packed),
            places: std::mem::take(&mut self.places),
            ..Self::new(&[], Vec::new())
        };
        other.lay_out();
        other.reserve(self.len);
        let (mut key, mut values) = (Vec::new(), Vec::new());
        for group in self.groups() {
            key.clear();
            values.clear();
            key.extend(self.fields.iter().map(|field| field.unpack(group)));
            values.extend_from_slice(group.get(self.words..).unwrap_or_default());
            other.packed.clear();
            other.packed.resize(other.words, 0);
            for (field, value) in other.fields.iter().zip(&key) {
                if let Some(word) = other.packed.get_mut(field.word) {
                    *word |= field.pack(*value);
                }
            }
            if let Some(first) = other.packed.first_mut() {
                *first |= TAKEN;
            }
            let place = other.find(0) + other.words;
            if let Some(own) = other.slots.get_mut(place..place + values.len()) {
                own.copy_from_slice(&values);
            }
        }
        *self = other;
    }

    /// The groups, in no order.
    fn groups(&self) -> impl Iterator<Item = &[u64]> {
        self.slots.chunks_exact(self.width()).filter(|slot| slot.first() != Some(&0))
    }

    /// Packs a block's keys, row by row in `packed`.
    fn pack(&mut self, keys: &[&[i64]], block: usize) {
        self.packed.clear();
        self.packed.resize(block * self.words, TAKEN);
        if self.words > 1 {
            let later = self.packed.iter_mut().enumerate();
            later.filter(|(at, _)| at % self.words > 0).for_each(|(_, word)| *word = 0);
        }
        for (field, column) in self.fields.iter().zip(keys).filter(|(f, _)| f.bits > 0) {
            if self.words == 1 {
                for (word, value) in self.packed.iter_mut().zip(column.iter()) {
                    *word |= field.pack(*value);
                }
                continue;
            }
            let words = self.packed.iter_mut().skip(field.word).step_by(self.words);
            for (word, value) in words.zip(column.iter()) {
                *word |= field.pack(*value);
            }
        }
    }

    /// Where the groups of a block's rows begin, for keys of one word; new ones are made.
    #[expect(clippy::indexing_slicing, reason = "slots are masked, rows are of the block")]
    fn find_all(&mut self, rows: Option<&[u32]>, places: &mut Vec<usize>) {
        let width = self.width();
        let mask = self.slots.len() / width - 1;
        let keys = self.packed.as_slice();
        match rows {
            None => places.extend(keys.iter().map(|key| (hash(&[*key]) & mask) * width)),
            Some(rows) => {
                places.extend(rows.iter().map(|row| (hash(&[keys[*row as usize]]) & mask) * width))
            }
        }
        // A table beyond the caches is asked for all of a block's slots first, so that the loads
        // overlap; waiting for one after the other took half as long again.
        const CACHED: usize = 1 << 16;
        if self.slots.len() > CACHED {
            let touched = places.iter().fold(0, |all, begin| all ^ self.slots[*begin]);
            std::hint::black_box(touched);
        }
        for (at, begin) in places.iter_mut().enumerate() {
            let key = keys[rows.map_or(at, |rows| rows[at] as usize)];
            loop {
                let found = self.slots[*begin];
                if found == key {
                    break;
                }
                if found == 0 {
                    self.slots[*begin] = key;
                    clear(&mut self.slots[*begin + 1..], &self.merges);
                    self.len += 1;
                    break;
                }
                *begin += width;
                if *begin == self.slots.len() {
                    *begin = 0;
                }
            }
        }
    }

    /// Where the group of a packed row begins; made if it is new. There is room for it.
    #[expect(clippy::indexing_slicing, reason = "slots are masked, packed rows are of the block")]
    fn find(&mut self, row: usize) -> usize {
        let width = self.width();
        let mask = self.slots.len() / width - 1;
        let key = &self.packed[row * self.words..(row + 1) * self.words];
        let mut slot = hash(key) & mask;
        loop {
            let begin = slot * width;
            let found = &self.slots[begin..begin + self.words];
            if found == key {
                return begin;
            }
            if found[0] == 0 {
                return self.take(begin, row);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Makes a free slot the group of a packed row.
    #[expect(clippy::indexing_slicing, reason = "the slot was found, the row is of the block")]
    fn take(&mut self, begin: usize, row: usize) -> usize {
        let key = &self.packed[row * self.words..(row + 1) * self.words];
        self.slots[begin..begin + self.words].copy_from_slice(key);
        clear(&mut self.slots[begin + self.words..], &self.merges);
        self.len += 1;
        begin
    }

    /// Makes room for so many new groups, so that places hold while a block is added.
    #[expect(clippy::indexing_slicing, reason = "slots are masked")]
    fn reserve(&mut self, more: usize) {
        let width = self.width();
        // At most three in five slots are taken.
        let needed = (self.len + more) * 5 / 3 + 1;
        if needed <= self.slots.len() / width {
            return;
        }
        let slots = needed.next_power_of_two();
        let old = std::mem::replace(&mut self.slots, vec![0; slots * width]);
        let mask = slots - 1;
        for group in old.chunks_exact(width).filter(|group| group[0] != 0) {
            let mut slot = hash(&group[..self.words]) & mask;
            while self.slots[slot * width] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot * width..(slot + 1) * width].copy_from_slice(group);
        }
    }

    fn add_values(
        &mut self,
        values: &[Option<&[i64]>],
        rows: Option<&[u32]>,
        places: &[usize],
    ) -> Result<(), Overflow> {
        for (position, (merge, column)) in self.merges.iter().zip(values).enumerate() {
            let groups = self.slots.get_mut(self.words + position..).unwrap_or_default();
            let picked = |column: &'_ [i64], row: &u32| column.get(*row as usize).copied();
            let fits = match (column, rows) {
                (None, _) => merged(*merge, groups, places, std::iter::repeat(1)),
                (Some(column), None) => merged(*merge, groups, places, column.iter().copied()),
                (Some(column), Some(rows)) => {
                    let values = rows.iter().map(|row| picked(column, row).unwrap_or(NULL));
                    merged(*merge, groups, places, values)
                }
            };
            if !fits {
                return Err(Overflow(position));
            }
        }
        Ok(())
    }

    /// Adds the groups of another table with the same keys and values.
    pub(super) fn absorb(&mut self, other: &Self) -> Result<(), Overflow> {
        const AT_ONCE: usize = 1024;
        let mut keys: Vec<Vec<i64>> = vec![Vec::new(); self.fields.len()];
        let mut values: Vec<Vec<i64>> = vec![Vec::new(); self.merges.len()];
        let mut groups = other.groups().peekable();
        while groups.peek().is_some() {
            keys.iter_mut().chain(&mut values).for_each(Vec::clear);
            let mut rows = 0;
            for group in groups.by_ref().take(AT_ONCE) {
                other.unpack(group, &mut keys, &mut values);
                rows += 1;
            }
            let keys: Vec<&[i64]> = keys.iter().map(Vec::as_slice).collect();
            let values: Vec<Option<&[i64]>> = values.iter().map(|v| Some(v.as_slice())).collect();
            self.add(&keys, &values, None, rows)?;
        }
        Ok(())
    }

    fn unpack(&self, group: &[u64], keys: &mut [Vec<i64>], values: &mut [Vec<i64>]) {
        for (field, column) in self.fields.iter().zip(keys) {
            column.push(field.unpack(group));
        }
        for (value, column) in group.iter().skip(self.words).zip(values) {
            column.push(*value as i64);
        }
    }

    /// The columns of keys and values, sorted by keys.
    pub(super) fn into_columns(self) -> (Vec<Vec<i64>>, Vec<Vec<i64>>) {
        self.columns(&self.order())
    }

    /// The slots of all groups, sorted by keys, each with its first word.
    fn order(&self) -> Vec<(u64, u32)> {
        let slots = self.slots.chunks_exact(self.width()).zip(0_u32..);
        let mut order = Vec::with_capacity(self.len);
        let taken = slots.filter_map(|(group, slot)| Some((*group.first()?, slot)));
        order.extend(taken.filter(|(word, _)| *word != 0));
        let rest = |slot: u32| self.group(slot).get(1..self.words);
        if self.words == 1 {
            rayon::slice::ParallelSliceMut::par_sort_unstable(order.as_mut_slice());
        } else {
            rayon::slice::ParallelSliceMut::par_sort_unstable_by(order.as_mut_slice(), |a, b| {
                a.0.cmp(&b.0).then_with(|| rest(a.1).cmp(&rest(b.1)))
            });
        }
        order
    }

    fn group(&self, slot: u32) -> &[u64] {
        let begin = slot as usize * self.width();
        self.slots.get(begin..begin + self.width()).unwrap_or_default()
    }

    /// The columns of keys and values of some groups.
    fn columns(&self, slots: &[(u64, u32)]) -> (Vec<Vec<i64>>, Vec<Vec<i64>>) {
        let rows = slots.len();
        let mut keys: Vec<Vec<i64>> = vec![Vec::with_capacity(rows); self.fields.len()];
        let mut values: Vec<Vec<i64>> = vec![Vec::with_capacity(rows); self.merges.len()];
        for (_, slot) in slots {
            self.unpack(self.group(*slot), &mut keys, &mut values);
        }
        (keys, values)
    }
}

/// Begins a group's values: nothing added, no extreme yet.
fn clear(values: &mut [u64], merges: &[Merge]) {
    for (value, merge) in values.iter_mut().zip(merges) {
        *value = if *merge == Merge::Sum { 0 } else { NULL as u64 };
    }
}

/// Merges values into the groups at these places; null adds nothing. Whether all sums fit.
fn merged(
    merge: Merge,
    groups: &mut [u64],
    places: &[usize],
    values: impl Iterator<Item = i64>,
) -> bool {
    let mut fits = true;
    for (place, value) in places.iter().zip(values) {
        let Some(slot) = groups.get_mut(*place) else { continue };
        if merge == Merge::Sum {
            let value = if value == NULL { 0 } else { value };
            let (sum, overflowed) = (*slot as i64).overflowing_add(value);
            *slot = sum as u64;
            fits &= !overflowed;
        } else {
            *slot = merge.apply(*slot as i64, value).unwrap_or(value) as u64;
        }
    }
    fits
}

#[inline]
fn hash(key: &[u64]) -> usize {
    let mut hash = 0_u64;
    for word in key {
        let product = u128::from(hash ^ word) * 0x9E37_79B9_7F4A_7C15_u128;
        hash = (product >> 64) as u64 ^ product as u64;
    }
    hash as usize
}

/// The least and the greatest value that is not null.
fn range(column: &[i64]) -> Option<(i64, i64)> {
    let (mut least, mut most) = (i64::MAX, NULL);
    for value in column {
        most = most.max(*value);
        least = least.min(if *value == NULL { i64::MAX } else { *value });
    }
    (most != NULL).then_some((least, most))
}

/// A least value and a number of bits for a range, with as much room again.
fn roomy(least: i64, most: i64) -> (i64, u32) {
    let values = (i128::from(most) - i128::from(least) + 1).unsigned_abs();
    // One more for null.
    let bits = (128 - values.leading_zeros() + 1).min(64);
    let room = (1_u128 << bits) - 1 - values;
    let below = i64::try_from(room / 2).unwrap_or(i64::MAX);
    (least.saturating_sub(below).max(NULL + 1), bits)
}
