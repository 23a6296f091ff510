//! Groups written to a scratch file as they are, in no order, to be added again at the end.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::UInt64Type;

use super::super::super::merge::Merge;
use super::{Field, Groups};
use crate::error::Error;
use crate::spill::{Extent, SpillFile};

/// Groups written at a time: large enough to be packed well, small beside any limit.
const GROUPS_A_BLOCK: usize = 1 << 15;

/// The groups of one table at one time.
#[derive(Debug)]
pub(in super::super) struct Run {
    fields: Vec<Field>,
    words: usize,
    merges: Vec<Merge>,
    blocks: Vec<Extent>,
}

impl Groups {
    /// Writes all groups and begins anew, with the layout that has been learned.
    ///
    /// # Errors
    /// They cannot be written.
    pub(in super::super) fn write(&mut self, file: &SpillFile) -> Result<Run, Error> {
        let mut blocks = Vec::new();
        let mut groups = self.groups().peekable();
        while groups.peek().is_some() {
            let words = groups.by_ref().take(GROUPS_A_BLOCK).flatten().copied();
            let words: ArrayRef = Arc::new(UInt64Array::from_iter_values(words));
            let batch = RecordBatch::try_from_iter([("groups", words)])
                .map_err(|e| Error::compute("a block of scratch data", e))?;
            blocks.push(file.write(&[batch])?);
        }
        drop(groups);
        (self.slots, self.len) = (Vec::new(), 0);
        let (fields, merges) = (self.fields.clone(), self.merges.clone());
        Ok(Run { fields, words: self.words, merges, blocks })
    }
}

impl Run {
    /// The groups again, a block at a time.
    pub(in super::super) fn read<'a>(
        &'a self,
        file: &'a SpillFile,
    ) -> impl Iterator<Item = Result<Groups, Error>> + 'a {
        self.blocks.iter().map(|block| {
            let mut slots = Vec::new();
            for batch in file.read(*block)? {
                let words =
                    batch.columns().first().and_then(|c| c.as_primitive_opt::<UInt64Type>());
                let words =
                    words.ok_or_else(|| Error::Bug("scratch data that are no groups".into()))?;
                slots.extend_from_slice(words.values());
            }
            let width = self.words + self.merges.len();
            Ok(Groups {
                fields: self.fields.clone(),
                words: self.words,
                merges: self.merges.clone(),
                len: slots.len() / width,
                slots,
                packed: Vec::new(),
                places: Vec::new(),
            })
        })
    }
}
