//! What `check` prints: every rule that something breaks, and that no row got lost.

use std::fmt::Write;

use super::thousands;
use crate::metrics::TableView;
use crate::table::Table;

/// The quality table as text: rows by input first, then the broken rules.
pub(super) fn text(table: &Table) -> String {
    let mut inputs: Vec<String> = Vec::new();
    let mut broken: Vec<[String; 5]> = Vec::new();
    let batches: Vec<TableView<'_>> =
        table.batches.iter().map(|batch| TableView::new(&table.specs, batch)).collect();
    for row in batches.iter().flat_map(TableView::rows) {
        let count = |name: &str| row.int(name).map_or(0, i64::unsigned_abs);
        let name = |column: &str| row.text(column).unwrap_or("-").to_owned();
        let rows = format!(
            "{}: {} rows = {} folded + {} quarantined + {} after as_of",
            name("input"),
            thousands(count("rows_in_n")),
            thousands(count("folded_n")),
            thousands(count("quarantined_n")),
            thousands(count("after_as_of_n")),
        );
        if !inputs.contains(&rows) {
            inputs.push(rows);
        }
        if count("affected_n") > 0 {
            let of = format!("of {} {}", thousands(count("checked_n")), name("subject"));
            let affected = thousands(count("affected_n"));
            broken.push([name("severity"), name("input"), name("rule"), affected, of]);
        }
    }
    let mut text = inputs.join("\n") + "\n\n";
    if broken.is_empty() {
        text.push_str("No rule is broken.\n");
    }
    let width = |column: usize| {
        broken.iter().filter_map(|b| b.get(column)).map(|t| shown_width(t)).max().unwrap_or(0)
    };
    let [severities, names, rules, counts] = [width(0), width(1), width(2), width(3)];
    for [severity, input, rule, affected, of] in &broken {
        // An input may have a Chinese name, whose characters are two wide.
        let names = " ".repeat(names.saturating_sub(shown_width(input)));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{severity:severities$}  {input}{names}  {rule:rules$}  {affected:>counts$} {of}"
        );
    }
    text
}

/// How many columns of a terminal a text takes.
fn shown_width(text: &str) -> usize {
    let mut cell = comfy_table::Table::new();
    cell.add_row([text]);
    cell.column_max_content_widths().first().map_or(0, |width| usize::from(*width))
}

#[cfg(test)]
mod tests {
    use super::shown_width;

    #[test]
    fn chinese_characters_are_two_wide() {
        let shown = ["deals", "客户", "a客"].map(shown_width);
        assert_eq!(shown, [5, 4, 3]);
    }
}
