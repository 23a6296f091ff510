//! Corrupt and odd files collected by the makers of other readers: read or named, in every role.

use super::*;
use crate::support::shared_data;

/// The names of the columns of a file that can be opened at all.
fn column_names(path: &Path) -> Vec<String> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let Ok(reader) = SerializedFileReader::new(std::fs::File::open(path).unwrap()) else {
        return Vec::new();
    };
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    schema.root_schema().get_fields().iter().map(|f| f.name().to_owned()).collect()
}

/// Reads a column of a file as the keys of a look-up table.
fn as_lookup(path: &Path, column: &str) -> Result<(), dealmill::error::Error> {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    let (path, column) = (toml(&path.display().to_string()), toml(column));
    let lookup = format!(
        "[inputs.people]\npath = {path}\nshape = \"lookup\"\nkey = \"region\"\n\
         columns = {{ region = {column} }}\n"
    );
    scratch.run(&format!("{CONFIG}{lookup}")).map(|_| ())
}

fn toml(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[test]
fn known_bad_files_are_named_whatever_is_read_of_them() {
    let Some(folder) = shared_data("parquet_bad") else { return };
    let entries = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|p| p.extension().is_some_and(|e| e == "parquet")).collect();
    files.sort();
    assert!(files.len() >= 16, "{files:?}");
    let mut decoded = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // None of them is a deal history, and the error says so of the file itself.
        let scratch = published_once();
        std::fs::remove_file(scratch.path("events/a.parquet")).unwrap();
        std::fs::copy(&path, scratch.path(&format!("events/{name}"))).unwrap();
        check_fails(&scratch, CONFIG, 3, &[&name]);
        let judged = Command::new(env!("CARGO_BIN_EXE_dealmill"))
            .args(["check", "-c", "dealmill.toml"])
            .current_dir(scratch.path(""))
            .output()
            .unwrap();
        assert_eq!(judged.status.code(), Some(3), "{}", stderr(&judged));
        assert!(stderr(&judged).contains(&name), "{}", stderr(&judged));
        for column in column_names(&path) {
            match as_lookup(&path, &column) {
                Ok(()) => decoded.push(format!("{name} {column}")),
                Err(error) => {
                    assert_eq!(error.exit_code(), 3, "{name} {column}: {error}");
                    assert!(error.to_string().contains(&name), "{name} {column}: {error}");
                }
            }
        }
    }
    // Those that are whole are read, those of which every column is broken are not.
    let is_read = |file: &str| decoded.iter().any(|d| d.starts_with(file));
    assert!(is_read("alltypes_plain.parquet"), "{decoded:?}");
    for broken in [
        "datapage_v1-corrupt-checksum",
        "PARQUET-1481",
        "ARROW-RS-GH-6229-LEVELS",
        "ARROW-GH-45185",
        "ARROW-GH-47662",
    ] {
        assert!(!is_read(broken), "{broken}: {decoded:?}");
    }
    // Of others a column or two are whole.
    for column in ["ARROW-RS-GH-6229-DICTHEADER.parquet name", "nation.dict-malformed.parquet name"]
    {
        assert!(!decoded.iter().any(|d| d == column), "{column}: {decoded:?}");
    }
}

/// Reads a column of a file as the deals' identifiers, their times, their amounts and their stages.
fn as_events(path: &Path, column: &str, role: &str) -> Result<(), dealmill::error::Error> {
    let scratch = Scratch::new();
    let keys = ["deal_id=1", "event_time=2024-01-05", "stage_id=lead", "region=north"];
    let keys: Vec<&str> = keys.into_iter().filter(|key| !key.starts_with(role)).collect();
    let folder = format!("events/{}", keys.join("/"));
    let to = scratch.write(&format!("{folder}/bad.parquet"), "");
    std::fs::copy(path, to).unwrap();
    let mapped = format!("timezone = \"UTC\"\ncolumns = {{ {role} = {} }}\n", toml(column));
    let config = CONFIG.replace("2024-04-01", "2100-01-01");
    scratch.run(&format!("{config}{mapped}")).map(|_| ())
}

#[test]
fn columns_of_known_bad_files_are_read_or_named_in_every_role() {
    let Some(folder) = shared_data("parquet_bad") else { return };
    let entries = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
    let (mut read, mut refused) = (0, 0);
    for path in entries.filter(|p| p.extension().is_some_and(|e| e == "parquet")) {
        for column in column_names(&path) {
            for role in ["deal_id", "event_time", "amount", "stage_id"] {
                let Err(error) = as_events(&path, &column, role) else {
                    read += 1;
                    continue;
                };
                refused += 1;
                let place = format!("{} {column} as {role}", path.display());
                assert_eq!(error.exit_code(), 3, "{place}: {error}");
                let text = error.to_string();
                let is_named = text.contains("bad.parquet") || text.contains("can be used");
                assert!(is_named, "{place}: {text}");
            }
        }
    }
    assert!(read > 20 && refused > 20, "{read} read, {refused} refused");
}

#[test]
fn decimals_of_every_physical_kind_are_exact() {
    let Some(folder) = shared_data("parquet_bad") else { return };
    // Each holds 1.00 to 24.00 in 24 rows, which are won events of one deal at one instant here: the
    // last amount is the deal's.
    for name in ["byte_array_decimal", "fixed_length_decimal", "int64_decimal"] {
        let scratch = Scratch::new();
        let keys = "deal_id=1/customer_id=1/event_time=2024-01-05/event_type=won/region=north";
        let to = scratch.write(&format!("events/{keys}/a.parquet"), "");
        std::fs::copy(folder.join(format!("{name}.parquet")), to).unwrap();
        let tables = crate::inputs::tables_of(
            &scratch,
            &format!("{CONFIG}columns = {{ amount = \"value\" }}\n"),
        );
        assert_eq!(crate::inputs::total(&tables, "revenue", "net_amount"), 2_400, "{name}");
        assert_eq!(crate::inputs::affected(&tables, "deal_events", "bad_amount"), 0, "{name}");
    }
}

#[test]
fn checksums_of_pages_are_verified() {
    let Some(folder) = shared_data("parquet_bad") else { return };
    let path = folder.join("datapage_v1-corrupt-checksum.parquet");
    for column in ["a", "b"] {
        let error = as_lookup(&path, column).unwrap_err().to_string();
        let place = format!("datapage_v1-corrupt-checksum.parquet, row group 0, column {column:?}");
        assert!(error.contains(&place) && error.to_lowercase().contains("crc"), "{error}");
    }
}

#[test]
fn bytes_without_a_logical_type_and_old_timestamps_are_read() {
    let Some(folder) = shared_data("parquet_bad") else { return };
    // Eight rows written by Impala: string_col holds bytes, timestamp_col 96-bit timestamps of the
    // first minutes of January to April 2009.
    let scratch = Scratch::new();
    let path = folder.join("alltypes_plain.parquet").display().to_string();
    let config = CONFIG
        .replace("2024-04-01", "2010-01-01")
        .replace("\"lead\", \"proposal\"", "\"0\", \"1\"")
        .replace("path = \"events\"", &format!("path = {}", toml(&path)))
        .replace("columns = [\"region\"]", "columns = [\"date_string_col\"]");
    let mapped = "timezone = \"UTC\"\ncolumns = { deal_id = \"id\", stage_id = \"string_col\", \
                  event_time = \"timestamp_col\" }\n";
    scratch.run(&format!("{config}{mapped}")).unwrap();
    let rows = scratch.table("conversion");
    let wanted = [("slice", "all"), ("period", "month"), ("basis", "created")];
    let months: Vec<i64> = crate::support::filter(&rows, &wanted)
        .iter()
        .map(|row| crate::support::int(row, "deals_n"))
        .filter(|n| *n > 0)
        .collect();
    assert_eq!(months, [2, 2, 2, 2]);
}
