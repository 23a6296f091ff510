//! Where scratch files lie, and why none is ever left behind.
//!
//! A scratch file has no name: it is made as one that the file system forgets as soon as the process
//! that holds it ends, whether it ends well, with an error, a panic, a signal or a lost machine. So
//! there is no folder of ours to remove and no file of a dead run to look for, and nobody else can
//! open it. (Where a file system cannot make a file without a name, its name is taken away at once.)

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The folder in which scratch files are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// Scratch files in this folder.
    #[must_use]
    pub fn within(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Scratch files beside the output, in the nearest folder above it that exists: there is a disk,
    /// while the system's folder for temporary files often is memory itself.
    #[must_use]
    pub fn beside(output: &Path) -> Self {
        let exists = |folder: &&Path| !folder.as_os_str().is_empty() && folder.is_dir();
        let folder = output.ancestors().find(exists).unwrap_or(Path::new("."));
        Self::within(folder)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new file without a name, for reading and writing.
    ///
    /// # Errors
    /// No file can be made in the folder, such as because there is no such folder.
    pub fn file(&self) -> Result<File, Error> {
        tempfile::tempfile_in(&self.folder)
            .map_err(|e| Error::output("make a scratch file in", &self.folder, e))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_scratch_file_is_not_to_be_seen() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::within(folder.path());
        let _open = scratch.file().unwrap();
        assert_eq!(fs::read_dir(scratch.folder()).unwrap().count(), 0);
    }

    #[test]
    fn scratch_lies_in_the_nearest_folder_that_exists() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::beside(&folder.path().join("out/of/nothing"));
        assert_eq!(scratch.folder(), folder.path());
        assert_eq!(Scratch::beside(Path::new("no-such-folder")).folder(), Path::new("."));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("mistyped");
        let error = Scratch::within(&missing).file().unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains("mistyped"), "{error}");
        assert!(!missing.exists());
    }
}
