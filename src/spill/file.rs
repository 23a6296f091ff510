//! A scratch file of columns: blocks of Arrow IPC, compressed with LZ4, written once from any thread
//! and read back in any order.
//!
//! Measured on blocks of 16 thousand rows of narrow random columns, a core: LZ4 packs 725 MB/s and
//! unpacks 2,860 MB/s, ZSTD at level 1 packs 420 and unpacks 610 into a file 30 % smaller, Parquet
//! with LZ4 packs 470 and unpacks 750. A block is written once and read once, so LZ4 it is; wide
//! columns with many zero bytes are where it saves space.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::scratch::Scratch;
use crate::error::Error;

/// The place of a block in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    at: u64,
    bytes: u64,
}

/// A scratch file, gone when it is dropped.
#[derive(Debug)]
pub struct SpillFile {
    folder: PathBuf,
    file: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    end: u64,
}

impl SpillFile {
    /// A new, empty file.
    ///
    /// # Errors
    /// As [`Scratch::file`].
    pub fn create(scratch: &Scratch) -> Result<Self, Error> {
        let file = Mutex::new(Open { file: scratch.file()?, end: 0 });
        Ok(Self { folder: scratch.folder().to_owned(), file })
    }

    /// Appends one block of batches, which may differ in their columns.
    ///
    /// # Errors
    /// [`Error::Output`] naming the scratch folder, such as when its disk is full.
    pub fn write(&self, batches: &[RecordBatch]) -> Result<Extent, Error> {
        // Packing is what takes time, and is done before the file is taken.
        let packed = pack(batches).map_err(|e| Error::compute("a block of scratch data", e))?;
        let bytes = packed.len() as u64;
        let mut open = self.open();
        let at = open.end;
        let written =
            open.file.seek(SeekFrom::Start(at)).and_then(|_| open.file.write_all(&packed));
        written.map_err(|e| Error::output("write scratch data in", &self.folder, e))?;
        open.end += bytes;
        Ok(Extent { at, bytes })
    }

    /// The batches of a block.
    ///
    /// # Errors
    /// [`Error::Output`] naming the scratch folder where the block cannot be read back as written.
    pub fn read(&self, extent: Extent) -> Result<Vec<RecordBatch>, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::output("read back scratch data in", &self.folder, e)
        };
        let mut packed = Vec::new();
        let length = usize::try_from(extent.bytes).unwrap_or(usize::MAX);
        packed.try_reserve_exact(length).map_err(|e| failed(e.into()))?;
        packed.resize(length, 0);
        {
            let mut open = self.open();
            let read = open
                .file
                .seek(SeekFrom::Start(extent.at))
                .and_then(|_| open.file.read_exact(&mut packed));
            read.map_err(|e| failed(e.into()))?;
        }
        unpack(&packed).map_err(|e| failed(e.into()))
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.open().end
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each batch as a stream of its own, one after the other.
fn pack(batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let mut packed = Vec::new();
    for batch in batches {
        let options =
            IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let schema = batch.schema_ref();
        let mut writer = StreamWriter::try_new_with_options(&mut packed, schema, options)?;
        writer.write(batch)?;
        writer.finish()?;
    }
    Ok(packed)
}

fn unpack(packed: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut cursor = Cursor::new(packed);
    let mut batches = Vec::new();
    while cursor.position() < packed.len() as u64 {
        let mut reader = StreamReader::try_new(&mut cursor, None)?;
        while let Some(batch) = reader.next().transpose()? {
            batches.push(batch);
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, UInt8Array, UInt32Array};

    use super::*;

    fn batch(rows: u32, seed: u32) -> RecordBatch {
        let codes: ArrayRef =
            Arc::new((0..rows).map(|i| Some(i.wrapping_mul(seed) % 97)).collect::<UInt32Array>());
        let times: ArrayRef =
            Arc::new((0..rows).map(|i| i64::from(i) * i64::from(seed)).collect::<Int64Array>());
        RecordBatch::try_from_iter([("codes", codes), ("times", times)]).unwrap()
    }

    fn other(rows: usize) -> RecordBatch {
        let kinds: ArrayRef = Arc::new(UInt8Array::from(vec![3; rows]));
        RecordBatch::try_from_iter([("kinds", kinds)]).unwrap()
    }

    #[test]
    fn blocks_come_back_as_they_were_whatever_the_order_of_reading() {
        let folder = tempfile::tempdir().unwrap();
        let file = SpillFile::create(&Scratch::within(folder.path())).unwrap();
        let blocks: Vec<Vec<RecordBatch>> = vec![
            vec![batch(1000, 7), other(4)],
            vec![],
            vec![other(0)],
            vec![batch(1, 3), batch(50_000, 11)],
        ];
        let extents: Vec<Extent> = blocks.iter().map(|b| file.write(b).unwrap()).collect();
        for (extent, block) in extents.iter().zip(&blocks).rev() {
            assert_eq!(&file.read(*extent).unwrap(), block);
        }
    }

    #[test]
    fn a_slice_is_written_as_the_slice_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = SpillFile::create(&Scratch::within(folder.path())).unwrap();
        let whole = batch(100_000, 13);
        let slice = whole.slice(70_000, 10);
        let extent = file.write(std::slice::from_ref(&slice)).unwrap();
        assert!(file.bytes() < 2_000, "{} bytes for ten rows", file.bytes());
        assert_eq!(file.read(extent).unwrap(), vec![slice]);
    }

    #[test]
    fn many_threads_write_and_read_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = SpillFile::create(&Scratch::within(folder.path())).unwrap();
        std::thread::scope(|scope| {
            for seed in 1..9 {
                let file = &file;
                scope.spawn(move || {
                    for rows in 1..20 {
                        let written = batch(rows * 31, seed);
                        let extent = file.write(std::slice::from_ref(&written)).unwrap();
                        assert_eq!(file.read(extent).unwrap(), vec![written]);
                    }
                });
            }
        });
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_of_the_output_that_names_the_folder() {
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        let open = Mutex::new(Open { file: full, end: 0 });
        let file = SpillFile { folder: "some/scratch".into(), file: open };
        let error = file.write(&[other(10)]).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains("some/scratch"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("[run] scratch") && hint.contains("--memory-limit"), "{hint}");
    }

    #[test]
    fn a_block_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = SpillFile::create(&Scratch::within(folder.path())).unwrap();
        file.write(&[other(10)]).unwrap();
        let error = file.read(Extent { at: 8, bytes: 1 << 20 }).unwrap_err();
        assert_eq!(error.exit_code(), 5);
    }
}
