//! Columns of text laid out side by side, aligned by what a terminal shows, where a Chinese
//! character is two wide.
//!
//! What is wider than the screen is continued below, each part beginning with the columns that say
//! which row it is, so that nothing is cut off or wrapped.

use comfy_table::{
    Cell, CellAlignment, ContentLineStyle, LineStyle, Table as TextTable, TableStyle,
};

/// On which side the cells of a column begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Whether a column says which row it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It is repeated in each part of a wide grid.
    Key,
    /// It stands once.
    Value,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GridColumn {
    /// Its heading.
    pub(super) name: String,
    /// Where its cells begin.
    pub(super) side: Side,
    /// Key or value.
    pub(super) part: Part,
    /// Its cells.
    pub(super) cells: Vec<String>,
}

const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction(' '))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .content_lines(ContentLineStyle::none().junction(' '));

/// The columns as text that is at most `width` wide, if one is given and every column fits.
pub(super) fn layout(columns: &[GridColumn], width: Option<usize>) -> String {
    let all: Vec<&GridColumn> = columns.iter().collect();
    let widths: Vec<usize> = all.iter().map(|c| column_width(c)).collect();
    let Some(limit) = width.filter(|limit| total(&widths) > *limit) else {
        return render(&all);
    };
    let rows = columns.first().map_or(0, |c| c.cells.len());
    let (shared, keys): (Vec<&GridColumn>, Vec<&GridColumn>) = columns
        .iter()
        .filter(|c| c.part == Part::Key)
        .partition(|c| c.cells.iter().all(|cell| Some(cell) == c.cells.first()));
    let mut text = String::new();
    if rows > 0 && !shared.is_empty() {
        let said: Vec<String> = shared
            .iter()
            .map(|c| format!("{} = {}", c.name, c.cells.first().map_or("", String::as_str)))
            .collect();
        text.push_str(&format!("Every row: {}\n\n", said.join(", ")));
    }
    let repeated = if rows > 0 { keys } else { Vec::new() };
    let values = columns.iter().filter(|c| rows == 0 || c.part == Part::Value);
    let parts: Vec<String> =
        parts(&repeated, values, limit).iter().map(|part| render(part)).collect();
    text + &parts.join("\n")
}

/// Divides the values into parts that fit, each beginning with the repeated columns.
fn parts<'a>(
    repeated: &[&'a GridColumn],
    values: impl Iterator<Item = &'a GridColumn>,
    limit: usize,
) -> Vec<Vec<&'a GridColumn>> {
    let base: usize = repeated.iter().map(|c| column_width(c) + 1).sum();
    let mut parts = Vec::new();
    let mut open = repeated.to_vec();
    let mut used = base;
    for column in values {
        let needed = column_width(column) + 1;
        if open.len() > repeated.len() && used + needed > limit + 1 {
            parts.push(std::mem::replace(&mut open, repeated.to_vec()));
            used = base;
        }
        open.push(column);
        used += needed;
    }
    parts.push(open);
    parts
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + widths.len().saturating_sub(1)
}

/// The width of a column with the space before and after it.
fn column_width(column: &GridColumn) -> usize {
    let table = text_table(&[column], Head::Shown);
    table.column_max_content_widths().first().map_or(0, |w| usize::from(*w)) + 2
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Shown,
    Hidden,
}

fn text_table(columns: &[&GridColumn], head: Head) -> TextTable {
    let mut table = TextTable::new();
    table.load_style(STYLE).force_no_tty();
    if head == Head::Shown {
        let cell = |c: &&GridColumn| Cell::new(&c.name).set_alignment(alignment(c.side));
        table.set_header(columns.iter().map(cell));
    }
    let rows = columns.first().map_or(0, |c| c.cells.len());
    for row in 0..rows {
        table.add_row(columns.iter().map(|c| {
            let text = c.cells.get(row).map_or("", String::as_str);
            Cell::new(text).set_alignment(alignment(c.side))
        }));
    }
    table
}

fn alignment(side: Side) -> CellAlignment {
    match side {
        Side::Left => CellAlignment::Left,
        Side::Right => CellAlignment::Right,
    }
}

fn render(columns: &[&GridColumn]) -> String {
    let mut text: String = text_table(columns, Head::Shown).trim_fmt();
    text.push('\n');
    text
}

/// The cells alone, without headings, set in by one more space.
pub(super) fn lines(columns: &[GridColumn]) -> String {
    let columns: Vec<&GridColumn> = columns.iter().collect();
    let text = text_table(&columns, Head::Hidden).trim_fmt();
    text.lines().map(|line| format!(" {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, side: Side, part: Part, cells: &[&str]) -> GridColumn {
        let cells = cells.iter().map(|c| (*c).to_owned()).collect();
        GridColumn { name: name.into(), side, part, cells }
    }

    fn grid() -> Vec<GridColumn> {
        vec![
            column("slice", Side::Left, Part::Key, &["all", "all"]),
            column("region", Side::Left, Part::Key, &["北京", "Oslo"]),
            column("won_n", Side::Right, Part::Value, &["7", "12"]),
            column("net_amount", Side::Right, Part::Value, &["10.00", "-1.50"]),
        ]
    }

    #[test]
    fn columns_align_by_what_a_terminal_shows() {
        let expected = " slice   region   won_n   net_amount\n\
                        ─────────────────────────────────────\n \
                        all     北京         7        10.00\n \
                        all     Oslo        12        -1.50\n";
        assert_eq!(layout(&grid(), None), expected);
    }

    #[test]
    fn wide_grid_goes_on_below_with_its_keys() {
        let expected = "Every row: slice = all\n\n \
                        region   won_n\n\
                        ────────────────\n \
                        北京         7\n \
                        Oslo        12\n\
                        \n \
                        region   net_amount\n\
                        ─────────────────────\n \
                        北京          10.00\n \
                        Oslo          -1.50\n";
        assert_eq!(layout(&grid(), Some(24)), expected);
    }

    #[test]
    fn empty_grid_shows_its_headings() {
        let columns = vec![column("slice", Side::Left, Part::Key, &[])];
        assert_eq!(layout(&columns, Some(3)), " slice\n───────\n");
    }
}
