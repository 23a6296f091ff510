//! Finished tables until they are published: in memory, or in a scratch file where there is little
//! room.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Error;
use crate::spill::{Extent, SpillFile};
use crate::table::{ColumnSpec, Table};

/// A finished table.
#[derive(Debug)]
pub struct Finished(Place);

#[derive(Debug)]
enum Place {
    Memory(Table),
    Scratch(Written),
}

/// A table in a scratch file, block by block.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) specs: Vec<ColumnSpec>,
    pub(super) schema: SchemaRef,
    pub(super) rows: u64,
    pub(super) blocks: Vec<Extent>,
    pub(super) file: Arc<SpillFile>,
}

impl From<Table> for Finished {
    fn from(table: Table) -> Self {
        Self(Place::Memory(table))
    }
}

impl From<Written> for Finished {
    fn from(table: Written) -> Self {
        Self(Place::Scratch(table))
    }
}

impl Finished {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            Place::Memory(table) => &table.name,
            Place::Scratch(table) => &table.name,
        }
    }

    /// Its columns.
    #[must_use]
    pub fn specs(&self) -> &[ColumnSpec] {
        match &self.0 {
            Place::Memory(table) => &table.specs,
            Place::Scratch(table) => &table.specs,
        }
    }

    /// Its columns in Arrow's terms.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        match &self.0 {
            Place::Memory(table) => table.schema.clone(),
            Place::Scratch(table) => table.schema.clone(),
        }
    }

    /// Its rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match &self.0 {
            Place::Memory(table) => table.rows() as u64,
            Place::Scratch(table) => table.rows,
        }
    }

    /// Its rows in order, some at a time.
    pub fn blocks(&self) -> Box<dyn Iterator<Item = Result<RecordBatch, Error>> + '_> {
        match &self.0 {
            Place::Memory(table) => Box::new(table.batches.iter().cloned().map(Ok)),
            Place::Scratch(table) => Box::new(table.blocks.iter().map(|block| {
                let block = table.file.read(*block)?.into_iter().next();
                block.ok_or_else(|| Error::Bug("a block of a table that was not written".into()))
            })),
        }
    }

    /// The table as a whole.
    ///
    /// # Errors
    /// It cannot be read back.
    pub fn table(&self) -> Result<Cow<'_, Table>, Error> {
        let written = match &self.0 {
            Place::Memory(table) => return Ok(Cow::Borrowed(table)),
            Place::Scratch(written) => written,
        };
        let batches = self.blocks().collect::<Result<Vec<RecordBatch>, Error>>()?;
        let (name, specs) = (written.name.clone(), written.specs.clone());
        Ok(Cow::Owned(Table { name, specs, schema: written.schema.clone(), batches }))
    }
}
