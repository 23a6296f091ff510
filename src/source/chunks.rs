//! The wanted bytes of a row group, read with one request where they lie together.
//!
//! Without it, every page costs a handful of system calls, which ten thousand small files feel.
//! Only the wanted columns' bytes are read, and only of row groups small enough to be held.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

/// Row groups whose wanted columns take more are read page by page.
pub(super) const HELD_BYTES_MAX: u64 = 8 << 20;

/// Parts of a file, held in memory; copies share them.
#[derive(Clone)]
pub(super) struct Chunks {
    /// Where each part begins, and its bytes; ascending.
    parts: Vec<(u64, Bytes)>,
    file_bytes: u64,
}

/// Where the chunks of some columns lie, neighbours together, ascending.
pub(super) fn ranges(
    footer: &ArrowReaderMetadata,
    group: usize,
    roots: &[usize],
) -> Vec<Range<u64>> {
    let schema = footer.parquet_schema();
    let Some(group) = footer.metadata().row_groups().get(group) else { return Vec::new() };
    let mut chunks: Vec<Range<u64>> = group
        .columns()
        .iter()
        .enumerate()
        .filter(|(leaf, _)| roots.contains(&schema.get_column_root_idx(*leaf)))
        .map(|(_, chunk)| {
            let (start, bytes) = chunk.byte_range();
            start..start.saturating_add(bytes)
        })
        .collect();
    chunks.sort_unstable_by_key(|chunk| chunk.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for chunk in chunks {
        match merged.last_mut() {
            Some(last) if last.end == chunk.start => last.end = chunk.end,
            _ => merged.push(chunk),
        }
    }
    merged
}

impl Chunks {
    /// Reads parts of a file of so many bytes. A part that reaches past its end is cut short, which
    /// the decoder finds.
    pub(super) fn read(
        mut file: &File,
        file_bytes: u64,
        ranges: &[Range<u64>],
    ) -> std::io::Result<Self> {
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let bytes = range.end - range.start;
            let mut held = Vec::with_capacity(bytes as usize);
            file.seek(SeekFrom::Start(range.start))?;
            file.take(bytes).read_to_end(&mut held)?;
            parts.push((range.start, Bytes::from(held)));
        }
        Ok(Self { parts, file_bytes })
    }

    /// What is held from a position on, to the end of its part.
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let after = self.parts.partition_point(|(begin, _)| *begin <= start);
        after
            .checked_sub(1)
            .and_then(|index| self.parts.get(index))
            .and_then(|(begin, bytes)| {
                let at = usize::try_from(start - begin).ok()?;
                (at <= bytes.len()).then(|| bytes.slice(at..))
            })
            .ok_or_else(|| ParquetError::EOF("a page lies outside its column".into()))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for Chunks {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let held = self.from(start)?;
        if length > held.len() {
            return Err(ParquetError::EOF("a page reaches past its column".into()));
        }
        Ok(held.slice(..length))
    }
}
