//! Finished tables until they are published: in memory, or in a scratch file where there is little
//! room.

use std::borrow::Cow;
use std::sync::Arc;

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
        let Table { name, specs, batch } = table;
        let (rows, extent) = (batch.num_rows(), file.write(&[batch])?);
        Ok(Self(Place::Scratch(Written { name, specs, rows, extent, file })))
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
            Place::Memory(table) => table.batch.num_rows() as u64,
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
        let batch = written.file.read(written.extent)?.into_iter().next();
        let batch = batch.ok_or_else(|| Error::Bug("a table that was not written".into()))?;
        let (name, specs) = (written.name.clone(), written.specs.clone());
        Ok(Cow::Owned(Table { name, specs, batch }))
    }
}
