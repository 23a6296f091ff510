//! Randomly damaged files: no panic escapes, nothing hangs, and every error names the file.
//!
//! What is not promised here: that damage is always seen. Files without page checksums may be read
//! as other values.

use super::*;
use dealmill::engine::Backend;
use dealmill::run::{self, RunOptions};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
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
        ((z ^ (z >> 31)) % below as u64) as usize
    }
}

/// Eight kinds of damage, those of reliability: cut, bits, bytes, footer, length, page header.
fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let length = bytes.len();
    let footer =
        length - 8 - u32::from_le_bytes(bytes[length - 8..length - 4].try_into().unwrap()) as usize;
    match dice.roll(8) {
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
        _ => bytes[4 + dice.roll(32)] ^= 1 << dice.roll(8),
    }
}

fn write(path: &Path, compression: Compression) {
    let mut history = Vec::new();
    for copy in 0..60 {
        history.extend(HISTORY.iter().map(|e| (e.0 + copy * 10, e.1, e.2, e.3, e.4, e.5, e.6)));
    }
    let batch = arrow::array::RecordBatch::try_from_iter(columns(&history)).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(200))
        .build();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[track_caller]
fn check_mutants(compression: Compression, seeds: std::ops::Range<u64>) {
    let scratch = Scratch::new();
    let path = scratch.path("events/mutant.parquet");
    write(&path, compression);
    let good = std::fs::read(&path).unwrap();
    let resolved = scratch.resolve(CONFIG).unwrap();
    let options = RunOptions { on_step: &|_| (), backend: Backend::Memory };
    let mut refused = 0;
    let n = seeds.end - seeds.start;
    for seed in seeds {
        let mut bytes = good.clone();
        damage(&mut bytes, &mut Dice(seed));
        std::fs::write(&path, bytes).unwrap();
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| run::check(&resolved, &options)));
        assert!(started.elapsed() < Duration::from_secs(20), "seed {seed} took too long");
        let result = result.unwrap_or_else(|_| panic!("seed {seed} of {compression} panicked"));
        if let Err(error) = result {
            refused += 1;
            assert_eq!(error.exit_code(), 3, "seed {seed} of {compression}: {error}");
            let text = error.to_string();
            assert!(text.contains("mutant.parquet"), "seed {seed} of {compression}: {text}");
            assert!(error.hint().is_some(), "seed {seed} of {compression}: {text}");
        }
    }
    // Damage of this kind is seen in more than half of the files; were it never, the test would
    // test nothing.
    assert!(refused * 3 > n, "{refused} of {n} refused");
}

#[test]
fn damaged_files_with_zstd_never_panic() {
    check_mutants(Compression::ZSTD(ZstdLevel::default()), 0..200);
}

#[test]
fn damaged_files_with_snappy_never_panic() {
    check_mutants(Compression::SNAPPY, 200..400);
}

#[test]
fn damaged_files_without_compression_never_panic() {
    check_mutants(Compression::UNCOMPRESSED, 400..600);
}
