//! Finished tables until they are published: in memory, or in a scratch file where there is little
//! room.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::error::Error;
use crate::spill::{Extent, Room, SpillFile};
use crate::table::{ColumnSpec, Table};

/// A finished table.
#[derive(Debug)]
pub struct Finished(Place);

#[derive(Debug)]
enum Place {
    Memory(Table),
    Scratch(Written),
}

#[derive(Debug)]
struct Written {
    name: String,
    specs: Vec<ColumnSpec>,
    schema: SchemaRef,
    rows: usize,
    extent: Extent,
    file: Arc<SpillFile>,
}

impl From<Table> for Finished {
    fn from(table: Table) -> Self {
        Self(Place::Memory(table))
    }
}

impl Finished {
    /// Writes a table to the room's scratch file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(table: Table, room: &Room) -> Result<Self, Error> {
        let file = room.file()?;
        let (rows, extent) = (table.rows(), file.write(&table.batches)?);
        let Table { name, specs, schema, .. } = table;
        Ok(Self(Place::Scratch(Written { name, specs, schema, rows, extent, file })))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            Place::Memory(table) => &table.name,
            Place::Scratch(table) => &table.name,
        }
    }

    /// Its rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match &self.0 {
            Place::Memory(table) => table.rows() as u64,
            Place::Scratch(table) => table.rows as u64,
        }
    }

    /// The table.
    ///
    /// # Errors
    /// It cannot be read back.
    pub fn table(&self) -> Result<Cow<'_, Table>, Error> {
        let written = match &self.0 {
            Place::Memory(table) => return Ok(Cow::Borrowed(table)),
            Place::Scratch(written) => written,
        };
        let batches = written.file.read(written.extent)?;
        let (name, specs) = (written.name.clone(), written.specs.clone());
        let schema = written.schema.clone();
        Ok(Cow::Owned(Table { name, specs, schema, batches }))
    }
}
