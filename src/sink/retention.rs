//! Removes what nobody needs any more: runs beyond the number to keep, and what dead runs left.
//!
//! Only under the lock, only folders whose names are ours, never through a link, never the run that
//! `latest` points to. A folder is renamed out of sight first, so that no reader lists half a run.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::manifest::MANIFEST_FILE;
use super::paths::{RUNS, is_run_id};

/// Begins the name of a folder that a run is filling.
pub(super) const STAGING: &str = ".staging-";
/// Begins the name of a folder that is being removed.
const REMOVING: &str = ".removing-";

/// Removes the folders of dead runs and returns, in sentences, what could not be removed.
pub(super) fn remove_leftovers(folder: &Path) -> Vec<String> {
    names(&folder.join(RUNS))
        .into_iter()
        .filter(|name| name.starts_with(STAGING) || name.starts_with(REMOVING))
        .filter_map(|name| complaint(&folder.join(RUNS).join(name)))
        .collect()
}

/// Removes runs beyond the newest `keep` and returns, in sentences, what could not be removed.
///
/// Definition: newest by when the manifest was written. `current` is always kept and counts.
pub(super) fn remove_old_runs(folder: &Path, keep: usize, current: &str) -> Vec<String> {
    let runs = folder.join(RUNS);
    let mut others: Vec<(SystemTime, String)> = names(&runs)
        .into_iter()
        .filter(|name| is_run_id(name) && name != current)
        .filter_map(|name| Some((finished_at(&runs.join(&name))?, name)))
        .collect();
    others.sort_by_key(|run| Reverse(run.clone()));
    others
        .into_iter()
        .skip(keep.saturating_sub(1))
        .filter_map(|(_, name)| {
            let doomed = runs.join(format!("{REMOVING}{name}"));
            match fs::rename(runs.join(&name), &doomed) {
                Ok(()) => complaint(&doomed),
                Err(e) => Some(format!("the old run {name} could not be removed: {e}")),
            }
        })
        .collect()
}

/// When a run was finished; nothing where the folder is not a finished run of ours.
fn finished_at(run: &Path) -> Option<SystemTime> {
    let is_folder = fs::symlink_metadata(run).ok()?.is_dir();
    let manifest = fs::symlink_metadata(run.join(MANIFEST_FILE)).ok()?;
    (is_folder && manifest.is_file()).then(|| manifest.modified().ok())?
}

fn names(runs: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(runs) else { return Vec::new() };
    entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()
}

fn complaint(path: &PathBuf) -> Option<String> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Some(format!("{} could not be removed: {e}", path.display()))
        }
        _ => None,
    }
}
