//! Groups written to a scratch file as a run of sorted rows.

use super::Groups;
use crate::engine::runs::{BLOCK_ROWS, Layout, Run};
use crate::error::Error;
use crate::spill::SpillFile;

impl Groups {
    /// Writes all groups and begins anew, with the bounds that have been learned.
    ///
    /// # Errors
    /// They cannot be written.
    pub(in super::super) fn write(
        &mut self,
        layout: &Layout,
        file: &SpillFile,
    ) -> Result<Run, Error> {
        let mut run = Run::default();
        // A few at a time, because there is no room for all of them once more.
        for some in self.order().chunks(BLOCK_ROWS) {
            let (keys, values) = self.columns(some);
            run.push(&layout.rows(keys, values), file)?;
        }
        (self.slots, self.len) = (Vec::new(), 0);
        Ok(run)
    }
}
