//! What the files hold, read back.

use super::super::Heading;
use super::*;
use crate::table::BLOCK_ROWS;

fn written(format: Format) -> (tempfile::TempDir, PathBuf, Table) {
    let out = tempfile::tempdir().unwrap();
    let table = table("oranges", 1);
    let output = Output::claim(out.path(), "now").unwrap();
    let mut staging = output.stage(stamp(0)).unwrap();
    let path = staging.write_table(&table, format).unwrap().path.clone();
    let done = staging.publish(Account::default(), 3).unwrap();
    (out, done.folder.join(path), table)
}

#[test]
fn parquet_holds_the_values_and_explains_itself() {
    let (_out, path, table) = written(Format::Parquet);
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let file = reader.metadata().file_metadata().clone();
    let pairs = file.key_value_metadata().unwrap();
    let value = |key: &str| pairs.iter().find(|p| p.key == key).unwrap().value.clone().unwrap();
    assert_eq!(value("dealmill.run_id"), stamp(0).run_id);
    assert_eq!(value("dealmill.config_hash"), "c0ffee");
    assert_eq!(value("dealmill.as_of"), "2025-01-01T00:00:00Z");
    assert_eq!(value("dealmill.table"), "oranges");
    assert_eq!(value("dealmill.table_schema_version"), "1");
    let columns: Vec<ColumnEntry> = serde_json::from_str(&value("dealmill.columns")).unwrap();
    assert_eq!(columns[2].dtype, "decimal");
    assert_eq!((columns[2].scale, columns[1].unit.as_str()), (Some(2), "deals"));
    assert!(file.created_by().unwrap().starts_with("dealmill version "));
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    let schema = batch.schema();
    let net = schema.field_with_name("net_amount").unwrap();
    assert_eq!(net.data_type(), &DataType::Decimal128(18, 2));
    assert_eq!(net.metadata().get("unit").map(|u| u.to_string()).as_deref(), Some("currency"));
    assert_eq!(
        net.metadata().get("meaning").map(|m| m.to_string()).as_deref(),
        Some("Net amount.")
    );
    assert_eq!(schema.field_with_name("period_start").unwrap().data_type(), &DataType::Date32);
    for (found, wanted) in batch.columns().iter().zip(table.batches[0].columns()) {
        assert_eq!(found.to_data(), wanted.to_data());
    }
}

#[test]
fn csv_holds_the_values_and_no_formula() {
    let (_out, path, _) = written(Format::Csv);
    let text = fs::read_to_string(&path).unwrap();
    // 0.1 + 0.2 is 0.30000000000000004 as a double; day 19,723 is 2024-01-01.
    let expected = "region,won_n,net_amount,win_rate,period_start,entered_at,low_n\n\
        ,3,0.05,1.0,1970-01-01,1970-01-01T00:00:00Z,false\n\
        '=1+1,1,-1234.56,0.30000000000000004,2024-01-01,2025-01-01T00:00:00.000001Z,true\n\
        \"北京, \"\"x\"\"\n\",2,,,1969-12-31,1969-12-31T23:59:59.999999Z,false\n";
    assert_eq!(text, expected);
}

#[test]
fn json_lines_hold_the_values() {
    let (_out, path, _) = written(Format::Json);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // Text is unchanged here, since no spreadsheet runs JSON; a null key is written out.
    let second = concat!(
        r#"{"region":"=1+1","won_n":1,"net_amount":-1234.56,"win_rate":0.30000000000000004,"#,
        r#""period_start":"2024-01-01","entered_at":"2025-01-01T00:00:00.000001Z","low_n":true}"#
    );
    assert_eq!(lines[1], second);
    let first: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(first["region"], serde_json::Value::Null);
    let third: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(third["region"], "北京, \"x\"\n");
    assert_eq!(lines.len(), 3);
}

#[test]
fn every_formula_sign_is_defused_in_csv_and_nothing_else() {
    let specs = vec![ColumnSpec::text("name", "A name.").key()];
    let mut builder = TableBuilder::new("names", specs, 2);
    let signs = ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"];
    let harmless = ["a=b", "'=b", "1-2", "", " x", "\"=b"];
    let dangerous: Vec<String> = signs.iter().map(|s| format!("{s}b")).collect();
    for name in dangerous.iter().map(String::as_str).chain(harmless) {
        builder.push(&[("name", Value::Text(name))]).unwrap();
    }
    let table = builder.finish().unwrap();
    let heading = Heading { name: &table.name, specs: &table.specs, schema: table.schema.clone() };
    let batches = [table.batches[0].clone()];
    let written = super::writer::write_rows(&heading, batches, Format::Csv, &[], Vec::new());
    let (bytes, rows) = written.unwrap();
    assert_eq!(rows, 17);
    let schema = Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, true)]));
    let reader = arrow::csv::ReaderBuilder::new(schema).with_header(true);
    let batch = reader.build(bytes.as_slice()).unwrap().next().unwrap().unwrap();
    let names = batch.column(0).as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
    let mut found: Vec<String> = names.iter().map(|n| n.unwrap_or_default().to_owned()).collect();
    let mut expected: Vec<String> = dangerous.iter().map(|d| format!("'{d}")).collect();
    expected.extend(harmless.map(str::to_owned));
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_file_does_not_show_how_its_rows_were_cut() {
    // Enough for several pages of each column, with a dictionary that is given up on the way,
    // and a column with nulls in the middle only.
    let specs = vec![
        ColumnSpec::text("name", "A name.").key(),
        ColumnSpec::count("n", "x", "N.").nullable(),
    ];
    let mut builder = TableBuilder::new("names", specs, 2);
    for n in 0..60_000_i64 {
        let name = format!("{:08} and some more text for the page", n / 3);
        let value = if (25_000..26_000).contains(&n) { Value::Null } else { Value::Int(n % 1_000) };
        builder.push(&[("name", Value::Text(&name)), ("n", value)]).unwrap();
    }
    let table = builder.finish().unwrap();
    let heading = Heading { name: &table.name, specs: &table.specs, schema: table.schema.clone() };
    for format in [Format::Parquet, Format::Csv, Format::Json] {
        let written = |rows: usize| {
            let total = table.rows();
            let cut = |from| table.batches[0].slice(from, rows.min(total - from));
            let batches = (0..total).step_by(rows).map(cut);
            super::writer::write_rows(&heading, batches, format, &[], Vec::new()).unwrap()
        };
        let whole = written(usize::MAX >> 1);
        for rows in [BLOCK_ROWS, 3 * BLOCK_ROWS, 7_777] {
            assert!(written(rows) == whole, "{format:?} in batches of {rows} rows");
        }
    }
}
