//! What `check` prints: every rule that something breaks, and that no row got lost.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::thousands;
use crate::metrics::TableView;
use crate::quality::{Profile, ThinDay};
use crate::run::OptionalInput;
use crate::table::Table;
use crate::time::day_text;

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

/// So many days or columns in one line.
const NAMED_MAX: usize = 8;

/// What the inputs look like: spans, days that may be cut short, columns without values, columns
/// that nothing reads.
pub(super) fn profiles(
    profiles: &BTreeMap<String, Profile>,
    unused: &BTreeMap<String, Vec<String>>,
) -> String {
    let mut text = String::new();
    for (input, profile) in profiles {
        text.push_str(&span(input, profile));
        let thin = profile.thin_days();
        if !thin.is_empty() {
            let day = |thin: &ThinDay| {
                format!("{} ({} of usually {})", day_text(thin.day), thin.events, thin.usual)
            };
            let days = listed(thin.iter().map(day), thin.len());
            text.push_str(&format!("  days that may be cut short or missing: {days}\n"));
        }
        let share = |(name, n): (&String, &u64)| {
            let percent = *n as f64 * 100.0 / profile.events.max(1) as f64;
            (*n > 0).then(|| format!("{name} {percent:.1} %"))
        };
        let unknown: Vec<String> = profile.unknown.iter().filter_map(share).collect();
        if !unknown.is_empty() {
            text.push_str(&format!("  events without a value: {}\n", unknown.join(", ")));
        }
    }
    for (input, columns) in unused.iter().filter(|(_, columns)| !columns.is_empty()) {
        let columns = listed(columns.iter().cloned(), columns.len());
        text.push_str(&format!("{input}: columns that nothing reads: {columns}\n"));
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// The inputs that a run can do without: what there is of them, and what the others would bring.
pub(super) fn optional(inputs: &[OptionalInput]) -> String {
    let mut text = String::from("\nOptional inputs:\n");
    let width = inputs.iter().map(|input| input.name.len()).max().unwrap_or(0);
    for OptionalInput { name, columns, brings, rows, span } in inputs {
        let said = match (rows, span) {
            (None, _) => format!("absent; would bring {brings}: add [inputs.{name}] ({columns})"),
            (Some(rows), None) => format!("{} rows; brings {brings}", thousands(*rows)),
            (Some(rows), Some((first, last))) => format!(
                "{} rows from {} to {}; brings {brings}",
                thousands(*rows),
                day_text(*first),
                day_text(*last)
            ),
        };
        text.push_str(&format!("  {name:width$}  {said}\n"));
    }
    text
}

fn span(input: &str, profile: &Profile) -> String {
    let days = (profile.days.first_key_value(), profile.days.last_key_value());
    let (Some((first, _)), Some((last, _))) = days else {
        return format!("{input}: no events\n");
    };
    format!(
        "{input}: {} events on {} days from {} to {}\n",
        thousands(profile.events),
        thousands(profile.days.len() as u64),
        day_text(*first),
        day_text(*last),
    )
}

/// The first few, and how many more there are.
fn listed(items: impl Iterator<Item = String>, n: usize) -> String {
    let named: Vec<String> = items.take(NAMED_MAX).collect();
    let more = n.saturating_sub(NAMED_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    named.join(", ") + &rest
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
