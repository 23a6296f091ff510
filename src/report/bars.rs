//! Bars, sparklines and numbers as a person reads them.

/// The largest share of a bar cell, in eighths, and how it looks.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A horizontal bar for `value` of `full`, at most `width` cells wide, to an eighth of a cell; what
/// is not nothing is at least the thinnest bar.
pub(super) fn bar(value: f64, full: f64, width: usize) -> String {
    if value <= 0.0 || full <= 0.0 || !(value / full).is_finite() {
        return String::new();
    }
    let eighths = (value / full).min(1.0) * (width * 8) as f64;
    let eighths = (eighths.round() as usize).max(1);
    "█".repeat(eighths / 8) + EIGHTHS.get(eighths % 8).copied().unwrap_or_default()
}

/// One character per value, from the lowest height for zero or less to the full one for the
/// greatest; a missing value is a space.
pub(super) fn sparkline(values: &[Option<f64>]) -> String {
    let greatest = values.iter().flatten().copied().fold(0.0, f64::max);
    let height = |value: f64| {
        let step = if greatest > 0.0 { (value / greatest * 7.0).round().max(0.0) } else { 0.0 };
        HEIGHTS.get(step as usize).copied().unwrap_or('█')
    };
    values.iter().map(|value| value.map_or(' ', height)).collect()
}

/// A share as a percentage with one decimal.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A number, given as text, with its whole part in groups of three.
pub(super) fn grouped(number: &str) -> String {
    let (sign, rest) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(w, f)| (w, Some(f)));
    if !whole.chars().all(|c| c.is_ascii_digit()) {
        return number.to_owned();
    }
    let first = whole.len() % 3;
    let mut groups: Vec<&str> = Vec::new();
    let (head, mut tail) = whole.split_at(first);
    if !head.is_empty() {
        groups.push(head);
    }
    while !tail.is_empty() {
        let (group, next) = tail.split_at(3);
        groups.push(group);
        tail = next;
    }
    let point = fraction.map_or(String::new(), |f| format!(".{f}"));
    format!("{sign}{}{point}", groups.join(","))
}

/// A count with its digits in groups.
pub(super) fn count(n: impl Into<i128>) -> String {
    grouped(&n.into().to_string())
}

/// A count with its noun.
pub(super) fn counted(n: i64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// The page with its headings, the lines that begin at the margin, bold, and its bars in colour.
pub(super) fn painted(page: &str) -> String {
    const BOLD: &str = "\u{1b}[1m";
    const CYAN: &str = "\u{1b}[36m";
    const OFF: &str = "\u{1b}[0m";
    let mut out = String::with_capacity(page.len() * 2);
    for line in page.lines() {
        let is_heading = line.chars().next().is_some_and(|c| !c.is_whitespace());
        if is_heading {
            out.push_str(&format!("{BOLD}{line}{OFF}\n"));
            continue;
        }
        let mut is_inside = false;
        for c in line.chars() {
            let is_block = ('\u{2581}'..='\u{258f}').contains(&c);
            if is_block != is_inside {
                out.push_str(if is_block { CYAN } else { OFF });
                is_inside = is_block;
            }
            out.push(c);
        }
        out.push_str(if is_inside { OFF } else { "" });
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_true_to_an_eighth() {
        let cases = [
            (10.0, "████████"),
            (5.0, "████"),
            (1.25 / 8.0, "▏"), // an eighth of the first of 8 cells
            (5.9375, "████▊"), // 38 of 64 eighths
            (0.001, "▏"),
            (0.0, ""),
            (-1.0, ""),
            (20.0, "████████"),
        ];
        for (value, expected) in cases {
            assert_eq!(bar(value, 10.0, 8), expected, "{value}");
        }
        assert_eq!(bar(1.0, 0.0, 8), "");
    }

    #[test]
    fn sparkline_rises_from_zero_to_the_greatest() {
        let values = [Some(0.0), Some(7.0), None, Some(3.0), Some(-2.0)];
        assert_eq!(sparkline(&values), "▁█ ▄▁");
        assert_eq!(sparkline(&[Some(0.0)]), "▁");
    }

    #[test]
    fn digits_come_in_groups_of_three() {
        let cases = [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("-1234567.80", "-1,234,567.80"),
            ("–", "–"),
        ];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(13_087, "deal"), "13,087 deals");
    }

    #[test]
    fn paint_adds_colours_and_changes_no_character() {
        let page = "Head\n  a ██▌ 1\n\n  b ▏\n";
        let painted = painted(page);
        assert_ne!(painted, page);
        let mut plain = String::new();
        let mut rest = painted.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(plain + rest, page);
    }
}
