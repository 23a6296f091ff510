//! CSV as it comes: the same tables from every dialect, and a place for every line that is no row.

use super::*;
use crate::support::Cell;
use std::io::Write as _;

/// The plain history as lines of fields, its amounts with a decimal point.
fn lines() -> Vec<Vec<String>> {
    let names =
        ["deal_id", "event_time", "stage_id", "amount", "customer_id", "owner_id", "region"];
    let mut lines = vec![names.map(str::to_owned).to_vec()];
    for (deal, at, stage, cents, customer, owner, region) in HISTORY {
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let fields = [deal.to_string(), (*at).to_owned(), (*stage).to_owned(), amount];
        let more = [customer.to_string(), (*owner).to_owned(), (*region).to_owned()];
        lines.push(fields.into_iter().chain(more).collect());
    }
    lines
}

fn joined(lines: &[Vec<String>], delimiter: &str, end: &str) -> String {
    lines.iter().map(|line| line.join(delimiter) + end).collect()
}

fn write(scratch: &Scratch, relative: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = scratch.write(relative, "");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A file of these bytes gives the tables of the plain form.
#[track_caller]
fn check(file: &str, bytes: &[u8], extra: &str) {
    let scratch = Scratch::new();
    write(&scratch, &format!("events/{file}"), bytes);
    assert_same(&tables_of(&scratch, &format!("{CONFIG}{extra}")), plain());
}

#[test]
fn every_dialect_gives_the_same_tables() {
    let lines = lines();
    let plain = joined(&lines, ",", "\n");
    check("a.csv", plain.as_bytes(), "");
    check("a.csv", joined(&lines, ",", "\r\n").as_bytes(), "");
    check("a.csv", format!("\u{feff}{plain}").as_bytes(), "");
    check("a.csv", joined(&lines, ";", "\n").as_bytes(), "delimiter = \";\"\n");
    check("a.csv", joined(&lines, "|", "\n").as_bytes(), "delimiter = \"auto\"\n");
    check("a.csv", joined(&lines, "\t", "\r\n").as_bytes(), "delimiter = \"tab\"\n");
    check("a.tsv", joined(&lines, "\t", "\n").as_bytes(), "");
    let utf16: Vec<u8> =
        format!("\u{feff}{plain}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    check("a.csv", &utf16, "");
    let mut quoted = lines.clone();
    for field in quoted.iter_mut().flatten() {
        *field = format!("'{field}'");
    }
    check("a.csv", joined(&quoted, ",", "\n").as_bytes(), "quote = \"'\"\n");
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(plain.as_bytes()).unwrap();
    check("a.csv.gz", &packer.finish().unwrap(), "");
}

#[test]
fn amounts_may_have_a_decimal_comma_and_grouped_thousands() {
    let mut lines = lines();
    for line in lines.iter_mut().skip(1) {
        line[3] = line[3].replace('.', ",");
    }
    check("a.csv", joined(&lines, ";", "\n").as_bytes(), "delimiter = \"auto\"\ndecimal = \",\"\n");
    // A hundred times as much, so that there are thousands.
    for line in lines.iter_mut().skip(1) {
        let units = line[3].replace(',', "");
        let (thousands, rest) = units.split_at(units.len() - 3);
        line[3] = format!("{thousands}.{rest},00");
    }
    let scratch = Scratch::new();
    write(&scratch, "events/a.csv", joined(&lines, ";", "\n").as_bytes());
    let config = format!("{CONFIG}delimiter = \";\"\ndecimal = \",\"\n");
    let tables = tables_of(&scratch, &config);
    assert_eq!(total(&tables, "revenue", "net_amount"), (12_550 + 8_025) * 100);
    assert_eq!(affected(&tables, "deal_events", "bad_amount"), 0);
    // Not declared, such amounts are not guessed: all of them are unknown.
    let tables = tables_of(&scratch, &format!("{CONFIG}delimiter = \";\"\n"));
    assert_eq!(affected(&tables, "deal_events", "bad_amount"), HISTORY.len() as i64);
}

#[test]
fn names_in_other_encodings_are_the_same_names() {
    let header = "商机,时间,阶段,金额,地区\n";
    let rows = "d1,2024-01-05T10:00:00Z,线索,10,华东\nd1,2024-01-06T10:00:00Z,赢单,10,华东\n";
    let config = CONFIG
        .replace("\"lead\", \"proposal\"", "\"线索\"")
        .replace("won = [\"won\"]", "won = [\"赢单\"]")
        + "columns = { deal_id = \"商机\", event_time = \"时间\", stage_id = \"阶段\", \
           amount = \"金额\", region = \"地区\" }\n";
    let of = |bytes: &[u8], extra: &str| {
        let scratch = Scratch::new();
        write(&scratch, "events/a.csv", bytes);
        tables_of(&scratch, &format!("{config}{extra}"))
    };
    let text = format!("{header}{rows}");
    let expected = of(text.as_bytes(), "");
    let east = [("slice", "region"), ("region", "华东"), ("period", "all")];
    assert_eq!(int(&only(&expected["revenue"], &east), "won_n"), 1);
    let (gb, _, _) = encoding_rs::GB18030.encode(&text);
    assert_same(&of(&gb, "encoding = \"gb18030\"\n"), &expected);
    assert_same(&of(&gb, "encoding = \"GBK\"\n"), &expected);
    // Read as what they are not, names differ or the file is refused; never in silence.
    let scratch = Scratch::new();
    write(&scratch, "events/a.csv", &gb);
    let error = scratch.run(&config).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("a.csv: its header is no UTF-8 text"), "{error}");
    assert!(error.hint().unwrap().contains("encoding"), "{error}");
}

#[test]
fn values_that_stand_for_none_are_none() {
    let text = "deal_id,event_time,stage_id,amount,region\n\
                1,2024-01-05T10:00:00Z,lead,NULL,north\n\
                1,2024-01-06T10:00:00Z,won,N/A,NULL\n\
                NULL,2024-01-06T10:00:00Z,won,1,north\n";
    let scratch = Scratch::new();
    write(&scratch, "events/a.csv", text.as_bytes());
    let tables = tables_of(&scratch, &format!("{CONFIG}null_values = [\"NULL\", \"N/A\"]\n"));
    assert_eq!(affected(&tables, "deal_events", "bad_amount"), 0);
    assert_eq!(affected(&tables, "deal_events", "null_deal_id"), 1);
    let north = [("slice", "region"), ("region", "north"), ("period", "all")];
    assert_eq!(int(&only(&tables["revenue"], &north), "won_n"), 1);
}

/// The plain history with lines among its rows that are none: too long, too short, with text after
/// a quote, with bytes that are no text.
fn dirty() -> Vec<u8> {
    let lines = lines();
    let mut bytes = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        bytes.extend_from_slice(line.join(",").as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(match number {
            1 => b"5,2024-01-05T10:00:00Z,lead,1,1,eve,no,rth\n".as_slice(),
            3 => b"6,2024-01-05T10:00:00Z,lead\n",
            4 => b"7,2024-01-05T10:00:00Z,lead,1,1,\"e\"ve,north\n",
            5 => b"8,2024-01-05T10:00:00Z,lead,1,1,\xE9ve,north\n",
            9 => b"Total: 9\n",
            _ => b"\n",
        });
    }
    bytes
}

#[test]
fn lines_that_are_no_rows_are_kept_out_with_file_row_line_and_text() {
    let scratch = Scratch::new();
    let path = write(&scratch, "events/a.csv", &dirty());
    let summary = scratch.run(CONFIG).unwrap();
    assert_eq!((summary.rows_in, summary.rows_quarantined), (14, 5));
    let found = tables(&scratch);
    for (rule, n) in [("ragged_rows", 3), ("bad_quotes", 1), ("undecodable_text", 1)] {
        assert_eq!(affected(&found, "deal_events", rule), n, "{rule}");
    }
    let told: Vec<String> = rows_of(&scratch.path("out/latest/quarantine/deal_events.parquet"))
        .iter()
        .map(|row| match (&row["file"], &row["rule"], &row["text"]) {
            (Cell::Text(file), Cell::Text(rule), Cell::Text(text)) => {
                assert_eq!(*file, path.display().to_string());
                format!("{} {} {rule} {text}", int(row, "row"), int(row, "line"))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    // The header is line 1 and followed by an empty line; rows are counted from 1.
    let expected = [
        "2 4 ragged_rows 5,2024-01-05T10:00:00Z,lead,1,1,eve,no,rth",
        "5 8 ragged_rows 6,2024-01-05T10:00:00Z,lead",
        "7 10 bad_quotes 7,2024-01-05T10:00:00Z,lead,1,1,\"e\"ve,north",
        "9 12 undecodable_text 8,2024-01-05T10:00:00Z,lead,1,1,\u{fffd}ve,north",
        "14 20 ragged_rows Total: 9",
    ];
    assert_eq!(told, expected);
    // What is left is the plain history, also where deals with ties are found by their rows.
    assert_eq!(outcomes(&found), outcomes(plain()));
    let ties = scratch.run(&format!("{CONFIG}[fold]\nties = \"reject\"\n")).unwrap();
    assert_eq!((ties.rows_in, ties.rows_quarantined), (14, 5));
}

#[test]
fn broken_lines_may_be_made_to_fail() {
    let scratch = Scratch::new();
    write(&scratch, "events/a.csv", &dirty());
    let config = format!("{CONFIG}[quality.severity]\nragged_rows = \"fail\"\n");
    let error = scratch.run(&config).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("ragged_rows (3 in deal_events)"), "{error}");
    let config = format!("{CONFIG}[quality.severity]\nragged_rows = \"warn\"\n");
    assert_eq!(scratch.run(&config).unwrap_err().exit_code(), 2);
}

#[test]
fn broken_lines_of_look_ups_and_spend_are_kept_out_too() {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    scratch.write("teams.csv", "owner_id,team\nann,A\nbob\neve,B,C\n");
    scratch.write("spend.csv", "date,channel,amount\n2024-01-01,north,10\n2024-01-02,north\n");
    let config = format!(
        "{CONFIG}[inputs.spend]\npath = \"spend.csv\"\nshape = \"spend\"\n\
         [inputs.teams]\npath = \"teams.csv\"\nshape = \"lookup\"\nkey = \"owner_id\"\n"
    );
    let tables = tables_of(&scratch, &config);
    assert_eq!(affected(&tables, "teams", "ragged_rows"), 2);
    assert_eq!(affected(&tables, "spend", "ragged_rows"), 1);
    for (input, rows) in [("teams", 2), ("spend", 1)] {
        let path = scratch.path(&format!("out/latest/quarantine/{input}.parquet"));
        assert_eq!(rows_of(&path).len(), rows, "{input}");
    }
}

/// A file of these bytes is refused, and the error says all of this.
#[track_caller]
fn check_refused(bytes: &[u8], extra: &str, said: &[&str]) {
    let scratch = Scratch::new();
    write(&scratch, "events/a.csv", bytes);
    let error = scratch.run(&format!("{CONFIG}{extra}")).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    let text = format!("{error}\nhint: {}", error.hint().unwrap_or_default());
    for part in said {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
fn files_that_cannot_be_read_on_are_named_with_their_line() {
    let plain = joined(&lines(), ",", "\n");
    let open = plain.replacen("proposal", "\"proposal", 1);
    check_refused(open.as_bytes(), "", &["a.csv, line 3: a quote that begins", "quote = \"\""]);
    let semicolons = joined(&lines(), ";", "\n");
    check_refused(semicolons.as_bytes(), "", &["column \"deal_id\": is missing", "\"auto\""]);
    let headless = joined(&lines()[1..], ",", "\n");
    check_refused(headless.as_bytes(), "", &["is missing", "the first line must name the columns"]);
    let twice = plain.replacen("owner_id", "stage_id", 1);
    check_refused(twice.as_bytes(), "", &["column \"stage_id\": is there more than once"]);
    check_refused(b"", "", &["a.csv: is empty"]);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(plain.as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    check_refused(&packed[..packed.len() - 12], "", &["a.csv", "cannot be read"]);
}

#[test]
fn a_doubled_name_that_nobody_asks_for_does_no_harm() {
    let doubled: String = joined(&lines(), ",", "\n")
        .lines()
        .enumerate()
        .map(|(n, line)| format!("{line},{}\n", if n == 0 { "note,note" } else { "x,y" }))
        .collect();
    check("a.csv", doubled.as_bytes(), "");
}

/// Rows and those with as many fields as the header, by Python's parser; `None` where there is none.
fn counted_by_python(path: &Path) -> Option<(u64, u64)> {
    let program = "import csv, sys\n\
        rows = [r for r in csv.reader(open(sys.argv[1], newline='', encoding='utf-8')) if r]\n\
        print(len(rows) - 1, sum(len(r) == len(rows[0]) for r in rows[1:]))";
    let output = std::process::Command::new("python3").args(["-c", program]).arg(path).output();
    let Some(output) = output.ok().filter(|o| o.status.success()) else {
        eprintln!("SKIPPED: there is no python3");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let (rows, whole) = text.trim().split_once(' ').unwrap();
    Some((rows.parse().unwrap(), whole.parse().unwrap()))
}

#[test]
fn rows_are_as_many_as_another_parser_finds() {
    let good = |deal: usize, region: &str| format!("{deal},2024-01-05T10:00:00Z,lead,{region}");
    let regions =
        ["north", "\"a,b\"", "\"a\"\"b\"", "\"a\nb\"", "\"a\r\nb\"", "\"\"", "", "5\" x", "é"];
    let ends = ["\n", "\r\n", "\n\n", "\r\n\r\n"];
    let mut text = String::from("deal_id,event_time,stage_id,region\n");
    let (mut rows, mut whole) = (0, 0);
    for (n, region) in regions.iter().cycle().take(3 * 4 * regions.len()).enumerate() {
        // Every seventh row has a field too few, every eleventh one too many.
        let row = match n {
            _ if n % 7 == 6 => format!("{n},2024-01-05T10:00:00Z,{region}"),
            _ if n % 11 == 10 => good(n, region) + ",more",
            _ => good(n, region),
        };
        whole += u64::from(n % 7 != 6 && n % 11 != 10);
        rows += 1;
        text += &row;
        text += ends[n % ends.len()];
    }
    let scratch = Scratch::new();
    let path = scratch.write("events/a.csv", &text);
    let summary = scratch.run(CONFIG).unwrap();
    assert_eq!((summary.rows_in, summary.rows_in - summary.rows_quarantined), (rows, whole));
    if let Some(counted) = counted_by_python(&path) {
        assert_eq!(counted, (rows, whole));
    }
}
