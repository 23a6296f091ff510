//! Reads a finished run back: its manifest and the paths of its tables.

use std::path::{Path, PathBuf};

use super::manifest::{MANIFEST_FILE, MANIFEST_VERSION, Manifest, TableEntry};
use super::paths::{RUNS, inside};
use super::pointers;
use crate::error::{Error, nearest_names};

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedRun {
    /// Its folder.
    pub folder: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
}

impl FinishedRun {
    /// A table's entry, if the run made that table.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&TableEntry> {
        self.manifest.tables.iter().find(|table| table.name == name)
    }

    /// A table's entry.
    ///
    /// # Errors
    /// The run did not make that table; the nearest names are given, or why it was skipped.
    pub fn expect_table(&self, name: &str) -> Result<&TableEntry, Error> {
        if let Some(skipped) = self.manifest.account.skipped_tables.iter().find(|t| t.name == name)
        {
            return Err(Error::TableNotMade {
                table: name.to_owned(),
                run: self.manifest.run_id.clone(),
                hint: format!("it was skipped: {}", skipped.reason),
            });
        }
        self.table(name).ok_or_else(|| Error::UnknownName {
            what: "table",
            name: name.to_owned(),
            nearest: nearest_names(name, self.manifest.tables.iter().map(|t| t.name.as_str())),
        })
    }

    /// Where a table's file lies.
    ///
    /// # Errors
    /// The manifest names a path outside the run's folder.
    pub fn path(&self, table: &TableEntry) -> Result<PathBuf, Error> {
        inside(&self.folder, &table.path)
    }
}

/// Opens the latest run of an output folder, or the run whose own folder is given.
///
/// # Errors
/// There is no finished run; its manifest cannot be read or is of a later version.
pub fn open_latest(from: &Path) -> Result<FinishedRun, Error> {
    let folder = if from.join(MANIFEST_FILE).is_file() {
        from.to_owned()
    } else {
        let run = pointers::current(from)?.ok_or_else(|| Error::NoRun { path: from.into() })?;
        from.join(RUNS).join(run)
    };
    let manifest = read_manifest(&folder)?;
    Ok(FinishedRun { folder, manifest })
}

/// Reads the manifest in a run's folder.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest, Error> {
    #[derive(serde::Deserialize)]
    struct Version {
        manifest_version: u32,
    }
    let path = folder.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&path).map_err(|e| Error::output("read", &path, e))?;
    let failed = |e: serde_json::Error| Error::output("understand", &path, e);
    let version: Version = serde_json::from_str(&text).map_err(failed)?;
    if version.manifest_version > MANIFEST_VERSION {
        let reason = format!(
            "it has version {}, and this program knows versions up to {MANIFEST_VERSION}",
            version.manifest_version
        );
        return Err(Error::output("understand", &path, reason));
    }
    serde_json::from_str(&text).map_err(failed)
}
