//! Whether the pages of a Parquet column are what its footer says, before a decoder is let near them.
//!
//! The decoder believes a page's header: it makes room for as many bytes as the header claims (up to
//! 2 GiB a page, cleared at once), and it takes a page of an unknown kind, or the absence of one, for
//! the end of the column. So the headers are walked here, which costs a hundred nanoseconds a page.
//! No value is looked at: that is for the pages' checksums, where their writer made any.
//!
//! Invariant: of a column that passes, every page lies within it, claims no more than the footer does,
//! is encoded as the footer says, and all together hold as many values as the row group has rows.

use std::io::Read;
use std::sync::Arc;

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::ChunkReader;

use super::deltas;

/// Writers make pages of about a megabyte.
const PAGE_BYTES_MAX: i64 = 256 << 20;
/// A header holds a few numbers and at most two values as statistics.
const HEADER_BYTES_MAX: u64 = 16 << 20;
const MAGIC_BYTES: u64 = 4;

/// What is wrong with a column or a footer.
fn damage(problem: impl Into<String>) -> ParquetError {
    ParquetError::General(problem.into())
}

/// Whether the parts of a footer agree with each other and with the length of the file.
///
/// # Errors
/// The first contradiction.
pub(super) fn check_footer(footer: &ParquetMetaData, data_bytes: u64) -> Result<(), ParquetError> {
    let mut rows = 0_i64;
    let mut chunks = Vec::new();
    for (number, group) in footer.row_groups().iter().enumerate() {
        rows = rows.saturating_add(group.num_rows());
        for column in group.columns() {
            let flat = column.column_descr().max_rep_level() == 0;
            if group.num_rows() < 0 || (flat && column.num_values() != group.num_rows()) {
                return Err(damage(format!(
                    "row group {number} has {} rows but {} values of {}",
                    group.num_rows(),
                    column.num_values(),
                    column.column_path()
                )));
            }
            let (start, end) = range(column)?;
            if start < MAGIC_BYTES || end > data_bytes {
                return Err(damage(format!(
                    "column {} of row group {number} lies outside the file",
                    column.column_path()
                )));
            }
            chunks.push((start, end));
        }
    }
    if rows != footer.file_metadata().num_rows() {
        return Err(damage(format!(
            "its row groups have {rows} rows, the file {}",
            footer.file_metadata().num_rows()
        )));
    }
    chunks.sort_unstable();
    let overlap = chunks.iter().zip(chunks.iter().skip(1)).any(|(a, b)| a.1 > b.0 && b.1 > b.0);
    if overlap { Err(damage("two of its columns lie in the same place")) } else { Ok(()) }
}

/// Where a column of a row group begins and ends.
fn range(column: &ColumnChunkMetaData) -> Result<(u64, u64), ParquetError> {
    let data = column.data_page_offset();
    let start = column.dictionary_page_offset().unwrap_or(data);
    let end = start.checked_add(column.compressed_size());
    match (u64::try_from(start), end.map(u64::try_from)) {
        (Ok(start), Some(Ok(end))) if start <= end && data >= 0 => Ok((start, end)),
        _ => Err(damage(format!("column {} has no place", column.column_path()))),
    }
}

/// Walks the pages of some columns of a row group.
///
/// # Errors
/// The first page that contradicts the footer, or bytes that cannot be read.
pub(super) fn check<R: ChunkReader + 'static>(
    reader: &Arc<R>,
    footer: &ArrowReaderMetadata,
    group: usize,
    roots: &[usize],
) -> Result<(), ParquetError> {
    let schema = footer.parquet_schema();
    let Some(group) = footer.metadata().row_groups().get(group) else { return Ok(()) };
    for (leaf, column) in group.columns().iter().enumerate() {
        if roots.contains(&schema.get_column_root_idx(leaf)) {
            let packed = check_column(reader.as_ref(), column)?;
            if packed == Lengths::Deltas {
                deltas::check(reader, column)?;
            }
        }
    }
    Ok(())
}

fn check_column(
    reader: &impl ChunkReader,
    column: &ColumnChunkMetaData,
) -> Result<Lengths, ParquetError> {
    let (mut at, end) = range(column)?;
    let mut lengths = Lengths::Plain;
    let encodings: Vec<Encoding> = column.encodings().collect();
    let mut values = 0_i64;
    let (mut pages, mut dictionaries) = (0_u64, 0);
    while at < end && values < column.num_values() {
        let mut header = Thrift { from: reader.get_read(at)?, bytes: 0 };
        let page = Page::read(&mut header)?;
        at += header.bytes + u64::try_from(page.compressed).unwrap_or(u64::MAX / 2);
        if at > end {
            return Err(damage("a page reaches past its column"));
        }
        page.check(column, &encodings, pages)?;
        if page.kind == Kind::Dictionary {
            dictionaries += 1;
        } else if plain_code(page.encoding) == code(Encoding::RLE_DICTIONARY) && dictionaries == 0 {
            // The decoder (parquet 60.1, `ColumnValueDecoderImpl::set_data`) would panic.
            return Err(damage("a page asks for a dictionary that is not there"));
        } else {
            values += page.values;
        }
        if deltas::is_delta(page.encoding) {
            lengths = Lengths::Deltas;
        }
        pages += 1;
    }
    if values != column.num_values() {
        let expected = column.num_values();
        return Err(damage(format!("its pages hold {values} values, the footer says {expected}")));
    }
    Ok(lengths)
}

/// How a column packs the lengths of its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lengths {
    Plain,
    /// As deltas, in some page.
    Deltas,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Dictionary,
    DataV2,
}

/// What the header of a page says.
#[derive(Debug, Clone, Copy)]
struct Page {
    kind: Kind,
    uncompressed: i64,
    compressed: i64,
    values: i64,
    encoding: i64,
    /// Of the second version: how many of the values are null, rows, and bytes of levels.
    nulls: i64,
    rows: i64,
    levels: [i64; 2],
}

/// Types of the compact protocol.
const I32: u8 = 5;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

impl Page {
    fn read<R: Read>(header: &mut Thrift<R>) -> Result<Self, ParquetError> {
        let [mut kind, mut uncompressed, mut compressed] = [None; 3];
        let mut inner: Option<(i16, [Option<i64>; 9])> = None;
        let mut last = 0;
        while let Some((id, field)) = header.field(&mut last)? {
            match (id, field) {
                (1, I32) => kind = Some(header.integer()?),
                (2, I32) => uncompressed = Some(header.integer()?),
                (3, I32) => compressed = Some(header.integer()?),
                (1..=3, _) => return Err(damage("the header of a page is damaged")),
                (5 | 7 | 8, STRUCT) => inner = Some((id, header.integers()?)),
                _ => header.skip(field, 0)?,
            }
        }
        let missing = || damage("the header of a page lacks what it must have");
        let (kind, of) = match (kind, inner.ok_or_else(missing)?) {
            (Some(0), (5, of)) => (Kind::Data, of),
            (Some(2), (7, of)) => (Kind::Dictionary, of),
            (Some(3), (8, of)) => (Kind::DataV2, of),
            _ => return Err(damage("a page is of no kind that is known")),
        };
        let [_, values, second, third, fourth, fifth, sixth, ..] = of;
        let is_v2 = kind == Kind::DataV2;
        let encoding = if is_v2 { fourth } else { second };
        let of_v2 = |value: Option<i64>| if is_v2 { value.ok_or_else(missing) } else { Ok(0) };
        Ok(Self {
            kind,
            uncompressed: uncompressed.ok_or_else(missing)?,
            compressed: compressed.ok_or_else(missing)?,
            values: values.ok_or_else(missing)?,
            encoding: encoding.ok_or_else(missing)?,
            nulls: of_v2(second)?,
            rows: of_v2(third)?,
            levels: [of_v2(fifth)?, of_v2(sixth)?],
        })
    }

    /// Whether the page can be one of the column; `number` pages are before it.
    fn check(
        &self,
        column: &ColumnChunkMetaData,
        encodings: &[Encoding],
        number: u64,
    ) -> Result<(), ParquetError> {
        let Self { uncompressed, compressed, values, nulls, rows, levels, .. } = *self;
        let numbers = [uncompressed, compressed, values, nulls, rows];
        if numbers.iter().chain(&levels).any(|n| *n < 0) {
            return Err(damage("a page claims less than nothing"));
        }
        let most = PAGE_BYTES_MAX.min(column.uncompressed_size());
        if uncompressed > most {
            return Err(damage(format!(
                "a page claims {uncompressed} bytes, at most {most} are read"
            )));
        }
        if column.compression() == Compression::UNCOMPRESSED && compressed != uncompressed {
            return Err(damage("a page without compression claims two lengths"));
        }
        if self.kind == Kind::Dictionary && (number > 0 || values > uncompressed) {
            return Err(damage("a dictionary is out of place or claims too many values"));
        }
        let flat = column.column_descr().max_rep_level() == 0;
        if self.kind == Kind::DataV2
            && (nulls > values
                || (flat && rows != values)
                || levels.iter().sum::<i64>() > uncompressed)
        {
            return Err(damage("a page claims more nulls, rows or levels than it can hold"));
        }
        let is_listed = encodings.iter().any(|listed| code(*listed) == plain_code(self.encoding));
        // There are writers that list none.
        if self.kind != Kind::Dictionary && !is_listed && !encodings.is_empty() {
            return Err(damage("a page is encoded in a way that the footer does not list"));
        }
        Ok(())
    }
}

/// The number of an encoding. That of a dictionary has two names, of which writers mix one in the
/// footer with the other in the pages.
fn code(encoding: Encoding) -> i64 {
    plain_code(encoding as i64)
}

fn plain_code(code: i64) -> i64 {
    if code == 2 { 8 } else { code }
}

/// The compact protocol, as far as headers of pages need it.
struct Thrift<R> {
    from: R,
    /// So many were read.
    bytes: u64,
}

impl<R: Read> Thrift<R> {
    fn byte(&mut self) -> Result<u8, ParquetError> {
        let mut byte = [0];
        self.from.read_exact(&mut byte).map_err(|_| damage("a page reaches past its column"))?;
        self.bytes += 1;
        if self.bytes > HEADER_BYTES_MAX {
            return Err(damage("the header of a page has no end"));
        }
        let [byte] = byte;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, ParquetError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damage("the header of a page is damaged"))
    }

    fn integer(&mut self) -> Result<i64, ParquetError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The next field of a structure and its type; `None` at its end.
    fn field(&mut self, last: &mut i16) -> Result<Option<(i16, u8)>, ParquetError> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        let delta = i16::from(byte >> 4);
        *last = if delta == 0 {
            i16::try_from(self.integer()?).map_err(|_| damage("the header of a page is damaged"))?
        } else {
            last.saturating_add(delta)
        };
        Ok(Some((*last, byte & 0x0F)))
    }

    /// The integers of a structure by their numbers, as far as nine.
    fn integers(&mut self) -> Result<[Option<i64>; 9], ParquetError> {
        let mut found = [None; 9];
        let mut last = 0;
        while let Some((id, field)) = self.field(&mut last)? {
            let slot = usize::try_from(id).ok().and_then(|id| found.get_mut(id));
            match (slot, field) {
                (Some(slot), I32) => *slot = Some(self.integer()?),
                _ => self.skip(field, 0)?,
            }
        }
        Ok(found)
    }

    fn skip(&mut self, field: u8, depth: u8) -> Result<(), ParquetError> {
        const DEPTH_MAX: u8 = 8;
        if depth > DEPTH_MAX {
            return Err(damage("the header of a page is damaged"));
        }
        match field {
            1 | 2 => {}
            3 => drop(self.byte()?),
            4 | I32 | 6 => drop(self.varint()?),
            7 => (0..8).try_for_each(|_| self.byte().map(drop))?,
            BINARY => {
                let length = self.varint()?;
                (0..length).try_for_each(|_| self.byte().map(drop))?;
            }
            LIST | SET => {
                let head = self.byte()?;
                let length = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                for _ in 0..length {
                    // Booleans have a byte each here, and everything else at least one.
                    match head & 0x0F {
                        1 | 2 => drop(self.byte()?),
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
            }
            STRUCT => {
                let mut last = 0;
                while let Some((_, field)) = self.field(&mut last)? {
                    self.skip(field, depth + 1)?;
                }
            }
            // No header of a page has a map.
            _ => return Err(damage("the header of a page is damaged")),
        }
        Ok(())
    }
}
