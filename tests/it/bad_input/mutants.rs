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

/// Ten kinds of damage: cut; a bit, eight bytes, a run of zeros anywhere; a bit, four bytes, the
/// length in the footer; a bit in a page's header; bytes in its data; pages swapped or doubled.
fn damage(paged: &Paged, dice: &mut Dice) -> Vec<u8> {
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
            if first.end <= second.start {
                let mut swapped = bytes[second.clone()].to_vec();
                swapped.extend_from_slice(&bytes[first.end..second.start]);
                swapped.extend_from_slice(&bytes[first.clone()]);
                bytes[first.start..second.end].copy_from_slice(&swapped);
            } else {
                bytes.copy_within(header.start..header.end, header.start + 1);
            }
        }
    }
    bytes
}

/// How the files are written.
#[derive(Debug, Clone, Copy)]
struct Form {
    compression: Compression,
    version: WriterVersion,
    checksums: Checksums,
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
    /// Read otherwise than the file was meant, without a contradiction.
    other: usize,
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
        let bytes = damage(&good, &mut Dice(seed));
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
                fates.other += 1;
            }
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

const ZSTD: fn() -> Compression = || Compression::ZSTD(ZstdLevel::default());

#[test]
fn damage_under_checksums_is_never_read_as_something_else() {
    let codecs = [ZSTD(), Compression::SNAPPY, Compression::UNCOMPRESSED, Compression::LZ4_RAW];
    let versions = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0];
    for (number, compression) in codecs.into_iter().enumerate() {
        let version = versions[number % 2];
        let form = Form { compression, version, checksums: Checksums::Made };
        let fates = check_mutants(form, number as u64 * 100_000);
        let all = fates.refused + fates.same + fates.other;
        // Footers and headers are a large part of these small files, and some of their bytes mean
        // nothing to a run.
        assert!(fates.other * 10 <= all, "{form:?}: {fates:?}");
        assert!(fates.refused * 2 > all, "{form:?}: {fates:?}");
    }
}

#[test]
fn damage_without_checksums_never_panics_and_is_seen_where_it_can_be() {
    let gzip = Compression::GZIP(GzipLevel::default());
    let brotli = Compression::BROTLI(BrotliLevel::default());
    for (number, (compression, version)) in [
        (ZSTD(), WriterVersion::PARQUET_2_0),
        (Compression::SNAPPY, WriterVersion::PARQUET_1_0),
        (Compression::UNCOMPRESSED, WriterVersion::PARQUET_1_0),
        (gzip, WriterVersion::PARQUET_1_0),
        (brotli, WriterVersion::PARQUET_2_0),
    ]
    .into_iter()
    .enumerate()
    {
        let form = Form { compression, version, checksums: Checksums::Absent };
        let fates = check_mutants(form, 1_000_000 + number as u64 * 100_000);
        let all = fates.refused + fates.same + fates.other;
        assert!(fates.refused * 3 > all, "{form:?}: {fates:?}");
    }
}

/// A page with these claims is refused for them.
#[track_caller]
fn check_claim(compression: Compression, page: usize, said: &str, claim: fn(Claims) -> Claims) {
    let version = WriterVersion::PARQUET_1_0;
    let plain = write(Form { compression, version, checksums: Checksums::Absent });
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
