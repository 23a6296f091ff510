//! A file that is flushed to the disk before it counts, and whose digest is taken on the way.
//!
//! It never overwrites: it is created new, inside a staging folder, under a checked relative path.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// Length and digest of a written file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// Length.
    pub(super) bytes: u64,
    /// BLAKE3, in hexadecimal.
    pub(super) digest: String,
}

/// A new file being written.
pub(super) struct DurableFile {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl DurableFile {
    /// Creates a file that must not exist yet.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let file = BufWriter::with_capacity(1 << 18, file);
        Ok(Self { file, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// Flushes everything down to the disk.
    pub(super) fn finish(self) -> io::Result<Written> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(Written { bytes: self.bytes, digest: self.hasher.finalize().to_hex().to_string() })
    }
}

impl Write for DurableFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = self.file.write(data)?;
        self.hasher.update(data.get(..n).unwrap_or(data));
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Length and digest of a file as it lies on the disk.
pub(super) fn measure(path: &Path) -> io::Result<Written> {
    let mut hasher = blake3::Hasher::new();
    let bytes = io::copy(&mut File::open(path)?.take(u64::MAX), &mut hasher)?;
    Ok(Written { bytes, digest: hasher.finalize().to_hex().to_string() })
}

/// Makes the names in a folder durable. File systems that cannot flush a folder are let pass,
/// because they offer nothing better.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(path).and_then(|folder| folder.sync_all()) {
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        other => other,
    }
}
