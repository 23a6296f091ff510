//! Parquet files with page checksums, which the writer does not make: every page's header gets one,
//! and the footer the new places.
//!
//! On the way a page's header can be made to claim something else, which no writer would write.

use std::ops::Range;

use parquet::file::metadata::{
    ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData,
};

/// Whether pages get checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksums {
    Made,
    Absent,
}

/// The first numbers of a page's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claims {
    pub kind: i64,
    pub uncompressed: i64,
    pub compressed: i64,
}

/// A file and where its pages are.
pub(super) struct Paged {
    pub bytes: Vec<u8>,
    /// Header and data of every page, page by page, column by column.
    pub columns: Vec<Vec<(Range<usize>, Range<usize>)>>,
    /// Where the footer begins.
    pub footer: usize,
}

impl Paged {
    /// Whether a checksum covers a byte.
    pub fn is_covered(&self, at: usize) -> bool {
        self.columns.iter().flatten().any(|(_, data)| data.contains(&at))
    }
}

/// Writes a file's pages anew, each with the claims that `edit` gives it.
pub(super) fn rewrite(
    plain: &[u8],
    checksums: Checksums,
    mut edit: impl FnMut(usize, Claims) -> Claims,
) -> Paged {
    let given = bytes::Bytes::copy_from_slice(plain);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&given).unwrap();
    let mut out = b"PAR1".to_vec();
    let (mut columns, mut groups, mut number) = (Vec::new(), Vec::new(), 0);
    for group in metadata.row_groups() {
        let mut chunks = Vec::new();
        for chunk in group.columns() {
            let (start, length) = chunk.byte_range();
            let (mut at, end) = (start as usize, (start + length) as usize);
            let (begin, mut data_page, mut pages) = (out.len(), None, Vec::new());
            let mut grown = 0;
            while at < end {
                let header = Header::parse(&plain[at..]);
                let data =
                    at + header.length..at + header.length + header.claims.compressed as usize;
                let from = out.len();
                header.write(
                    &plain[at..data.start],
                    &plain[data.clone()],
                    checksums,
                    |claims| edit(number, claims),
                    &mut out,
                );
                grown += out.len() - from - header.length;
                if header.claims.kind != 2 {
                    data_page.get_or_insert(from);
                }
                let data_at = out.len();
                out.extend_from_slice(&plain[data.clone()]);
                pages.push((from..data_at, data_at..out.len()));
                at = data.end;
                number += 1;
            }
            let dictionary = chunk.dictionary_page_offset().map(|_| begin as i64);
            let builder = chunk.clone().into_builder();
            let builder = builder
                .set_data_page_offset(data_page.unwrap() as i64)
                .set_dictionary_page_offset(dictionary)
                .set_total_compressed_size((out.len() - begin) as i64)
                .set_total_uncompressed_size(chunk.uncompressed_size() + grown as i64)
                .set_offset_index_offset(None)
                .set_offset_index_length(None)
                .set_column_index_offset(None)
                .set_column_index_length(None);
            chunks.push(builder.build().unwrap());
            columns.push(pages);
        }
        let group: RowGroupMetaData =
            group.clone().into_builder().set_column_metadata(chunks).build().unwrap();
        groups.push(group);
    }
    let footer = out.len();
    let file = metadata.file_metadata().clone();
    let metadata = ParquetMetaDataBuilder::new(file).set_row_groups(groups).build();
    ParquetMetaDataWriter::new(&mut out, &metadata).finish().unwrap();
    Paged { bytes: out, columns, footer }
}

struct Header {
    claims: Claims,
    /// Bytes of the first three fields, and of the whole.
    head: usize,
    length: usize,
}

impl Header {
    /// As the writer writes it: kind, lengths, no checksum, and one structure.
    fn parse(bytes: &[u8]) -> Self {
        let mut at = 0;
        let mut numbers = [0; 3];
        for number in &mut numbers {
            assert_eq!(bytes[at], 0x15, "an i32, one field further");
            at += 1;
            *number = integer(bytes, &mut at);
        }
        let head = at;
        skip_structure(bytes, &mut at);
        let [kind, uncompressed, compressed] = numbers;
        Self { claims: Claims { kind, uncompressed, compressed }, head, length: at }
    }

    fn write(
        &self,
        header: &[u8],
        data: &[u8],
        checksums: Checksums,
        edit: impl FnOnce(Claims) -> Claims,
        out: &mut Vec<u8>,
    ) {
        let claims = edit(self.claims);
        for number in [claims.kind, claims.uncompressed, claims.compressed] {
            out.push(0x15);
            write_integer(number, out);
        }
        let mut rest = header[self.head..].to_vec();
        if checksums == Checksums::Made {
            let mut crc = flate2::Crc::new();
            crc.update(data);
            out.push(0x15);
            write_integer(i64::from(crc.sum() as i32), out);
            // The next field is one nearer.
            rest[0] -= 0x10;
        }
        out.extend_from_slice(&rest);
    }
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn integer(bytes: &[u8], at: &mut usize) -> i64 {
    let value = varint(bytes, at);
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn skip_structure(bytes: &[u8], at: &mut usize) {
    loop {
        let field = bytes[*at];
        *at += 1;
        match field & 0x0F {
            0 => return,
            1 | 2 => {}
            5 | 6 => drop(varint(bytes, at)),
            8 => *at += varint(bytes, at) as usize,
            12 => skip_structure(bytes, at),
            other => panic!("a field of type {other}"),
        }
    }
}
