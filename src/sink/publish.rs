//! Publishing: a hidden folder is filled, flushed, renamed, and then pointed to.
//!
//! What is left behind by a death at any point: before the rename a hidden folder, which the next
//! run removes; after it a whole run that nobody points to yet, which the next run on the same
//! input finds equal to its own and points to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::file::{DurableFile, Written, measure, sync_folder};
use super::finished::read_manifest;
use super::lock::Lock;
use super::manifest::{Account, FileEntry, MANIFEST_FILE, MANIFEST_VERSION, Manifest, TableEntry};
use super::paths::{RUNS, inside};
use super::pointers::{self, NewPointers};
use super::retention::{self, STAGING};
use super::writer::{self, Heading};
use crate::config::Format;
use crate::error::Error;
use crate::table::Table;
use crate::time::{Instant, instant_text};

/// An output folder held by this process until dropped.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
    _lock: Lock,
}

/// What every file of a run carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The run's name, from [`super::RunIdentity::run_id`].
    pub run_id: String,
    /// The run's instant.
    pub as_of: Instant,
    /// Hash of the configuration.
    pub config_hash: String,
}

/// What publishing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The run's folder.
    pub folder: PathBuf,
    /// Its name, with a number behind it where other tables of that name existed.
    pub run_id: String,
    /// Whether anything new was written.
    pub novelty: Novelty,
    /// What could not be tidied up, in sentences; the run itself is published.
    pub leftovers: Vec<String>,
}

/// Whether publishing wrote anything new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// A new run folder.
    New,
    /// The same tables were there already; their folder was kept as it was.
    AlreadyThere,
}

impl Output {
    /// Takes an output folder for this process, creating it where it is missing, and tidies up
    /// after runs that died. `started_at` is text for the message of a run that comes second.
    ///
    /// # Errors
    /// Another run holds it; it cannot be created or written.
    pub fn claim(folder: &Path, started_at: &str) -> Result<Self, Error> {
        create_folder(folder)?;
        let lock = Lock::take(folder, started_at)?;
        create_folder(&folder.join(RUNS))?;
        for leftover in retention::remove_leftovers(folder) {
            tracing::warn!("{leftover}");
        }
        pointers::repair(folder)?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// Opens a hidden folder for a run's files. Dropping it without publishing removes it.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn stage(&self, stamp: Stamp) -> Result<Staging<'_>, Error> {
        let name = format!("{STAGING}{}-{}", stamp.run_id, std::process::id());
        let path = self.folder.join(RUNS).join(name);
        fs::create_dir(&path).map_err(|e| Error::output("create the folder", &path, e))?;
        let scratch = Scratch { path: Some(path) };
        Ok(Staging {
            output: self,
            stamp,
            scratch,
            tables: BTreeMap::new(),
            files: BTreeMap::new(),
        })
    }
}

fn create_folder(folder: &Path) -> Result<(), Error> {
    let failed = |e: io::Error| Error::output("create the folder", folder, e);
    if folder.exists() && !folder.is_dir() {
        return Err(failed(io::Error::new(
            io::ErrorKind::NotADirectory,
            "there is something else of that name",
        )));
    }
    fs::create_dir_all(folder).map_err(failed)
}

/// A folder that is removed unless it is kept.
#[derive(Debug)]
struct Scratch {
    path: Option<PathBuf>,
}

impl Scratch {
    fn keep(&mut self) {
        self.path = None;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        if let Err(problem) = fs::remove_dir_all(path) {
            let folder = path.display();
            tracing::warn!(%folder, %problem, "left behind; the next run will remove it");
        }
    }
}

/// A run being written.
#[derive(Debug)]
pub struct Staging<'a> {
    output: &'a Output,
    stamp: Stamp,
    scratch: Scratch,
    tables: BTreeMap<String, TableEntry>,
    files: BTreeMap<String, FileEntry>,
}

impl Staging<'_> {
    /// Writes a table and returns its entry in the manifest.
    ///
    /// # Errors
    /// The file cannot be written; a bug of ours: the table was written before.
    pub fn write_table(&mut self, table: &Table, format: Format) -> Result<&TableEntry, Error> {
        let (specs, schema) = (table.specs.as_slice(), table.schema.clone());
        let heading = Heading { name: &table.name, specs, schema };
        self.write_rows(&heading, table.batches.iter().cloned().map(Ok), format)
    }

    /// Writes a table whose rows come in order, in batches of any length, one at a time.
    ///
    /// # Errors
    /// As [`Staging::write_table`]; what the batches fail with.
    pub fn write_rows(
        &mut self,
        table: &Heading<'_>,
        batches: impl IntoIterator<Item = Result<RecordBatch, Error>>,
        format: Format,
    ) -> Result<&TableEntry, Error> {
        let relative = format!("{}.{}", table.name, writer::extension(format));
        let pairs = self.pairs();
        // An error of the rows is not one of the file.
        let mut unread = None;
        let readable = batches.into_iter().map_while(|batch| match batch {
            Ok(batch) => Some(batch),
            Err(error) => {
                unread = Some(error);
                None
            }
        });
        let (written, rows) =
            self.write(&relative, |out| writer::write_rows(table, readable, format, &pairs, out))?;
        if let Some(error) = unread {
            return Err(error);
        }
        let entry = TableEntry {
            name: table.name.to_owned(),
            path: relative,
            format,
            rows,
            bytes: written.bytes,
            digest: written.digest,
            columns: writer::column_entries(table),
        };
        Ok(self.tables.entry(table.name.to_owned()).insert_entry(entry).into_mut())
    }

    /// Writes batches of one schema as a Parquet file at a path within the run, such as
    /// `quarantine/deal_events.parquet`. Batches are taken one at a time.
    ///
    /// # Errors
    /// The file cannot be written; a bug of ours: the path leads outside or was written before.
    pub fn write_batches(
        &mut self,
        relative: &str,
        schema: SchemaRef,
        batches: impl IntoIterator<Item = RecordBatch>,
    ) -> Result<&FileEntry, Error> {
        let pairs = self.pairs();
        let (written, rows) =
            self.write(relative, |out| writer::write_batches(schema, batches, &pairs, out))?;
        let path = relative.to_owned();
        let entry =
            FileEntry { path: path.clone(), rows, bytes: written.bytes, digest: written.digest };
        Ok(self.files.entry(path).insert_entry(entry).into_mut())
    }

    /// Publishes everything written, and then removes runs beyond the newest `keep_runs`.
    ///
    /// Definition: where a run of this name holds the very same files, that run is pointed to and
    /// nothing new is written; where it holds others, this one is named with `-2` and so on.
    ///
    /// # Errors
    /// Something cannot be written, flushed or renamed. The run published before then still is.
    pub fn publish(mut self, account: Account, keep_runs: usize) -> Result<Published, Error> {
        let folder = self.output.folder.clone();
        let (run_id, novelty) = self.free_name(&folder.join(RUNS));
        let target = folder.join(RUNS).join(&run_id);
        if novelty == Novelty::New {
            self.settle(&run_id, account, &target)?;
        }
        let swapped = NewPointers::prepare(&folder, &run_id).and_then(NewPointers::swap);
        if novelty == Novelty::New && (swapped.is_ok() || may_be_published(&folder, &run_id)) {
            self.scratch.keep();
        }
        swapped?;
        let mut leftovers = retention::remove_old_runs(&folder, keep_runs, &run_id);
        if novelty == Novelty::AlreadyThere {
            drop(self);
            leftovers.extend(retention::remove_leftovers(&folder));
        }
        Ok(Published { folder: target, run_id, novelty, leftovers })
    }

    /// Completes the hidden folder and gives it its final name.
    fn settle(&mut self, run_id: &str, account: Account, target: &Path) -> Result<(), Error> {
        let staged = self.staged()?.to_owned();
        self.write_manifest(run_id, account)?;
        let parents: BTreeSet<PathBuf> =
            self.files.keys().filter_map(|f| Some(staged.join(f).parent()?.to_owned())).collect();
        for folder in parents.iter().chain([&staged]) {
            sync_folder(folder).map_err(|e| Error::output("flush", folder, e))?;
        }
        fs::rename(&staged, target).map_err(|e| Error::output("rename", &staged, e))?;
        self.scratch.path = Some(target.to_owned());
        let runs = self.output.folder.join(RUNS);
        sync_folder(&runs).map_err(|e| Error::output("flush", &runs, e))
    }

    fn write_manifest(&mut self, run_id: &str, account: Account) -> Result<(), Error> {
        let manifest = Manifest {
            manifest_version: MANIFEST_VERSION,
            run_id: run_id.to_owned(),
            as_of: instant_text(self.stamp.as_of),
            dealmill_version: env!("CARGO_PKG_VERSION").to_owned(),
            config_hash: self.stamp.config_hash.clone(),
            tables: self.tables.values().cloned().collect(),
            files: self.files.values().cloned().collect(),
            account,
        };
        self.write(MANIFEST_FILE, |mut out| {
            serde_json::to_writer_pretty(&mut out, &manifest)?;
            out.write_all(b"\n")?;
            Ok((out, ()))
        })?;
        Ok(())
    }

    /// Creates a file, lets it be filled, and flushes it.
    fn write<T>(
        &self,
        relative: &str,
        fill: impl FnOnce(DurableFile) -> Result<(DurableFile, T), writer::Failure>,
    ) -> Result<(Written, T), Error> {
        let path = inside(self.staged()?, relative)?;
        let failed = |e: writer::Failure| Error::output("write", &path, e);
        if let Some(parent) = path.parent() {
            create_folder(parent)?;
        }
        let file = DurableFile::create(&path).map_err(|e| failed(e.into()))?;
        let (file, more) = fill(file).map_err(failed)?;
        let written = file.finish().map_err(|e| failed(e.into()))?;
        Ok((written, more))
    }

    fn staged(&self) -> Result<&Path, Error> {
        let gone = || Error::Bug("the staging folder was given away already".into());
        self.scratch.path.as_deref().ok_or_else(gone)
    }

    fn pairs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("dealmill.run_id", self.stamp.run_id.clone()),
            ("dealmill.as_of", instant_text(self.stamp.as_of)),
            ("dealmill.config_hash", self.stamp.config_hash.clone()),
        ]
    }

    /// The name to publish under, and whether a run of that name holds the same files already.
    fn free_name(&self, runs: &Path) -> (String, Novelty) {
        let mut name = self.stamp.run_id.clone();
        let mut n = 2_u32;
        while fs::symlink_metadata(runs.join(&name)).is_ok() {
            if self.equals(&runs.join(&name)) {
                return (name, Novelty::AlreadyThere);
            }
            name = format!("{}-{n}", self.stamp.run_id);
            n += 1;
        }
        (name, Novelty::New)
    }

    /// Whether a finished run holds the very files that were staged, by its manifest and, since a
    /// disk may have changed them since, by their digests now.
    fn equals(&self, run: &Path) -> bool {
        let Ok(theirs) = read_manifest(run) else { return false };
        let ours = digests(self.tables.values(), self.files.values());
        let listed = digests(theirs.tables.iter(), theirs.files.iter());
        let intact = |(path, digest): (&&str, &&str)| {
            inside(run, path)
                .is_ok_and(|path| measure(&path).is_ok_and(|found| found.digest == **digest))
        };
        ours == listed && listed.iter().all(intact)
    }
}

/// Whether the pointers lead to a run, or cannot be read: after a failed rename only the disk knows
/// what is published, and what may be published is not removed.
fn may_be_published(folder: &Path, run_id: &str) -> bool {
    pointers::current(folder).map_or(true, |run| run.as_deref() == Some(run_id))
}

fn digests<'a>(
    tables: impl Iterator<Item = &'a TableEntry>,
    files: impl Iterator<Item = &'a FileEntry>,
) -> BTreeMap<&'a str, &'a str> {
    let tables = tables.map(|t| (t.path.as_str(), t.digest.as_str()));
    tables.chain(files.map(|f| (f.path.as_str(), f.digest.as_str()))).collect()
}
