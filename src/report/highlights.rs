//! The most telling results of a run, in one page of text, and where the rest lies.
//!
//! It says what each number means in one line beside it. A table that the run did not make leaves
//! its section out.

use super::bars::{bar, count, counted, grouped, painted, percent, sparkline};
use super::cells::printable;
use super::grid::{GridColumn, Part, Side, lines};
use super::sheet::Sheet;
use crate::config::Format;
use crate::error::Error;
use crate::sink::FinishedRun;

/// Whether text may carry colours; the caller knows the terminal and `NO_COLOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// None.
    Plain,
    /// ANSI colours.
    Ansi,
}

/// Cells of the longest bar.
const BAR_WIDTH: usize = 30;
/// Cohorts and ages of the retention triangle.
const TRIANGLE: usize = 6;
/// Months of the revenue line.
const MONTHS: usize = 36;

type Section = Result<Option<String>, Error>;

/// The most telling results of a run: funnel, win rate, cycle with and without censoring,
/// retention, revenue, data quality, and where the tables lie.
///
/// # Errors
/// A table cannot be read.
pub fn highlights(run: &FinishedRun, colour: Colour) -> Result<String, Error> {
    let sections: [fn(&FinishedRun) -> Section; 7] =
        [funnel, win_rate, cycle, retention, revenue, quality, places];
    let mut found = Vec::new();
    for section in sections {
        found.extend(section(run)?);
    }
    let page = found.join("\n");
    Ok(match colour {
        Colour::Plain => page,
        Colour::Ansi => painted(&page),
    })
}

fn column(side: Side, cells: impl IntoIterator<Item = String>) -> GridColumn {
    let cells = cells.into_iter().collect();
    GridColumn { name: String::new(), side, part: Part::Value, cells }
}

fn dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| super::cells::NULL.to_owned())
}

fn funnel(run: &FinishedRun) -> Section {
    let rows = "slice = 'all' AND period = 'all' AND variant = 'reached' \
                AND population = 'created'";
    let Some(sheet) = Sheet::read(run, "funnel", rows)? else { return Ok(None) };
    let mut pipelines: Vec<(Option<String>, Vec<usize>)> = Vec::new();
    for row in 0..sheet.rows() {
        let own = sheet.text(row, "pipeline");
        match pipelines.last_mut().filter(|(known, _)| *known == own) {
            Some((_, rows)) => rows.push(row),
            None => pipelines.push((own, vec![row])),
        }
    }
    let tables: Vec<String> = match pipelines.as_slice() {
        [(_, rows)] => vec![funnel_of(&sheet, rows)],
        several => several
            .iter()
            .map(|(name, rows)| format!("  {}\n{}", dash(name.clone()), funnel_of(&sheet, rows)))
            .collect(),
    };
    Ok(Some(format!(
        "Funnel\n  deals that came as far as each stage; % of the first stage; % of the stage \
         before\n\n{}",
        tables.join("\n")
    )))
}

/// The funnel of one pipeline.
fn funnel_of(sheet: &Sheet, rows: &[usize]) -> String {
    let all = rows.iter().copied();
    let first = rows.first().and_then(|row| sheet.float(*row, "entered_n")).unwrap_or_default();
    let share = |row, name: &str| sheet.float(row, name).map(percent);
    lines(&[
        column(Side::Left, all.clone().map(|row| dash(sheet.text(row, "stage")))),
        column(
            Side::Left,
            all.clone().map(|row| {
                bar(sheet.float(row, "entered_n").unwrap_or_default(), first, BAR_WIDTH)
            }),
        ),
        column(Side::Right, all.clone().map(|row| dash(sheet.int(row, "entered_n").map(count)))),
        column(Side::Right, all.clone().map(|row| dash(share(row, "overall_rate")))),
        column(Side::Right, all.map(|row| dash(share(row, "step_rate")))),
    ])
}

fn win_rate(run: &FinishedRun) -> Section {
    let rows = "slice = 'all' AND period = 'all' AND basis = 'closed'";
    let Some(sheet) = Sheet::read(run, "conversion", rows)? else { return Ok(None) };
    let number = |name: &str| sheet.float(0, name);
    let (Some(rate), Some(won), Some(lost)) =
        (number("win_rate_closed"), sheet.int(0, "won_n"), sheet.int(0, "lost_n"))
    else {
        return Ok(None);
    };
    let limits = match (number("win_rate_closed_low"), number("win_rate_closed_high")) {
        (Some(low), Some(high)) => {
            format!(" (95 % limits {} to {})", percent(low), percent(high))
        }
        _ => String::new(),
    };
    let value = number("win_rate_value")
        .map_or(String::new(), |value| format!("  By value it is {}.\n", percent(value)));
    Ok(Some(format!(
        "Win rate\n  won of won and lost; open deals are in neither\n\n  {}{limits}: {} of {} \
         closed deals.\n{value}",
        percent(rate),
        count(won),
        count(won + lost)
    )))
}

fn cycle(run: &FinishedRun) -> Section {
    let rows = "slice = 'all' AND period = 'all'";
    let Some(sheet) = Sheet::read(run, "cycle_length", rows)? else { return Ok(None) };
    let days = |name: &str| sheet.float(0, name);
    let Some(won_only) = days("won_days_p50") else { return Ok(None) };
    let censored = sheet.int(0, "censored_n").unwrap_or_default();
    let at_risk = sheet.int(0, "at_risk_n").unwrap_or_default();
    let shown = |value: Option<f64>| value.map_or("not reached".into(), |v| format!("{v:.1} days"));
    let limits = |name: &str| match (days(&format!("{name}_low")), days(&format!("{name}_high"))) {
        (Some(low), Some(high)) => format!("95 % limits {low:.1} to {high:.1}"),
        (Some(low), None) => format!("95 % limits {low:.1} to not reached"),
        _ => String::new(),
    };
    let (close, win) = (days("close_days_km_p50"), days("win_days_km_p50"));
    let table = lines(&[
        column(
            Side::Left,
            ["to a win, won deals only", "to a win, all deals", "to any close, all deals"]
                .map(str::to_owned),
        ),
        column(Side::Right, [shown(Some(won_only)), shown(win), shown(close)]),
        column(Side::Left, [String::new(), limits("win_days_km_p50"), limits("close_days_km_p50")]),
    ]);
    Ok(Some(format!(
        "Sales cycle\n  median, of won deals only and with open deals counted as still \
         running\n\n{table}\n{}\n",
        lesson(won_only, win, censored, at_risk)
    )))
}

/// What the difference between the medians means, in a sentence that holds for these numbers.
fn lesson(won_only: f64, win: Option<f64>, censored: i64, at_risk: i64) -> String {
    let open = format!("  {} of {} are still open.", count(censored), counted(at_risk, "deal"));
    match win {
        Some(win) if win > won_only => format!(
            "{open} Won deals alone look {:.1} days faster:\n  deals still open, or lost before \
             they could be won, are missing there.",
            win - won_only
        ),
        Some(_) => format!("{open} Leaving them out hardly matters here."),
        None => format!("{open} Too few deals are won for half of all to be won at any time."),
    }
}

fn retention(run: &FinishedRun) -> Section {
    let ages = format!("slice = 'all' AND age < {TRIANGLE}");
    for (period, unit) in [("month", "month"), ("quarter", "quarter"), ("year", "year")] {
        let rows = format!("{ages} AND period = '{period}'");
        if let Some(sheet) = Sheet::read(run, "clv_cohorts", &rows)? {
            return Ok(Some(triangle(&sheet, unit)));
        }
    }
    Ok(None)
}

fn triangle(sheet: &Sheet, unit: &str) -> String {
    // The first cohorts are the oldest: their row of the triangle is the fullest.
    let mut cohorts: Vec<(String, String, Vec<String>)> = Vec::new();
    for row in 0..sheet.rows() {
        let start = dash(sheet.text(row, "period_start"));
        if cohorts.last().is_none_or(|(known, ..)| *known != start) {
            let size = sheet.int(row, "cohort_size_n").unwrap_or_default();
            cohorts.push((start, counted(size, "customer"), Vec::new()));
        }
        if let Some((.., cells)) = cohorts.last_mut() {
            let rate = sheet.float(row, "retention_rate");
            cells.push(rate.map_or(String::new(), |r| format!("{:.0} %", r * 100.0)));
        }
    }
    cohorts.truncate(TRIANGLE);
    let head = std::iter::once(unit.to_owned());
    let mut columns = vec![
        column(Side::Left, head.chain(cohorts.iter().map(|(start, ..)| start.clone()))),
        column(
            Side::Right,
            std::iter::once(String::new()).chain(cohorts.iter().map(|(_, size, _)| size.clone())),
        ),
    ];
    for age in 0..TRIANGLE {
        let cells = cohorts.iter().map(|(.., cells)| cells.get(age).cloned().unwrap_or_default());
        columns.push(column(Side::Right, std::iter::once(format!("+{age}")).chain(cells)));
    }
    format!(
        "Retention\n  customers by the {unit} of their first order; % that ordered so many {unit}s \
         later\n\n{}",
        lines(&columns)
    )
}

fn revenue(run: &FinishedRun) -> Section {
    let rows = "slice = 'all' AND period = 'month'";
    let Some(sheet) = Sheet::read(run, "revenue", rows)? else { return Ok(None) };
    let first = sheet.rows().saturating_sub(MONTHS);
    let months: Vec<usize> = (first..sheet.rows()).collect();
    let values: Vec<Option<f64>> = months.iter().map(|m| sheet.float(*m, "net_amount")).collect();
    let said = |row: usize| {
        let month = dash(sheet.text(row, "period_start"));
        let month = month.get(..7).unwrap_or(&month).to_owned();
        Some(format!("{month}: {}", grouped(&sheet.text(row, "net_amount")?)))
    };
    let best = months.iter().copied().max_by(|a, b| {
        let value = |row: &usize| sheet.float(*row, "net_amount").unwrap_or(f64::MIN);
        value(a).total_cmp(&value(b))
    });
    let (Some(from), Some(last)) = (months.first().copied(), months.last().copied()) else {
        return Ok(None);
    };
    let (Some(from), Some(to), Some(best)) = (said(from), said(last), best.and_then(said)) else {
        return Ok(None);
    };
    let still = match sheet.flag(last, "is_complete_period") {
        Some(false) => " (the month has not ended)",
        _ => "",
    };
    Ok(Some(format!(
        "Revenue\n  net amount by month of the win\n\n  {}\n  {from} … {to}{still}; best {best}\n",
        sparkline(&values)
    )))
}

fn quality(run: &FinishedRun) -> Section {
    let account = &run.manifest.account;
    let rows = account.rows;
    let broken = account.quality.iter().filter(|q| q.affected_n > 0);
    let mut worst: Vec<(u64, String)> = broken
        .map(|q| {
            (
                q.affected_n,
                format!("{} ({} {})", printable(&q.rule), count(q.affected_n), q.subject),
            )
        })
        .collect();
    worst.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let rules = match worst.len() {
        0 => "no rule broken".to_owned(),
        n => {
            let named: Vec<&str> = worst.iter().take(3).map(|(_, text)| text.as_str()).collect();
            let more = if n > 3 { format!(" and {} more", n - 3) } else { String::new() };
            format!("broken: {}{more}", named.join(", "))
        }
    };
    Ok(Some(format!(
        "Data quality\n  every row is accounted for\n\n  {} read = {} folded + {} quarantined + {} \
         after {}\n  {rules}\n",
        count(rows.rows_in_n),
        count(rows.folded_n),
        count(rows.quarantined_n),
        count(rows.after_as_of_n),
        run.manifest.as_of
    )))
}

fn places(run: &FinishedRun) -> Section {
    let tables = &run.manifest.tables;
    let Some(example) = run.table("revenue").or_else(|| tables.first()) else { return Ok(None) };
    let path = run.path(example)?.display().to_string();
    let (sql, python) = (path.replace('\'', "''"), path.replace('\\', "\\\\").replace('\'', "\\'"));
    let read = match example.format {
        Format::Parquet => "read_parquet",
        Format::Csv => "read_csv",
        Format::Json => "read_ndjson",
    };
    let folder = run.folder.display();
    let from = shell_word(&folder.to_string());
    let name = &example.name;
    let tables = counted(i64::try_from(tables.len()).unwrap_or(i64::MAX), "table");
    Ok(Some(format!(
        "Where it lies\n  {tables} and manifest.json in {folder}\n\n  \
         DuckDB   FROM '{sql}' WHERE slice = 'all' AND period = 'month';\n  \
         Polars   pl.{read}('{python}')\n  \
         here     dealmill show {name} --from {from} --where \"slice = 'all'\"\n"
    )))
}

/// A path as one word of a shell command.
fn shell_word(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@".contains(c);
    if path.chars().all(plain) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', "'\\''"))
}
