//! One run at a time on one output folder: an advisory lock of the operating system.
//!
//! The lock is held by the open file, so it ends with the process however the process ends; there
//! is no stale lock to clean up. The text inside is for the message of the run that comes second.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::Error;

/// Name of the lock file in the output folder.
pub(super) const LOCK_FILE: &str = ".lock";

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of an output folder, or says who holds it.
    ///
    /// # Errors
    /// Another run holds it; the lock file cannot be opened or written.
    pub(super) fn take(folder: &Path, started_at: &str) -> Result<Self, Error> {
        let path = folder.join(LOCK_FILE);
        let failed = |action, source: std::io::Error| Error::output(action, &path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| failed("open", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { path: folder.into(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(e)) => return Err(failed("lock", e)),
        }
        let text = format!("process {} on {} since {started_at}\n", std::process::id(), host());
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(text.as_bytes()))
            .map_err(|e| failed("write", e))?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An empty lock file tells a person who looks inside that nobody holds it. The lock would go
        // with the file, but a child process being started just now still has the file open.
        if let Err(problem) = self.file.set_len(0).and_then(|()| self.file.unlock()) {
            tracing::debug!(%problem, "the lock file could not be emptied and unlocked");
        }
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = Read::by_ref(file).take(1_000).read_to_string(&mut text);
    match text.trim() {
        holder if read.is_ok() && !holder.is_empty() => holder.to_owned(),
        _ => "a process that has not given its name yet".to_owned(),
    }
}

fn host() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "an unknown host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_lock_is_refused_and_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), "2025-01-01T00:00:00Z").unwrap();
        let error = Lock::take(folder.path(), "2025-01-01T00:00:05Z").unwrap_err();
        assert_eq!(error.exit_code(), 6);
        let text = error.to_string();
        assert!(text.contains(&format!("process {} on ", std::process::id())), "{text}");
        assert!(text.ends_with("since 2025-01-01T00:00:00Z"), "{text}");
        drop(first);
        Lock::take(folder.path(), "2025-01-01T00:00:09Z").unwrap();
    }

    #[test]
    fn a_file_left_by_a_dead_run_does_not_hold_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(LOCK_FILE), "process 1 on x since y\n").unwrap();
        Lock::take(folder.path(), "now").unwrap();
    }
}
