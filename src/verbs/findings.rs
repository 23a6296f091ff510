//! What `check` prints: what the inputs look like, every rule that something breaks, with names and
//! rows, and which tables would come out.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::thousands;
use crate::metrics::TableView;
use crate::quality::{Profile, QuarantinedRow, Rule, Subject, ThinDay};
use crate::relations::deals::HISTORY_QUALITY;
use crate::relations::findings::SEVERITIES;
use crate::run::{Judged, OptionalInput};
use crate::time::{day_text, instant_text};

/// So many days, columns or values in one line.
const NAMED_MAX: usize = 8;
/// So many rows of a rule whose rows are written to the quarantine by a run.
const KEPT_OUT_MAX: usize = 3;

/// The report; `tables` are all that there are.
pub(super) fn text(judged: &Judged, tables: &[&str]) -> String {
    let summary = &judged.summary;
    let deals = thousands(summary.deals);
    let rows = thousands(summary.rows_in);
    let head = format!("{deals} deals of {rows} rows, as of {}\n", instant_text(summary.as_of));
    let (inputs, broken) = rows_and_rules(judged);
    let mut text = head + "\nInputs\n" + &looks(judged, &inputs) + "\nRules\n";
    text.push_str(&rules(judged, &broken));
    if !judged.notes.is_empty() {
        text.push_str("\nNotes\n");
        judged.notes.iter().for_each(|note| line(&mut text, 1, note));
    }
    text + "\n" + &optional(&judged.optional) + "\n" + &outcome(judged, tables)
}

fn line(text: &mut String, depth: usize, content: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:1$}{content}", "", depth * 2);
}

/// A rule that something of an input breaks.
struct Broken {
    severity: String,
    input: String,
    rule: String,
    affected: String,
    of: String,
    is_kept_out: bool,
}

/// What became of the rows of each input, and the broken rules, by the quality table.
fn rows_and_rules(judged: &Judged) -> (Vec<(String, String)>, Vec<Broken>) {
    let table = &judged.table;
    let mut inputs: Vec<(String, String)> = Vec::new();
    let mut broken = Vec::new();
    let batches: Vec<TableView<'_>> =
        table.batches.iter().map(|batch| TableView::new(&table.specs, batch)).collect();
    for row in batches.iter().flat_map(TableView::rows) {
        let count = |name: &str| row.int(name).map_or(0, i64::unsigned_abs);
        let name = |column: &str| row.text(column).unwrap_or("-").to_owned();
        let rows = format!(
            "{} rows = {} folded + {} quarantined + {} after as_of",
            thousands(count("rows_in_n")),
            thousands(count("folded_n")),
            thousands(count("quarantined_n")),
            thousands(count("after_as_of_n")),
        );
        if inputs.iter().all(|(input, _)| *input != name("input")) {
            inputs.push((name("input"), rows));
        }
        let (affected, checked) = (count("affected_n"), count("checked_n"));
        if affected > 0 {
            let share = affected as f64 * 100.0 / checked.max(1) as f64;
            let subject = name("subject");
            let of = match subject.as_str() {
                // Every one that is counted breaks the rule.
                "values" => Subject::Values.of(affected).to_owned(),
                _ => format!("of {} {subject} ({share:.1} %)", thousands(checked)),
            };
            let affected = thousands(affected);
            let severity = name("severity");
            let is_kept_out = severity == "quarantine";
            let (input, rule) = (name("input"), name("rule"));
            broken.push(Broken { severity, input, rule, affected, of, is_kept_out });
        }
    }
    // What ends a run first, what nobody need look at last; each as the table has it.
    broken.sort_by_key(|own| std::cmp::Reverse(SEVERITIES.iter().position(|s| *s == own.severity)));
    (inputs, broken)
}

/// What each input looks like: rows, spans, days that may be cut short, columns without values,
/// columns that nothing reads.
fn looks(judged: &Judged, inputs: &[(String, String)]) -> String {
    let mut text = String::new();
    for (input, rows) in inputs {
        line(&mut text, 1, &format!("{input}: {rows}"));
        if let Some(profile) = judged.profiles.get(input) {
            profiled(&mut text, profile);
        }
        let quality = judged.qualities.iter().find(|(name, _)| name == input);
        if let Some(name) = quality.and_then(|(_, q)| HISTORY_QUALITY.get(*q as usize)) {
            line(&mut text, 2, &format!("history_quality: {name}"));
        }
        if let Some(columns) = judged.unused.get(input).filter(|columns| !columns.is_empty()) {
            let columns = listed(columns.iter().cloned(), columns.len());
            line(&mut text, 2, &format!("columns that nothing reads: {columns}"));
        }
    }
    text
}

fn profiled(text: &mut String, profile: &Profile) {
    line(text, 2, &span(profile));
    let thin = profile.thin_days();
    if !thin.is_empty() {
        let day = |thin: &ThinDay| {
            format!("{} ({} of usually {})", day_text(thin.day), thin.events, thin.usual)
        };
        let days = listed(thin.iter().map(day), thin.len());
        line(text, 2, &format!("days that may be cut short or missing: {days}"));
    }
    let share = |(name, n): (&String, &u64)| {
        let percent = *n as f64 * 100.0 / profile.events.max(1) as f64;
        (*n > 0).then(|| format!("{name} {percent:.1} %"))
    };
    let unknown: Vec<String> = profile.unknown.iter().filter_map(share).collect();
    if !unknown.is_empty() {
        line(text, 2, &format!("events without a value: {}", unknown.join(", ")));
    }
}

fn span(profile: &Profile) -> String {
    let days = (profile.days.first_key_value(), profile.days.last_key_value());
    let (Some((first, _)), Some((last, _))) = days else {
        return "no events".to_owned();
    };
    format!(
        "{} events on {} days from {} to {}",
        thousands(profile.events),
        thousands(profile.days.len() as u64),
        day_text(*first),
        day_text(*last),
    )
}

/// The broken rules: how often, what each means, values and rows that break it.
fn rules(judged: &Judged, broken: &[Broken]) -> String {
    if broken.is_empty() {
        return "  No rule is broken.\n".to_owned();
    }
    let width =
        |of: fn(&Broken) -> &str| broken.iter().map(|b| shown_width(of(b))).max().unwrap_or(0);
    let widths =
        [width(|b| &b.severity), width(|b| &b.input), width(|b| &b.rule), width(|b| &b.affected)];
    let [severities, inputs, rules, counts] = widths;
    let mut text = String::new();
    for own in broken {
        let Broken { severity, input, rule, affected, of, .. } = own;
        // An input may have a Chinese name, whose characters are two wide.
        let gap = " ".repeat(inputs.saturating_sub(shown_width(input)));
        let first = format!(
            "{severity:severities$}  {input}{gap}  {rule:rules$}  {affected:>counts$} {of}"
        );
        line(&mut text, 1, &first);
        let Some(rule) = Rule::EVERY.iter().find(|r| r.name() == *rule).copied() else { continue };
        details(&mut text, judged, own, rule);
    }
    text
}

fn details(text: &mut String, judged: &Judged, own: &Broken, rule: Rule) {
    let meaning = match own.severity.as_str() {
        "quarantine" => rule.meaning_as(crate::config::Severity::Quarantine),
        _ => rule.meaning(),
    };
    line(text, 3, meaning);
    if let Some(values) = judged.mentions.get(&(rule, own.input.clone())) {
        line(text, 3, &format!("namely {}", mentioned(values)));
    }
    let examples = judged.examples.get(&own.input);
    let rows = examples.and_then(|all| all.rules().find(|(r, _)| *r == rule));
    let most = if own.is_kept_out { KEPT_OUT_MAX } else { usize::MAX };
    for row in rows.into_iter().flat_map(|(_, rows)| rows).take(most) {
        line(text, 3, &found(row));
    }
}

/// The values that occur most, first.
fn mentioned(values: &BTreeMap<String, u64>) -> String {
    let mut values: Vec<(&String, &u64)> = values.iter().collect();
    values.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), *name));
    let one = |(name, n): &(&String, &u64)| match n {
        0 => format!("{name:?}"),
        n => format!("{name:?} ({})", thousands(**n)),
    };
    listed(values.iter().map(one), values.len())
}

/// A row by its place, and what stands in it.
fn found(row: &QuarantinedRow) -> String {
    let cells = [
        ("deal", &row.deal_id),
        ("time", &row.event_time),
        ("type", &row.event_type),
        ("stage", &row.stage_id),
        ("amount", &row.amount),
        ("text", &row.text),
    ];
    let cells =
        cells.iter().filter_map(|(name, cell)| Some(format!("{name} {:?}", cell.as_ref()?)));
    let cells: Vec<String> = cells.collect();
    let line = row.line.map_or_else(String::new, |line| format!(" (line {line})"));
    format!("{} row {}{line}: {}", row.file.display(), row.row + 1, cells.join(", "))
}

/// The inputs that a run can do without: what there is of them, and what the others would bring.
fn optional(inputs: &[OptionalInput]) -> String {
    let mut text = String::from("Optional inputs\n");
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
        line(&mut text, 1, &format!("{name:width$}  {said}"));
    }
    text
}

/// Which tables would come out, and what the others lack.
fn outcome(judged: &Judged, tables: &[&str]) -> String {
    let skipped = &judged.summary.skipped;
    let is_possible = |name: &&&str| skipped.iter().all(|(table, _)| table != *name);
    let possible: Vec<&str> = tables.iter().filter(is_possible).copied().collect();
    let mut text = format!("Tables that would come out: {}.\n", possible.join(", "));
    if !skipped.is_empty() {
        text.push_str("Tables that would not:\n");
        skipped.iter().for_each(|(table, why)| line(&mut text, 1, &format!("{table}: {why}")));
    }
    text
}

/// How many columns of a terminal a text takes.
fn shown_width(text: &str) -> usize {
    let mut cell = comfy_table::Table::new();
    cell.add_row([text]);
    cell.column_max_content_widths().first().map_or(0, |width| usize::from(*width))
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
    use super::{OptionalInput, optional, shown_width};
    use crate::time::from_date;

    #[test]
    fn an_absent_input_says_what_it_would_bring_and_how_to_add_it() {
        let day = |text: &str| from_date(text.parse().unwrap());
        let input = |name, rows, span| OptionalInput {
            name,
            columns: "date, amount",
            brings: "costs",
            rows,
            span,
        };
        let span = Some((day("2024-01-01"), day("2024-02-29")));
        let text = optional(&[
            input("spend", None, None),
            input("users", Some(1_200), None),
            input("targets", Some(3), span),
        ]);
        let expected = "Optional inputs\n  \
            spend    absent; would bring costs: add [inputs.spend] (date, amount)\n  \
            users    1,200 rows; brings costs\n  \
            targets  3 rows from 2024-01-01 to 2024-02-29; brings costs\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn chinese_characters_are_two_wide() {
        let shown = ["deals", "客户", "a客"].map(shown_width);
        assert_eq!(shown, [5, 4, 3]);
    }
}
