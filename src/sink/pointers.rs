//! The two pointers to the latest run: the link `latest` and, for readers without links,
//! `latest.json`. Each is replaced by renaming a finished file over it.
//!
//! Where both exist the link decides; the next run that takes the lock makes the other agree. A
//! file system without links has `latest.json` alone.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::{DurableFile, sync_folder};
use super::paths::RUNS;
use crate::error::Error;

const LINK: &str = "latest";
const LINK_NEW: &str = ".latest.new";
const JSON: &str = "latest.json";
const JSON_NEW: &str = ".latest.json.new";

#[derive(Debug, Serialize, Deserialize)]
struct Pointer {
    run_id: String,
    path: String,
}

/// The name of the run that the pointers lead to, if there is one whose folder exists.
///
/// # Errors
/// A pointer is there but cannot be read, so that nobody can say what is published.
pub(super) fn current(folder: &Path) -> Result<Option<String>, Error> {
    let name = match linked(folder)? {
        Some(name) => Some(name),
        None => written(folder)?,
    };
    Ok(name.filter(|name| folder.join(RUNS).join(name).is_dir()))
}

fn linked(folder: &Path) -> Result<Option<String>, Error> {
    let path = folder.join(LINK);
    match fs::read_link(&path) {
        Ok(target) => Ok(target.file_name().map(|name| name.to_string_lossy().into_owned())),
        // InvalidInput: there is something, but it is no link.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            Ok(None)
        }
        Err(e) => Err(Error::output("read", path, e)),
    }
}

fn written(folder: &Path) -> Result<Option<String>, Error> {
    let path = folder.join(JSON);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::output("read", path, e)),
    };
    let pointer: Pointer =
        serde_json::from_str(&text).map_err(|e| Error::output("understand", path, e))?;
    let plain = !pointer.run_id.contains(['/', '\\']) && !pointer.run_id.starts_with('.');
    Ok(plain.then_some(pointer.run_id))
}

/// New pointers, finished and flushed beside the old ones, waiting to replace them.
#[derive(Debug)]
pub(super) struct NewPointers {
    folder: PathBuf,
    has_link: bool,
}

impl NewPointers {
    /// Prepares pointers to a run. Everything that needs space on the disk happens here, so that a
    /// full disk is noticed before anything is replaced.
    ///
    /// # Errors
    /// The pointer file cannot be written.
    pub(super) fn prepare(folder: &Path, run: &str) -> Result<Self, Error> {
        clear(folder)?;
        let path = folder.join(JSON_NEW);
        let pointer = Pointer { run_id: run.to_owned(), path: format!("{RUNS}/{run}") };
        let mut text = serde_json::to_string_pretty(&pointer)
            .map_err(|e| Error::Bug(format!("the pointer does not serialise: {e}")))?;
        text.push('\n');
        DurableFile::create(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.finish()))
            .map_err(|e| Error::output("write", &path, e))?;
        let has_link = link(&format!("{RUNS}/{run}"), &folder.join(LINK_NEW))?;
        Ok(Self { folder: folder.to_owned(), has_link })
    }

    /// Replaces the old pointers, the link first: that is the moment of publishing.
    ///
    /// # Errors
    /// A rename fails. Whether the run is published then is for [`current`] to say.
    pub(super) fn swap(self) -> Result<(), Error> {
        let rename = |from: &str, to: &str| {
            let path = self.folder.join(to);
            fs::rename(self.folder.join(from), &path).map_err(|e| Error::output("replace", path, e))
        };
        if self.has_link {
            rename(LINK_NEW, LINK)?;
        }
        rename(JSON_NEW, JSON)?;
        sync_folder(&self.folder).map_err(|e| Error::output("flush", &self.folder, e))
    }
}

/// Removes pointers that a dead run had prepared.
pub(super) fn clear(folder: &Path) -> Result<(), Error> {
    for name in [LINK_NEW, JSON_NEW] {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::output("remove", path, e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes `latest.json` agree with the link, where a run died between the two renames.
pub(super) fn repair(folder: &Path) -> Result<(), Error> {
    clear(folder)?;
    match (current(folder)?, linked(folder)?) {
        (Some(run), Some(_)) if written(folder).ok().flatten().as_ref() != Some(&run) => {
            NewPointers::prepare(folder, &run)?.swap()
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn link(target: &str, path: &Path) -> Result<bool, Error> {
    match std::os::unix::fs::symlink(target, path) {
        Ok(()) => Ok(true),
        Err(e)
            if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            tracing::warn!("this file system has no links: only latest.json points to the run");
            Ok(false)
        }
        Err(e) => Err(Error::output("write", path, e)),
    }
}

#[cfg(not(unix))]
fn link(_target: &str, _path: &Path) -> Result<bool, Error> {
    Ok(false)
}
