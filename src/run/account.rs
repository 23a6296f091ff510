//! What a run says of itself: the manifest's account, the quarantine files, the warnings.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use super::Summary;
use super::history::History;
use crate::config::Severity;
use crate::engine::Finished;
use crate::error::Error;
use crate::fold::Quality;
use crate::quality::{Ledger, QuarantinedRow, Rule};
use crate::sink::{
    Account, InputEntry, InputFile, QualityEntry, RowCounts, SkippedTable, Staging, Timing,
};
use crate::source::FoundFile;
use crate::time::instant_text;

/// The inputs with their files, sizes and fingerprints.
pub(super) fn inputs(history: &History, ledger: &Ledger) -> Result<Vec<InputEntry>, Error> {
    let counts = ledger.counts();
    let mut entries = Vec::with_capacity(history.inputs.len());
    for (input, bytes_read) in &history.inputs {
        let mut files = Vec::new();
        let mut rows = 0;
        for (found, file_rows, bytes) in input.file_facts() {
            rows += file_rows;
            files.push(InputFile {
                path: found.path.display().to_string(),
                size: found.bytes,
                modified_at: instant_text(found.modified),
                fingerprint: fingerprint(found)?,
                rows: file_rows,
                bytes_read: bytes,
            });
        }
        // A CSV file has no footer to tell its rows; what was read is what there is.
        if rows == 0 {
            rows = counts.get(&input.name).map_or(0, |c| c.rows_in);
        }
        entries.push(InputEntry { name: input.name.clone(), rows, bytes_read: *bytes_read, files });
    }
    Ok(entries)
}

/// Hash of a file's size and last 64 KiB, which in Parquet hold the footer with all statistics. It
/// does not depend on the file's time, so that a copy is the same file.
fn fingerprint(file: &FoundFile) -> Result<String, Error> {
    use std::io::{Read, Seek, SeekFrom};
    const TAIL: u64 = 64 << 10;
    let cannot = |e: std::io::Error| {
        Error::Faults(vec![crate::error::Fault {
            file: file.path.clone(),
            place: String::new(),
            problem: format!("cannot be read again: {e}"),
            hint: "run again when the job that writes it has ended".into(),
        }])
    };
    let mut reader = std::fs::File::open(&file.path).map_err(cannot)?;
    reader.seek(SeekFrom::Start(file.bytes.saturating_sub(TAIL))).map_err(cannot)?;
    let mut tail = Vec::new();
    reader.take(TAIL).read_to_end(&mut tail).map_err(cannot)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&file.bytes.to_le_bytes());
    hasher.update(&tail);
    Ok(hasher.finalize().to_hex().chars().take(32).collect())
}

/// One line a file, for the run's name.
pub(super) fn fingerprints(inputs: &[InputEntry]) -> Vec<String> {
    inputs
        .iter()
        .flat_map(|i| i.files.iter().map(move |f| format!("{} {}", i.name, f.fingerprint)))
        .collect()
}

/// What the manifest says besides the tables.
pub(super) fn account(
    history: &History,
    ledger: &Ledger,
    inputs: Vec<InputEntry>,
    summary: &Summary,
) -> Account {
    Account {
        rows: RowCounts {
            rows_in_n: history.counts.rows_in,
            folded_n: history.counts.folded,
            quarantined_n: history.counts.quarantined,
            after_as_of_n: history.counts.after_as_of,
        },
        inputs,
        skipped_tables: summary
            .skipped
            .iter()
            .map(|(name, reason)| SkippedTable { name: name.clone(), reason: reason.clone() })
            .collect(),
        quality: ledger
            .findings()
            .into_iter()
            .filter(|f| f.affected > 0)
            .map(|f| QualityEntry {
                input: f.input,
                rule: f.rule.name().to_owned(),
                severity: severity_name(f.severity).to_owned(),
                subject: f.rule.subject().name().to_owned(),
                affected_n: f.affected,
            })
            .collect(),
        warnings: summary.warnings.clone(),
        timings: summary
            .timings
            .iter()
            .map(|(step, seconds)| Timing { step: step.clone(), seconds: *seconds })
            .collect(),
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Ignore => "ignore",
        Severity::Warn => "warn",
        Severity::Quarantine => "quarantine",
        Severity::Fail => "fail",
    }
}

/// Which tables have fits of models that did not converge; what they say of it is in their rows.
///
/// # Errors
/// A table that cannot be read back.
pub(super) fn failed_fits(tables: &[Finished]) -> Result<Vec<String>, Error> {
    const STATUS: &str = "fit_status";
    let mut warnings = Vec::new();
    for table in tables.iter().filter(|t| t.specs().iter().any(|spec| spec.name == STATUS)) {
        let mut failed = 0_usize;
        for batch in &table.table()?.batches {
            let status = batch.column_by_name(STATUS).and_then(|c| c.as_any().downcast_ref());
            let status: Option<&StringArray> = status;
            let own = status.into_iter().flatten().flatten();
            failed += own.filter(|status| *status == "not_converged").count();
        }
        if failed > 0 {
            let name = table.name();
            warnings
                .push(format!("table {name:?}: {failed} rows are of fits that did not converge"));
        }
    }
    Ok(warnings)
}

/// What a reader should know before trusting the numbers: notes, then what breaks which rule.
pub(super) fn warnings(history: &History, ledger: &Ledger) -> Vec<String> {
    let mut warnings = notes(history);
    for f in ledger.findings() {
        if f.affected > 0 && matches!(f.severity, Severity::Warn | Severity::Quarantine) {
            let what = f.rule.subject().of(f.affected);
            let share = share(f.rule, f.affected, f.checked);
            let (rule, meaning) = (f.rule.name(), f.rule.meaning_as(f.severity));
            let (input, affected) = (f.input, f.affected);
            warnings.push(format!("{input}: {affected}{share} {what} of rule {rule}: {meaning}"));
        }
    }
    warnings
}

/// What a reader should know beside the rules, one sentence each.
pub(super) fn notes(history: &History) -> Vec<String> {
    let mut warnings: Vec<String> = history
        .inputs
        .iter()
        .flat_map(|(input, _)| input.warnings.iter().map(|w| format!("{}: {w}", input.name)))
        .collect();
    let is_current = |(_, quality): &(String, Quality)| *quality == Quality::Current;
    let is_alone = history.qualities.iter().all(is_current);
    warnings.extend(history.qualities.iter().filter_map(|(name, quality)| {
        Some(format!("{name}: history_quality = {}", quality_meaning(*quality, is_alone)?))
    }));
    if history.counts.folded == 0 {
        let as_of = instant_text(history.as_of);
        warnings.push(format!("no event of the deal history is usable and not after {as_of}"));
    }
    if history.counts.folded > 0 && history.deals == 0 {
        warnings.push("no deal is left: every one is deleted or kept out".into());
    }
    const NAMED: usize = 5;
    if !history.unknown_stages.is_empty() {
        let named: Vec<&str> =
            history.unknown_stages.iter().take(NAMED).map(String::as_str).collect();
        let rest = history.unknown_stages.len().saturating_sub(NAMED);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        warnings.push(format!("stages that are not in the pipeline: {}{more}", named.join(", ")));
    }
    if !history.unknown_pipelines.is_empty() {
        let named = history.unknown_pipelines.join(", ");
        warnings.push(format!("pipelines that are not in [pipelines]: {named}"));
    }
    warnings
}

/// What cannot be known from histories of less than full quality.
fn quality_meaning(quality: Quality, is_alone: bool) -> Option<&'static str> {
    match quality {
        Quality::Wide => {
            Some("wide: each stage has one date, so regressions and second visits are not known")
        }
        Quality::Snapshot => Some(
            "snapshot: times are those of the extract that first showed a change, and what came \
             and went between two extracts is not known",
        ),
        Quality::Current if is_alone => Some(
            "current: only how each deal stands is known, so neither its stages before nor how long \
             it was in them are",
        ),
        Quality::Events | Quality::Current => None,
    }
}

/// How many of how many, where that says more than the number alone.
fn share(rule: Rule, affected: u64, checked: u64) -> String {
    let says_more = matches!(
        rule,
        Rule::HistoryDisagrees
            | Rule::Orphans
            | Rule::OrphanMerges
            | Rule::OrphanPayments
            | Rule::OrphanRows
            | Rule::OrphanSplits
            | Rule::OrphanTargets
    );
    if !says_more || checked == 0 {
        return String::new();
    }
    let percent = affected as f64 * 100.0 / checked as f64;
    format!(" of {checked} ({percent:.1} %)")
}

/// Writes the rows that were kept out, one file an input.
pub(super) fn write_quarantine(staging: &mut Staging<'_>, ledger: &Ledger) -> Result<(), Error> {
    for (input, rows) in ledger.quarantined() {
        let batch = quarantine_batch(&rows)?;
        let path = format!("quarantine/{input}.parquet");
        staging.write_batches(&path, batch.schema(), [batch])?;
    }
    Ok(())
}

fn quarantine_batch(rows: &[QuarantinedRow]) -> Result<RecordBatch, Error> {
    type Text = fn(&QuarantinedRow) -> Option<&str>;
    let text = |f: Text| -> ArrayRef { Arc::new(rows.iter().map(f).collect::<StringArray>()) };
    let files: StringArray = rows.iter().map(|r| Some(r.file.display().to_string())).collect();
    let numbers: UInt64Array = rows.iter().map(|r| Some(r.row + 1)).collect();
    let lines: UInt64Array = rows.iter().map(|r| r.line).collect();
    let columns: Vec<(&str, DataType, ArrayRef)> = vec![
        ("file", DataType::Utf8, Arc::new(files)),
        ("row", DataType::UInt64, Arc::new(numbers)),
        ("rule", DataType::Utf8, text(|r| Some(r.rule))),
        ("deal_id", DataType::Utf8, text(|r| r.deal_id.as_deref())),
        ("event_time", DataType::Utf8, text(|r| r.event_time.as_deref())),
        ("event_type", DataType::Utf8, text(|r| r.event_type.as_deref())),
        ("stage_id", DataType::Utf8, text(|r| r.stage_id.as_deref())),
        ("amount", DataType::Utf8, text(|r| r.amount.as_deref())),
        ("line", DataType::UInt64, Arc::new(lines)),
        ("text", DataType::Utf8, text(|r| r.text.as_deref())),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, t, _)| Field::new(*name, t.clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, _, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|e| Error::compute("the quarantine", e))
}
