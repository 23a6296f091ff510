//! Bytes in, fields and refusals out.

use super::*;
use crate::config::Input;
use arrow::array::{Array, AsArray};

/// What a file reads as: rows as `a|b` (null as `~`), refused lines as `!rule line text`.
fn read(bytes: &[u8], input: &Input) -> Result<Vec<String>, Broken> {
    read_by(bytes, input, 8_192)
}

fn read_by(bytes: &[u8], input: &Input, batch_rows: usize) -> Result<Vec<String>, Broken> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, bytes).unwrap();
    let opened = Opened::open(&path, &Dialect::of(input).unwrap())?;
    let roots: Vec<usize> = (0..opened.schema().fields().len()).collect();
    let mut told = vec![format!("# {}", opened.names.join("|"))];
    let mut rows = opened.rows(&roots, batch_rows);
    while let Some(piece) = rows.next()? {
        match piece {
            Piece::Refused(RefusedLine { rule, line, text }) => {
                told.push(format!("!{} {line} {text}", rule.name()));
            }
            Piece::Batch(batch) => {
                for row in 0..batch.num_rows() {
                    let cell = |column: &ArrayRef| {
                        let column = column.as_string::<i32>();
                        if column.is_null(row) { "~".into() } else { column.value(row).to_owned() }
                    };
                    let cells: Vec<String> = batch.columns().iter().map(cell).collect();
                    told.push(cells.join("|"));
                }
            }
        }
    }
    Ok(told)
}

#[track_caller]
fn check(bytes: &[u8], expected: &[&str]) {
    check_as(bytes, &Input::default(), expected);
}

#[track_caller]
fn check_as(bytes: &[u8], input: &Input, expected: &[&str]) {
    for batch_rows in [1, 2, 8_192] {
        let told = read_by(bytes, input, batch_rows);
        assert_eq!(told.unwrap(), expected, "{batch_rows} rows a batch");
    }
}

#[track_caller]
fn check_broken(bytes: &[u8], place: &str, problem: &str) {
    let broken = read(bytes, &Input::default()).unwrap_err();
    assert_eq!(broken.place, place, "{broken:?}");
    assert!(broken.problem.contains(problem), "{broken:?}");
}

fn with(change: impl FnOnce(&mut Input)) -> Input {
    let mut input = Input::default();
    change(&mut input);
    input
}

#[test]
fn quotes_hold_delimiters_line_ends_and_quotes() {
    check(
        b"a,b\n\"x,y\",\"1\n2\"\n\"say \"\"hi\"\"\",\"\"\n",
        &["# a|b", "x,y|1\n2", "say \"hi\"|~"],
    );
    // Blanks after a closing quote, and quotes inside a plain field, mean nothing.
    check(b"a,b\n\"x\" ,5\" pipe\n", &["# a|b", "x |5\" pipe"]);
}

#[test]
fn lines_may_end_in_any_way_and_blank_ones_are_none() {
    for text in
        ["a,b\n1,2\n3,4\n", "a,b\r\n1,2\r\n3,4", "a,b\r1,2\r3,4\r", "\n\na,b\n\n1,2\r\n\n3,4\n\n"]
    {
        check(text.as_bytes(), &["# a|b", "1|2", "3|4"]);
    }
    check(b"a,b\n", &["# a|b"]);
    check(b"a,b", &["# a|b"]);
}

#[test]
fn ragged_lines_are_kept_out_with_their_number_and_text() {
    check(
        b"a,b,c\n1,2,3\n4,5\n6,7,8,9\n\n\"x\ny\",z,w\n,,\n10\n",
        &[
            "# a|b|c",
            "1|2|3",
            "!ragged_rows 3 4,5",
            "!ragged_rows 4 6,7,8,9",
            "x\ny|z|w",
            "~|~|~",
            "!ragged_rows 9 10",
        ],
    );
    check(b"a,b\r\n1\r\n2,3\r\n4\r\n", &["# a|b", "!ragged_rows 2 1", "2|3", "!ragged_rows 4 4"]);
}

#[test]
fn text_after_a_closing_quote_is_no_field() {
    check(
        b"a,b\n\"x\"y,1\n2,\"3\"\n\"open,4\n5,\"shut\"\n6,7\n",
        &["# a|b", "!bad_quotes 2 \"x\"y,1", "2|3", "!bad_quotes 4 \"open,4\n5,\"shut\"", "6|7"],
    );
}

#[test]
fn an_open_quote_is_named_by_the_line_it_begins_in() {
    check_broken(b"a,b\n1,2\n3,\"4\n5,6\n7,8\n", "line 3", "never closed");
    // Not by the line in which its row begins.
    check_broken(b"a,b,c\n1,\"x\ny\",\"4\n5,6\n7,8\n", "line 3", "never closed");
    check_broken(b"a,b\r\n\r\n1,\"2\r\n", "line 3", "never closed");
    let mut long = b"a,b\n1,2\n\"".to_vec();
    long.extend(std::iter::repeat_n(b"x,y\n", 5 << 20).flatten());
    check_broken(&long, "line 3", "more than");
}

#[test]
fn quotes_may_be_others_or_none() {
    let none = with(|i| i.quote = Some(String::new()));
    check_as(b"a,b\n\"x,1\n", &none, &["# a|b", "\"x|1"]);
    let single = with(|i| i.quote = Some("'".into()));
    check_as(b"a,b\n'x,y',\"\n", &single, &["# a|b", "x,y|\""]);
}

#[test]
fn delimiters_are_as_declared_or_as_the_header_shows() {
    let auto = with(|i| i.delimiter = Some("auto".into()));
    for delimiter in [',', ';', '\t', '|'] {
        let text = "a^\"b,;\t|\"^c\n1^2^3\n".replace('^', &delimiter.to_string());
        check_as(text.as_bytes(), &auto, &["# a|b,;\t||c", "1|2|3"]);
    }
    check_as(b"a\n1\n", &auto, &["# a", "1"]);
    let tab = with(|i| i.delimiter = Some("tab".into()));
    check_as(b"a\tb,c\n1\t2\n", &tab, &["# a|b,c", "1|2"]);
    // A spreadsheet program's first line.
    check_as(b"sep=;\r\na;b\r\n1;2\r\n3\r\n", &auto, &["# a|b", "1|2", "!ragged_rows 4 3"]);
}

#[test]
fn encodings_are_as_declared_and_a_mark_goes_over_them() {
    let expected = ["# 阶段|金额", "赢单|1"];
    let text = "阶段,金额\n赢单,1\n";
    let gb = with(|i| i.encoding = Some("gb18030".into()));
    let (bytes, _, _) = encoding_rs::GB18030.encode(text);
    check_as(&bytes, &gb, &expected);
    check(text.as_bytes(), &expected);
    check(format!("\u{feff}{text}").as_bytes(), &expected);
    check_as(format!("\u{feff}{text}").as_bytes(), &gb, &expected);
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    check(&[b"\xFF\xFE", little.as_slice()].concat(), &expected);
    check(&[b"\xFE\xFF", big.as_slice()].concat(), &expected);
    check_as(&little, &with(|i| i.encoding = Some("utf-16le".into())), &expected);
    let western = with(|i| i.encoding = Some("windows-1252".into()));
    check_as(b"a,b\nM\xFCller,\x80\n", &western, &["# a|b", "Müller|€"]);
    let japanese = with(|i| i.encoding = Some("shift_jis".into()));
    // The second byte of these characters is a backslash and a bar.
    check_as(b"a,b\n\x95\x5C,\x83\x7C\n", &japanese, &["# a|b", "表|ポ"]);
}

#[test]
fn bytes_that_are_no_text_keep_their_line_out() {
    check(
        b"a,b\nx,1\nM\xFCller,2\ny,3\n\xC3,\xA9\n",
        &[
            "# a|b",
            "x|1",
            "!undecodable_text 3 M\u{fffd}ller,2",
            "y|3",
            "!undecodable_text 5 \u{fffd},\u{fffd}",
        ],
    );
    let gb = with(|i| i.encoding = Some("gbk".into()));
    check_as(b"a,b\n\xFF,1\n2,3\n", &gb, &["# a|b", "!undecodable_text 2 \u{fffd},1", "2|3"]);
    // A character cut in two at the end of the file.
    check_as(b"a,b\n1,2\n3,\xB0", &gb, &["# a|b", "1|2", "!undecodable_text 3 3,\u{fffd}"]);
    check_broken(b"a,M\xFCller\n1,2\n", "", "header is no UTF-8 text");
    check_broken(b"a\0,\0b\0\n\0", "", "zero bytes");
}

#[test]
fn declared_values_stand_for_none() {
    let input = with(|i| i.null_values = vec!["NULL".into(), "N/A".into()]);
    check_as(b"a,b\nNULL, N/A \nnull,-\n", &input, &["# a|b", "~|~", "null|-"]);
}

#[test]
fn packed_files_are_unpacked_and_cut_ones_are_named() {
    use std::io::Write;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let rows: String = (0..50_000).map(|n| format!("{n},{}\n", n * 7)).collect();
    packer.write_all(format!("a,b\n{rows}").as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    let told = read(&packed, &Input::default()).unwrap();
    assert_eq!(told.len(), 50_001);
    assert_eq!(told.last().unwrap(), "49999|349993");
    // Two archives one after the other are one file.
    let twice = read(&[packed.clone(), packed.clone()].concat(), &Input::default()).unwrap();
    assert_eq!(twice.len(), 100_002);
    let cut = read(&packed[..packed.len() / 2], &Input::default()).unwrap_err();
    assert!(cut.problem.contains("cannot be read") && cut.place.starts_with("line "), "{cut:?}");
}

#[test]
fn files_without_a_header_are_named() {
    check_broken(b"", "", "is empty");
    check_broken(b"\xEF\xBB\xBF", "", "is empty");
    check_broken(b"\n\r\n\n", "", "is empty");
    check_broken(b",,\n1,2,3\n", "", "names no column");
    check_broken(b"\"a,b\n1,2\n", "line 1", "never closed");
}

#[test]
fn lines_longer_than_the_buffer_and_many_fields_are_read() {
    let long = "x".repeat(1 << 20);
    let header: Vec<String> = (0..300).map(|n| format!("c{n}")).collect();
    let mut row: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    row[150].clone_from(&long);
    let text = format!("{}\n{}\n{}\n", header.join(","), row.join(","), row.join(","));
    let told = read(text.as_bytes(), &Input::default()).unwrap();
    assert_eq!(told.len(), 3);
    assert_eq!(told[2], row.join("|"));
}

#[test]
fn dialects_that_cannot_be_meant_are_refused() {
    for (change, key) in [
        (with(|i| i.delimiter = Some(";;".into())), "delimiter"),
        (with(|i| i.delimiter = Some("，".into())), "delimiter"),
        (with(|i| i.delimiter = Some("\n".into())), "delimiter"),
        (with(|i| i.quote = Some("\"\"".into())), "quote"),
        (with(|i| i.quote = Some(",".into())), "quote"),
        (with(|i| i.encoding = Some("klingon".into())), "encoding"),
    ] {
        assert_eq!(Dialect::of(&change).unwrap_err().0, key);
    }
    let both = with(|i| {
        i.quote = Some(";".into());
        i.delimiter = Some(";".into());
    });
    assert_eq!(Dialect::of(&both).unwrap_err().0, "quote");
}
