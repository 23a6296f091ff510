//! What reading an input takes of memory, by its footers.

use std::collections::BTreeSet;

use super::DealSource;
use super::chunks::HELD_BYTES_MAX;
use super::preflight::Origin;
use super::read::CheckedInput;

/// What reading takes of memory, as far as the footers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Files.
    pub files: u64,
    /// Row groups.
    pub row_groups: u64,
    /// The most columns read of any file.
    pub columns: u64,
    /// The most bytes that the open pages of one row group take.
    pub page_bytes: u64,
}

/// Writers end a page at about 1 MiB; a page of values may have a dictionary beside it and is held
/// compressed and decompressed at a time.
const PAGE_BYTES_MAX: u64 = 3 << 20;

impl CheckedInput {
    /// Columns of the files that nothing reads, in order of name.
    #[must_use]
    pub fn unused_columns(&self) -> Vec<String> {
        let mut unused = BTreeSet::new();
        for file in &self.files {
            for (position, field) in file.schema.fields().iter().enumerate() {
                let is_own =
                    |origin: &Origin| matches!(origin, Origin::Column(p) if *p == position);
                if !file.origins.iter().any(is_own) {
                    unused.insert(field.name().clone());
                }
            }
        }
        unused.into_iter().collect()
    }

    /// See [`Footprint`].
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let mut footprint = Footprint::default();
        for checked in &self.files {
            footprint.files += 1;
            let roots = self.projected(checked);
            footprint.columns = footprint.columns.max(roots.len() as u64);
            let Some(footer) = &checked.footer else {
                footprint.page_bytes = footprint.page_bytes.max(PAGE_BYTES_MAX);
                continue;
            };
            let schema = footer.parquet_schema();
            for group in footer.metadata().row_groups() {
                footprint.row_groups += 1;
                let wanted = group
                    .columns()
                    .iter()
                    .enumerate()
                    .filter(|(leaf, _)| roots.contains(&schema.get_column_root_idx(*leaf)));
                let (mut pages, mut held) = (0_u64, 0_u64);
                for (_, chunk) in wanted {
                    let bytes = chunk.compressed_size().saturating_add(chunk.uncompressed_size());
                    pages += u64::try_from(bytes).unwrap_or(0).min(PAGE_BYTES_MAX);
                    let compressed = u64::try_from(chunk.compressed_size()).unwrap_or(0);
                    held = held.saturating_add(compressed);
                }
                // A small row group is held compressed while it is read.
                let held = if held <= HELD_BYTES_MAX { held } else { 0 };
                footprint.page_bytes = footprint.page_bytes.max(pages + held);
            }
        }
        footprint
    }
}

impl DealSource {
    /// The footprints of all inputs: files and row groups added up, the rest the most of any.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        self.inputs().map(CheckedInput::footprint).fold(Footprint::default(), |all, one| {
            Footprint {
                files: all.files + one.files,
                row_groups: all.row_groups + one.row_groups,
                columns: all.columns.max(one.columns),
                page_bytes: all.page_bytes.max(one.page_bytes),
            }
        })
    }
}
