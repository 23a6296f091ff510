//! Lines of fields out of a stream of text, each with its number and its own bytes.
//!
//! What parts fields is decided by `csv-core`; here the end of the file and of quotes is watched,
//! because that parser takes whatever comes.

use std::io::Read;
use std::ops::Range;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::text::read_some;
use super::{Broken, Delimiter};

/// A line that is longer is taken for one with a quote that is never closed.
const RECORD_BYTES_MAX: usize = 16 << 20;
const BUFFER_BYTES: usize = 1 << 18;

/// Whether what was read as a line is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Its fields are what they seem.
    Whole,
    /// Text follows a closing quote, so that where fields end is a guess.
    TextAfterQuote,
    /// Bytes that are no text.
    NoText,
}

/// How a line keeps its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Kept,
    TextAfterQuote,
    /// The quote at this position is never closed.
    Open(usize),
}

/// The lines of a stream.
pub(super) struct Records {
    from: Box<dyn Read + Send>,
    reader: Reader,
    delimiter: u8,
    quote: Option<u8>,
    buffer: Vec<u8>,
    /// What of the buffer is not read yet.
    unread: Range<usize>,
    /// Where the present line begins in the buffer; it ends where the unread bytes begin.
    start: usize,
    ended: Ended,
    /// The fields of the present line, one after the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
    /// The number of the present line.
    line: u64,
    /// Lines that were read before the parser began.
    lines_before: u64,
}

/// Whether the stream has more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    No,
    Yes,
}

impl Records {
    /// The lines of a stream, whose first line says what parts the fields where that is not given.
    ///
    /// # Errors
    /// A stream that cannot be read.
    pub(super) fn new(
        from: Box<dyn Read + Send>,
        delimiter: Delimiter,
        quote: Option<u8>,
    ) -> Result<Self, Broken> {
        let mut records = Self {
            from,
            reader: Reader::new(),
            delimiter: b',',
            quote,
            buffer: vec![0; BUFFER_BYTES],
            unread: 0..0,
            start: 0,
            ended: Ended::No,
            text: vec![0; 4096],
            ends: vec![0; 64],
            fields: 0,
            line: 0,
            lines_before: 0,
        };
        while records.ended == Ended::No
            && records.first_line().is_none()
            && records.unread.len() <= RECORD_BYTES_MAX
        {
            records.fill()?;
        }
        records.settle(delimiter);
        Ok(records)
    }

    /// The bytes of the first line, if its end is there.
    fn first_line(&self) -> Option<&[u8]> {
        let held = self.buffer.get(self.unread.clone())?;
        let end = held.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        held.get(..end)
    }

    fn settle(&mut self, delimiter: Delimiter) {
        let held = self.buffer.get(self.unread.clone()).unwrap_or_default();
        let first = self.first_line().unwrap_or(held);
        // A spreadsheet program writes `sep=;` above the header.
        let declared = match first {
            [b's', b'e', b'p', b'=', delimiter] => Some(*delimiter),
            _ => None,
        };
        let guessed = guess(first, self.quote);
        let settled = match (delimiter, declared) {
            (Delimiter::Given(given), None) => given,
            (_, Some(declared)) => declared,
            (Delimiter::Auto, None) => guessed,
        };
        if declared.is_some() {
            let crlf = held.get(first.len()..first.len() + 2) == Some(b"\r\n");
            let bytes = first.len() + if crlf { 2 } else { 1 };
            self.unread.start = (self.unread.start + bytes).min(self.unread.end);
            self.lines_before = 1;
        }
        self.delimiter = settled;
        let mut builder = ReaderBuilder::new();
        builder.delimiter(self.delimiter);
        match self.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        self.reader = builder.build();
    }

    /// Reads the next line; whether there is one.
    ///
    /// # Errors
    /// A stream that cannot be read, a quote that is never closed, a line without end.
    pub(super) fn next(&mut self) -> Result<bool, Broken> {
        self.start = self.unread.start;
        let before = self.reader.line() + self.lines_before;
        let (mut text_bytes, mut fields) = (0, 0);
        loop {
            // The parser takes no bytes for the end of all bytes.
            while self.unread.is_empty() && self.ended == Ended::No {
                if self.unread.start - self.start > RECORD_BYTES_MAX {
                    return Err(self.too_long(before));
                }
                self.fill()?;
            }
            let at_end = self.unread.is_empty() && self.ended == Ended::Yes;
            if at_end && self.raw().is_empty() {
                return Ok(false);
            }
            // At the end one more line end is given: a parser that is still hungry is in quotes.
            let input = if at_end {
                b"\n"
            } else {
                self.buffer.get(self.unread.clone()).unwrap_or_default()
            };
            let room = self.text.get_mut(text_bytes..).unwrap_or_default();
            let ends = self.ends.get_mut(fields..).unwrap_or_default();
            let (result, read, written, ended) = self.reader.read_record(input, room, ends);
            self.unread.start += if at_end { 0 } else { read };
            text_bytes += written;
            fields += ended;
            match result {
                ReadRecordResult::Record => {
                    self.fields = fields;
                    self.line = before + self.blank_lines_before();
                    return Ok(true);
                }
                ReadRecordResult::End => return Ok(false),
                ReadRecordResult::OutputFull => self.text.resize(2 * self.text.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::InputEmpty if at_end => {
                    return Err(self.never_closed(before));
                }
                ReadRecordResult::InputEmpty => {}
            }
        }
    }

    /// Reads more behind what is not read yet, of which the present line is kept whole.
    fn fill(&mut self) -> Result<(), Broken> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.unread.end, 0);
            self.unread = self.unread.start - self.start..self.unread.end - self.start;
            self.start = 0;
        }
        if self.unread.end == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        let room = self.buffer.get_mut(self.unread.end..).unwrap_or_default();
        let read = read_some(&mut self.from, room).map_err(|e| {
            let problem = format!("cannot be read: {e}");
            Broken::file(problem).at(self.reader.line() + self.lines_before)
        })?;
        self.unread.end += read;
        self.ended = if read == 0 { Ended::Yes } else { Ended::No };
        Ok(())
    }

    fn never_closed(&self, before: u64) -> Broken {
        let raw = self.raw();
        let at = match self.quoting(raw) {
            Quoting::Open(at) => at,
            Quoting::Kept | Quoting::TextAfterQuote => 0,
        };
        let above = raw.get(..at).unwrap_or_default();
        let line = before + self.blank_lines_before() + count_lines(above);
        Broken::file("a quote that begins in this line is never closed")
            .hint("close it, or set quote = \"\" if quotes mean nothing in this input")
            .at(line)
    }

    fn too_long(&self, before: u64) -> Broken {
        let line = before + self.blank_lines_before();
        Broken::file(format!("the row that begins here has more than {RECORD_BYTES_MAX} bytes"))
            .hint(
                "a quote may be open there; if quotes mean nothing in this input, set quote = \"\"",
            )
            .at(line)
    }

    fn present(&self) -> &[u8] {
        self.buffer.get(self.start..self.unread.start).unwrap_or_default()
    }

    /// The parser skips empty lines, and takes the second byte of a line end with what follows.
    fn blank_lines_before(&self) -> u64 {
        let present = self.present();
        let blank = present.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        count_lines(present.get(..blank).unwrap_or_default())
    }

    /// The bytes of the present line without the line ends around it.
    pub(super) fn raw(&self) -> &[u8] {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let present = self.present();
        let from = present.iter().position(|byte| !is_end(byte)).unwrap_or(present.len());
        let to = present.iter().rposition(|byte| !is_end(byte)).map_or(from, |last| last + 1);
        present.get(from..to).unwrap_or_default()
    }

    /// The number of the line that the present one begins with, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// How many fields the present line has.
    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// A field of the present line; `None` where there is none or it is no text.
    pub(super) fn field(&self, field: usize) -> Option<&str> {
        let end = *self.ends.get(..self.fields)?.get(field)?;
        let start = field.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        std::str::from_utf8(self.text.get(start.unwrap_or(0)..end)?).ok()
    }

    /// Whether the present line is one.
    pub(super) fn shape(&self) -> Shape {
        if let Some(quote) = self.quote {
            let present = self.present();
            if present.contains(&quote) && self.quoting(self.raw()) == Quoting::TextAfterQuote {
                return Shape::TextAfterQuote;
            }
        }
        if self.is_text() { Shape::Whole } else { Shape::NoText }
    }

    /// Whether each field is text: bytes of one may not complete those of the next.
    fn is_text(&self) -> bool {
        let ends = self.ends.get(..self.fields).unwrap_or_default();
        let bytes = self.text.get(..ends.last().copied().unwrap_or(0)).unwrap_or_default();
        bytes.is_ascii()
            || std::str::from_utf8(bytes)
                .is_ok_and(|text| ends.iter().all(|end| text.is_char_boundary(*end)))
    }

    /// How a line keeps its quotes. Blanks between a closing quote and the delimiter mean nothing.
    fn quoting(&self, raw: &[u8]) -> Quoting {
        let Some(quote) = self.quote else { return Quoting::Kept };
        let find = |from: usize, is: &dyn Fn(u8) -> bool| {
            let rest = raw.get(from..).unwrap_or_default();
            rest.iter().position(|byte| is(*byte)).map(|at| from + at)
        };
        let mut field = 0;
        loop {
            let mut at = field;
            if raw.get(field) == Some(&quote) {
                at += 1;
                loop {
                    let Some(next) = find(at, &|byte| byte == quote) else {
                        return Quoting::Open(field);
                    };
                    at = next + 1;
                    if raw.get(at) != Some(&quote) {
                        break;
                    }
                    at += 1;
                }
                let after = find(at, &|byte| byte != b' ');
                if after.is_some_and(|after| raw.get(after) != Some(&self.delimiter)) {
                    return Quoting::TextAfterQuote;
                }
            }
            match find(at, &|byte| byte == self.delimiter) {
                Some(delimiter) => field = delimiter + 1,
                None => return Quoting::Kept,
            }
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Whichever of comma, semicolon, tab and bar a line has most of outside quotes; the first of them
/// where they are equally many.
fn guess(line: &[u8], quote: Option<u8>) -> u8 {
    let mut counts = [(b',', 0_usize), (b';', 0), (b'\t', 0), (b'|', 0)];
    let mut is_quoted = false;
    for byte in line {
        is_quoted ^= Some(*byte) == quote;
        if let Some((_, count)) = counts.iter_mut().find(|(c, _)| c == byte && !is_quoted) {
            *count += 1;
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    counts.iter().find(|(_, count)| *count == most).map_or(b',', |(delimiter, _)| *delimiter)
}
