//! What is read in one go: neighbouring units of one input, small ones together, and where in the
//! files their rows are.

use std::path::PathBuf;

use super::read::Unit;
use super::{DealInput, DealSource};

/// Neighbouring units of one input that are read one after the other.
pub(super) struct Task<'a> {
    pub(super) input: &'a DealInput,
    pub(super) units: Vec<Unit>,
}

/// Units are read together up to so many rows and files, so that ten thousand small files are a few
/// hundred tasks.
const TASK_ROWS: u64 = 1 << 16;
const TASK_UNITS: usize = 32;

impl Task<'_> {
    /// Whether a unit may be read with these. The rows of a file without a footer are not known
    /// beforehand, so such a file is a task of its own, in which every row has its number.
    fn takes(&self, unit: &Unit) -> bool {
        let rows: u64 = self.units.iter().map(|u| u.rows).sum();
        unit.row_group.is_some()
            && self.units.iter().all(|u| u.row_group.is_some())
            && self.units.len() < TASK_UNITS
            && rows + unit.rows <= TASK_ROWS
    }

    /// The unit of a row of the task, and the row's position in its file.
    fn locate(&self, row: u32) -> Option<(&Unit, u64)> {
        let mut row = u64::from(row);
        for unit in &self.units {
            if row < unit.rows || self.units.len() == 1 {
                return Some((unit, unit.first_row + row));
            }
            row -= unit.rows;
        }
        None
    }
}

impl DealSource {
    /// Input, file and row in the file of rows given by the unit's number and the event's row.
    #[must_use]
    pub fn locate(&self, rows: &[(usize, u32)]) -> Vec<(String, PathBuf, u64)> {
        if rows.is_empty() {
            return Vec::new();
        }
        let tasks = self.tasks();
        rows.iter()
            .filter_map(|(number, row)| {
                let task = tasks.get(*number)?;
                let (unit, row) = task.locate(*row)?;
                let checked = &task.input.checked;
                Some((checked.name.clone(), checked.path(unit).to_path_buf(), row))
            })
            .collect()
    }

    /// Every unit of every input, in order of inputs, files and rows, small neighbours together.
    pub(super) fn tasks(&self) -> Vec<Task<'_>> {
        let mut tasks: Vec<Task<'_>> = Vec::new();
        for input in &self.inputs {
            for unit in input.checked.units() {
                match tasks.last_mut() {
                    Some(task) if std::ptr::eq(task.input, input) && task.takes(&unit) => {
                        task.units.push(unit);
                    }
                    _ => tasks.push(Task { input, units: vec![unit] }),
                }
            }
        }
        tasks
    }
}
