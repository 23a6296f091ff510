//! Whether delta-encoded text claims no more values than its page has, before a decoder believes it.
//!
//! The decoders of `DELTA_LENGTH_BYTE_ARRAY` and `DELTA_BYTE_ARRAY` (parquet 60.1) make room for as
//! many lengths as the page's own bytes claim, whatever the page's header says: a flipped bit can ask
//! for terabytes, and memory that cannot be had ends the process, which nothing can catch. These
//! encodings are rare enough to unpack their pages twice.
//!
//! Invariant: of a column that passes, no list of lengths is longer than its page has values.

use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
const DELTA_BYTE_ARRAY: i64 = 7;

/// Whether a page with this number for its encoding is to be checked.
pub(super) fn is_delta(encoding: i64) -> bool {
    matches!(encoding, DELTA_LENGTH_BYTE_ARRAY | DELTA_BYTE_ARRAY)
}

/// Checks every page of a column.
///
/// # Errors
/// The first page that claims too much, or that cannot be unpacked.
pub(super) fn check<R: ChunkReader + 'static>(
    reader: &Arc<R>,
    column: &ColumnChunkMetaData,
) -> Result<(), ParquetError> {
    let rows = usize::try_from(column.num_values()).unwrap_or(0);
    let mut pages = SerializedPageReader::new(reader.clone(), column, rows, None)?;
    while let Some(page) = pages.get_next_page()? {
        let (bytes, values, encoding, levels) = match &page {
            Page::DataPage { buf, num_values, encoding, .. } => {
                let levels = match column.column_descr().max_def_level() {
                    0 => Some(0),
                    // Four bytes with the length of the levels, then these.
                    _ => buf.first_chunk().map(|length| 4 + u32::from_le_bytes(*length) as usize),
                };
                (buf, *num_values, *encoding, levels)
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let levels = def_levels_byte_len.checked_add(*rep_levels_byte_len);
                (buf, *num_values, *encoding, levels.map(|bytes| bytes as usize))
            }
            Page::DictionaryPage { .. } => continue,
        };
        if !is_delta(encoding as i64) {
            continue;
        }
        let most = u64::from(values);
        let is_sound = levels.and_then(|levels| bytes.get(levels..)).and_then(|bytes| {
            // A page of nulls alone may hold nothing.
            if bytes.is_empty() {
                return Some(());
            }
            let rest = lengths(bytes, most)?;
            let prefixed = encoding == Encoding::DELTA_BYTE_ARRAY;
            if prefixed { lengths(rest, most).map(|_| ()) } else { Some(()) }
        });
        if is_sound.is_none() {
            let problem = format!("a page of {values} values claims more or is damaged");
            return Err(ParquetError::General(problem));
        }
    }
    Ok(())
}

/// What follows a list of delta-packed lengths; `None` if it claims more than `most`, or ends before
/// its end.
fn lengths(bytes: &[u8], most: u64) -> Option<&[u8]> {
    let (block_values, bytes) = varint(bytes)?;
    let (miniblocks, bytes) = varint(bytes)?;
    let (values, bytes) = varint(bytes)?;
    let (_, mut bytes) = varint(bytes)?;
    let miniblock_values = block_values.checked_div(miniblocks)?;
    if values > most || miniblock_values == 0 || !miniblock_values.is_multiple_of(32) {
        return None;
    }
    // The first value stands in the header.
    let mut left = values.saturating_sub(1);
    while left > 0 {
        let (_, after) = varint(bytes)?;
        let (widths, mut after) = after.split_at_checked(usize::try_from(miniblocks).ok()?)?;
        for width in widths {
            if left == 0 {
                break;
            }
            let packed = miniblock_values.checked_mul(u64::from(*width))? / 8;
            // Some writers cut the last miniblock short.
            let packed = usize::try_from(packed).ok()?.min(after.len());
            after = after.get(packed..)?;
            left = left.saturating_sub(miniblock_values);
        }
        bytes = after;
    }
    Some(bytes)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7F).checked_shl(7 * index as u32)?;
        if *byte < 0x80 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_lengths_end_where_they_end() {
        // Blocks of 128 values in 4 miniblocks, 3 values, the first 5 (zigzag 10); then one block:
        // least delta 0, the first miniblock 2 bits wide (8 bytes), the others not there.
        let list = [128, 1, 4, 3, 10, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 77, 78];
        assert_eq!(lengths(&list, 3), Some([77, 78].as_slice()));
        assert_eq!(lengths(&list, 2), None);
        assert_eq!(lengths(&list[..8], 3), None);
        // One value only needs no block.
        assert_eq!(lengths(&[128, 1, 4, 1, 10, 7], 1), Some([7].as_slice()));
        // No miniblocks, or some that are no multiple of 32.
        assert_eq!(lengths(&[128, 1, 0, 1, 10], 1), None);
        assert_eq!(lengths(&[8, 4, 1, 10], 1), None);
        // A claim of 2^62 values.
        let huge = [128, 1, 4, 128, 128, 128, 128, 128, 128, 128, 128, 64, 10];
        assert_eq!(lengths(&huge, 1 << 31), None);
    }
}
