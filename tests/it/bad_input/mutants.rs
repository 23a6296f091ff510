//! Damaged files in the thousands: no panic escapes, nothing hangs or asks for memory that a page
//! only claims, every error names the file, and a wrong answer never comes of damage that a checksum
//! covers.
//!
//! What is promised of damage elsewhere: headers of pages and footers have no checksum in Parquet,
//! and most files have none for pages either. Contradictions between them are refused; what
//! contradicts nothing, such as one name for another, is read as it stands. The tests count how
//! often that happens. `DEALMILL_MUTANTS` multiplies the number of mutants.

use super::checksums::{Checksums, Claims, Paged, rewrite};
use super::*;
use dealmill::config::Resolved;
use dealmill::error::Error;
use dealmill::quality::Ledger;
use dealmill::run;
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// SplitMix64, so that a seed gives the same damage for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    }
}

/// What was done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// Bytes are other ones, or gone.
    Bytes,
    /// Whole pages, each of them good, stand in each other's place.
    PagesMoved,
}

/// Ten kinds of damage: cut; a bit, eight bytes, a run of zeros anywhere; a bit, four bytes, the
/// length in the footer; a bit in a page's header; bytes in its data; pages swapped or doubled.
fn damage(paged: &Paged, dice: &mut Dice) -> (Vec<u8>, Damage) {
    let mut bytes = paged.bytes.clone();
    let (length, footer) = (bytes.len(), paged.footer);
    let column = &paged.columns[dice.roll(paged.columns.len())];
    let (header, data) = &column[dice.roll(column.len())];
    match dice.roll(10) {
        0 => bytes.truncate(dice.roll(length)),
        1 => bytes[dice.roll(length)] ^= 1 << dice.roll(8),
        2 => {
            for _ in 0..8 {
                bytes[dice.roll(length)] = dice.roll(256) as u8;
            }
        }
        3 => bytes[footer + dice.roll(length - footer)] ^= 1 << dice.roll(8),
        4 => {
            for _ in 0..4 {
                bytes[footer + dice.roll(length - footer)] = dice.roll(256) as u8;
            }
        }
        5 => {
            let start = dice.roll(length - 512);
            bytes[start..start + 512].fill(0);
        }
        6 => {
            let claimed = (dice.roll(1 << 20) as u32).to_le_bytes();
            bytes[length - 8..length - 4].copy_from_slice(&claimed);
        }
        7 => bytes[header.start + dice.roll(header.len())] ^= 1 << dice.roll(8),
        8 => {
            for _ in 0..1 + dice.roll(3) {
                bytes[data.start + dice.roll(data.len())] = dice.roll(256) as u8;
            }
        }
        _ => {
            // Another page is put before this one, or in its place where it is as long.
            let (other, end) = &column[dice.roll(column.len())];
            let (one, two) = (header.start..data.end, other.start..end.end);
            let (first, second) = if one.start < two.start { (one, two) } else { (two, one) };
            if first.end > second.start {
                bytes.copy_within(header.start..header.end, header.start + 1);
            } else {
                let mut swapped = bytes[second.clone()].to_vec();
                swapped.extend_from_slice(&bytes[first.end..second.start]);
                swapped.extend_from_slice(&bytes[first.clone()]);
                bytes[first.start..second.end].copy_from_slice(&swapped);
                return (bytes, Damage::PagesMoved);
            }
        }
    }
    (bytes, Damage::Bytes)
}

/// How the files are written.
#[derive(Debug, Clone, Copy)]
struct Form {
    compression: Compression,
    version: WriterVersion,
    checksums: Checksums,
    /// Without dictionaries the second version packs numbers and lengths as deltas.
    dictionaries: bool,
}

/// A few hundred deals in two or three row groups of several pages a column.
fn write(form: Form) -> Vec<u8> {
    let mut history = Vec::new();
    for copy in 0..60 {
        history.extend(HISTORY.iter().map(|e| (e.0 + copy * 10, e.1, e.2, e.3, e.4, e.5, e.6)));
    }
    let batch = arrow::array::RecordBatch::try_from_iter(columns(&history)).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(form.compression)
        .set_writer_version(form.version)
        .set_data_page_row_count_limit(60)
        .set_write_batch_size(20)
        .set_max_row_group_row_count(Some(200))
        .set_dictionary_enabled(form.dictionaries)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Everything that tables are made of, as text.
fn told(resolved: &Resolved) -> Result<String, Error> {
    let ledger = Ledger::new(&resolved.config.quality.severity);
    let history = run::read_history(resolved, &ledger, &|_| (), &mut Vec::new())?;
    ledger.judge()?;
    Ok(format!("{:?} {:?}", history.counts, history.relations))
}

/// What became of the mutants.
#[derive(Debug, Default)]
struct Fates {
    refused: usize,
    same: usize,
    /// Pages of a column in another order, which nothing in a file contradicts.
    moved: usize,
    /// Read otherwise than the file was meant, without a contradiction.
    other: usize,
}

impl Fates {
    fn all(&self) -> usize {
        self.refused + self.same + self.moved + self.other
    }
}

#[track_caller]
fn check_mutants(form: Form, first: u64) -> Fates {
    let scratch = Scratch::new();
    let path = scratch.write("events/mutant.parquet", "");
    let good = rewrite(&write(form), form.checksums, |_, claims| claims);
    std::fs::write(&path, &good.bytes).unwrap();
    let resolved = scratch.resolve(CONFIG).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let read = || pool.install(|| told(&resolved));
    let expected = read().unwrap();
    assert_eq!(read().unwrap(), expected);
    let times = std::env::var_os("DEALMILL_MUTANTS");
    let times = times.map_or(1, |n| n.to_str().unwrap().parse().unwrap());
    let mut fates = Fates::default();
    for seed in first..first + 400 * times {
        let (bytes, damaged) = damage(&good, &mut Dice(seed));
        let changed = |at: &usize| bytes.get(*at) != good.bytes.get(*at);
        let covered = form.checksums == Checksums::Made
            && bytes.len() == good.bytes.len()
            && (0..bytes.len()).filter(changed).all(|at| good.is_covered(at));
        std::fs::write(&path, &bytes).unwrap();
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(read));
        assert!(started.elapsed() < Duration::from_secs(20), "seed {seed} took too long");
        let result = result.unwrap_or_else(|_| panic!("seed {seed} of {form:?} panicked"));
        match result {
            Ok(found) if found == expected => fates.same += 1,
            Ok(_) => {
                assert!(!covered, "seed {seed} of {form:?} is read as something else");
                match damaged {
                    Damage::PagesMoved => fates.moved += 1,
                    Damage::Bytes => fates.other += 1,
                }
            }
            // Amounts out of nowhere, which no file can be blamed for.
            Err(Error::Overflow { .. }) if !covered => fates.other += 1,
            Err(error) => {
                fates.refused += 1;
                assert_eq!(error.exit_code(), 3, "seed {seed} of {form:?}: {error}");
                let text = error.to_string();
                assert!(text.contains("mutant.parquet"), "seed {seed} of {form:?}: {text}");
                assert!(error.hint().is_some(), "seed {seed} of {form:?}: {text}");
            }
        }
    }
    eprintln!("{form:?}: {fates:?}");
    fates
}

/// The plain history a few times over, some of its fields in quotes.
fn csv() -> String {
    let mut text = String::from("deal_id,event_time,stage_id,amount,region\n");
    for copy in 0..20 {
        for (deal, at, stage, cents, _, _, region) in HISTORY {
            let deal = deal + copy * 10;
            let amount = cents / 100;
            text += &format!("{deal},{at},{stage},\"{amount}\",\"{region}, \"\"é\"\"\"\r\n");
        }
    }
    text
}

fn packed(text: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text).unwrap();
    packer.finish().unwrap()
}

/// Damages a CSV file a few hundred times: it is read with every line accounted for, or named.
#[track_caller]
fn check_csv(file: &str, good: &[u8], extra: &str) {
    let scratch = Scratch::new();
    let path = scratch.write(&format!("events/{file}"), "");
    let resolved = scratch.resolve(&format!("{CONFIG}{extra}")).unwrap();
    let (mut read, mut refused) = (0, 0);
    for seed in 0..300 {
        let mut dice = Dice(3_000_000 + seed);
        let mut bytes = good.to_vec();
        let at = dice.roll(bytes.len());
        match dice.roll(6) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << dice.roll(8),
            2 => bytes[at] = b"\",\n\r\0\xFF;"[dice.roll(7)],
            3 => drop(bytes.splice(at..at, *b"\"")),
            4 => drop(bytes.drain(at..(at + 40).min(good.len()))),
            _ => (0..8).for_each(|_| bytes[dice.roll(good.len())] = dice.roll(256) as u8),
        }
        std::fs::write(&path, &bytes).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| told(&resolved)));
        match result.unwrap_or_else(|_| panic!("seed {seed} of {file} panicked")) {
            Ok(_) => read += 1,
            Err(error) => {
                refused += 1;
                assert_eq!(error.exit_code(), 3, "seed {seed} of {file}: {error}");
                let text = error.to_string();
                let is_named = text.contains(file) || text.contains("usable time");
                assert!(is_named, "seed {seed} of {file}: {text}");
            }
        }
    }
    eprintln!("{file} {extra}: {read} read, {refused} refused");
    // An archive has a checksum of its own.
    let is_packed = file.ends_with(".gz");
    assert!(refused > 3 && (is_packed || read > 10), "{file}: {read} read, {refused} refused");
}

#[test]
fn damaged_csv_never_panics_and_loses_no_line() {
    let text = csv();
    check_csv("mutant.csv", text.as_bytes(), "");
    check_csv("mutant.csv", text.as_bytes(), "delimiter = \"auto\"\n");
    check_csv("mutant.csv.gz", &packed(text.as_bytes()), "");
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    check_csv("mutant.csv", &wide, "encoding = \"utf-16be\"\n");
    let (gb, _, _) = encoding_rs::GB18030.encode(&text);
    check_csv("mutant.csv", &gb, "encoding = \"gb18030\"\n");
}

const ZSTD: fn() -> Compression = || Compression::ZSTD(ZstdLevel::default());

#[test]
fn damage_under_checksums_is_never_read_as_something_else() {
    let codecs = [ZSTD(), Compression::SNAPPY, Compression::UNCOMPRESSED, Compression::LZ4_RAW];
    let versions = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0];
    for (number, compression) in codecs.into_iter().enumerate() {
        let (version, dictionaries) = (versions[number % 2], number != 3);
        let form = Form { compression, version, checksums: Checksums::Made, dictionaries };
        let fates = check_mutants(form, number as u64 * 100_000);
        // Footers have no checksum, but hardly a byte of theirs contradicts nothing.
        assert!(fates.other * 100 <= fates.all(), "{form:?}: {fates:?}");
        assert!(fates.refused * 4 > fates.all() * 3, "{form:?}: {fates:?}");
    }
}

#[test]
fn damage_without_checksums_never_panics_and_is_seen_where_it_can_be() {
    let gzip = Compression::GZIP(GzipLevel::default());
    let brotli = Compression::BROTLI(BrotliLevel::default());
    for (number, (compression, version, dictionaries)) in [
        (ZSTD(), WriterVersion::PARQUET_2_0, true),
        (Compression::SNAPPY, WriterVersion::PARQUET_1_0, true),
        (Compression::UNCOMPRESSED, WriterVersion::PARQUET_1_0, true),
        (Compression::UNCOMPRESSED, WriterVersion::PARQUET_2_0, false),
        (gzip, WriterVersion::PARQUET_1_0, false),
        (brotli, WriterVersion::PARQUET_2_0, true),
    ]
    .into_iter()
    .enumerate()
    {
        let form = Form { compression, version, checksums: Checksums::Absent, dictionaries };
        let fates = check_mutants(form, 1_000_000 + number as u64 * 100_000);
        assert!(fates.refused * 2 > fates.all(), "{form:?}: {fates:?}");
    }
}

/// A page with these claims is refused for them.
#[track_caller]
fn check_claim(compression: Compression, page: usize, said: &str, claim: fn(Claims) -> Claims) {
    let (version, checksums) = (WriterVersion::PARQUET_1_0, Checksums::Absent);
    let plain = write(Form { compression, version, checksums, dictionaries: true });
    let edit = |number, claims| if number == page { claim(claims) } else { claims };
    let scratch = Scratch::new();
    let path = scratch.write("events/mutant.parquet", "");
    std::fs::write(&path, rewrite(&plain, Checksums::Made, edit).bytes).unwrap();
    let error = told(&scratch.resolve(CONFIG).unwrap()).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.exit_code(), 3, "{text}");
    assert!(text.contains("mutant.parquet, row group 0, column"), "{text}");
    assert!(text.contains(said), "{text}");
}

#[test]
fn a_page_that_claims_two_gigabytes_is_refused_before_room_is_made() {
    for compression in [ZSTD(), Compression::SNAPPY, Compression::LZ4_RAW] {
        for page in [0, 1] {
            check_claim(compression, page, "a page claims 2147483647 bytes", |claims| Claims {
                uncompressed: i64::from(i32::MAX),
                ..claims
            });
        }
    }
    let plain = Compression::UNCOMPRESSED;
    check_claim(plain, 0, "reaches past its column", |claims| Claims {
        compressed: i64::from(i32::MAX),
        ..claims
    });
    check_claim(plain, 0, "less than nothing", |claims| Claims { uncompressed: -1, ..claims });
    check_claim(plain, 1, "of no kind", |claims| Claims { kind: 7, ..claims });
}

#[test]
fn lengths_that_claim_a_million_million_values_are_refused_before_room_is_made() {
    let form = Form {
        compression: Compression::UNCOMPRESSED,
        version: WriterVersion::PARQUET_2_0,
        checksums: Checksums::Absent,
        dictionaries: false,
    };
    let mut file = rewrite(&write(form), Checksums::Absent, |_, claims| claims);
    // The third column is text: blocks of 128 values in 4 parts, 60 values.
    let (_, data) = &file.columns[2][0];
    assert_eq!(file.bytes[data.start..data.start + 4], [128, 1, 4, 60]);
    file.bytes[data.start + 3..data.start + 9].fill(0xFF);
    file.bytes[data.start + 9] = 0x7F;
    let scratch = Scratch::new();
    std::fs::write(scratch.write("events/mutant.parquet", ""), &file.bytes).unwrap();
    let text = told(&scratch.resolve(CONFIG).unwrap()).unwrap_err().to_string();
    let place = "mutant.parquet, row group 0, column \"stage_id\"";
    assert!(text.contains(place) && text.contains("claims more"), "{text}");
}
