//! The bytes of a file as UTF-8: unpacked where they are packed, without their byte-order mark, and
//! translated from the encoding they are in.
//!
//! Invariant: bytes that are no text in the declared encoding become a byte that UTF-8 does not
//! have, so that the line they are in is found by whoever takes it for text.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use flate2::bufread::MultiGzDecoder;

/// Occurs nowhere in UTF-8.
const NO_TEXT: u8 = 0xFF;
const GZIP: &[u8] = &[0x1F, 0x8B];
const CHUNK_BYTES: usize = 1 << 18;

/// A file as a stream of UTF-8. A byte-order mark goes over the declared encoding, because it cannot
/// be there by chance.
///
/// # Errors
/// A file that cannot be opened or read.
pub(super) fn open(
    path: &Path,
    declared: &'static Encoding,
) -> std::io::Result<Box<dyn Read + Send>> {
    let mut packed = BufReader::with_capacity(CHUNK_BYTES, File::open(path)?);
    let is_packed = packed.fill_buf()?.starts_with(GZIP);
    if is_packed {
        return unmarked(MultiGzDecoder::new(packed), declared);
    }
    unmarked(packed, declared)
}

fn unmarked(
    mut bytes: impl Read + Send + 'static,
    declared: &'static Encoding,
) -> std::io::Result<Box<dyn Read + Send>> {
    let mut head = Vec::with_capacity(4);
    bytes.by_ref().take(4).read_to_end(&mut head)?;
    let (encoding, mark_bytes) = Encoding::for_bom(&head).unwrap_or((declared, 0));
    let mut head = Cursor::new(head);
    head.set_position(mark_bytes as u64);
    let bytes = head.chain(bytes);
    if encoding == UTF_8 {
        return Ok(Box::new(bytes));
    }
    Ok(Box::new(Translation {
        bytes,
        decoder: encoding.new_decoder_without_bom_handling(),
        raw: vec![0; CHUNK_BYTES],
        unread: 0..0,
        text: Vec::with_capacity(2 * CHUNK_BYTES),
        given: 0,
        end: End::Ahead,
    }))
}

/// Where a stream of bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There may be more bytes.
    Ahead,
    /// There are none, but the decoder may hold some.
    Reached,
    /// The decoder has given everything.
    Told,
}

/// Bytes of some encoding as UTF-8.
struct Translation<R> {
    bytes: R,
    decoder: Decoder,
    raw: Vec<u8>,
    /// What of `raw` is still to be decoded.
    unread: std::ops::Range<usize>,
    text: Vec<u8>,
    /// How much of `text` was handed on.
    given: usize,
    end: End,
}

impl<R: Read> Translation<R> {
    /// Decodes what comes next into `text`.
    fn decode(&mut self) -> std::io::Result<()> {
        self.text.clear();
        self.given = 0;
        while self.text.is_empty() && self.end != End::Told {
            if self.unread.is_empty() && self.end == End::Ahead {
                let read = read_some(&mut self.bytes, &mut self.raw)?;
                self.unread = 0..read;
                self.end = if read == 0 { End::Reached } else { End::Ahead };
            }
            let from = self.raw.get(self.unread.clone()).unwrap_or_default();
            let is_last = self.end == End::Reached;
            self.text.resize(2 * CHUNK_BYTES, 0);
            let (result, read, written) =
                self.decoder.decode_to_utf8_without_replacement(from, &mut self.text, is_last);
            self.unread.start += read;
            self.text.truncate(written);
            match result {
                DecoderResult::Malformed(..) => self.text.push(NO_TEXT),
                DecoderResult::InputEmpty if is_last => self.end = End::Told,
                DecoderResult::InputEmpty | DecoderResult::OutputFull => {}
            }
        }
        Ok(())
    }
}

/// As many bytes as one call gives.
pub(super) fn read_some(from: &mut impl Read, to: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match from.read(to) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl<R: Read> Read for Translation<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        if self.given == self.text.len() {
            self.decode()?;
        }
        let mut rest = self.text.get(self.given..).unwrap_or_default();
        let read = rest.read(to)?;
        self.given += read;
        Ok(read)
    }
}
