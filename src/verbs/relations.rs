//! What a custom metric can ask: the relations' columns, and the names of the quality rules, from
//! their own declarations.

use std::fmt::Write;

use crate::quality::Rule;
use crate::relations::{Kind, Relation};

/// The relation of a name, if it is one.
pub(super) fn find(name: &str) -> Option<Relation> {
    Relation::EVERY.into_iter().find(|r| r.name() == name)
}

/// One relation's columns as text.
pub(super) fn text(relation: Relation) -> String {
    let mut text = format!("{} (a relation: what [[metrics]] can ask)\n", relation.name());
    let width = relation.columns().iter().map(|c| c.name.len()).max().unwrap_or(0);
    for column in relation.columns() {
        let kind = kind(column.kind);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:width$}  {kind:8}  {}", column.name, column.meaning);
    }
    text
}

/// Every relation and every quality rule as Markdown.
pub(super) fn markdown() -> String {
    let mut text = String::from(
        "\n# Relations\n\nWhat the SQL of `[[metrics]]` can ask.\n\
         A flag is 0 or 1, an amount is minor units (0 where `has_…` is 0), a duration is whole units \
         of `[run] resolution`, a day that does not exist and a name that is unknown are null.\n\
         Each relation also has one column for each configured dimension (`spend` only the channel's).\n",
    );
    for relation in Relation::EVERY {
        let _ = write!(
            text,
            "\n## relation {}\n\n| column | type | meaning |\n|---|---|---|\n",
            relation.name()
        );
        for column in relation.columns() {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} |",
                column.name,
                kind(column.kind),
                column.meaning
            );
        }
    }
    text.push_str(
        "\n# Quality rules\n\nNames for `[quality.severity]`, with the severity each has by default.\n\n\
         | rule | counts | default | meaning |\n|---|---|---|---|\n",
    );
    for rule in Rule::EVERY {
        let severity = format!("{:?}", rule.default_severity()).to_lowercase();
        let _ = writeln!(
            text,
            "| `{}` | {} | {severity} | {} |",
            rule.name(),
            rule.subject().name(),
            rule.meaning()
        );
    }
    text
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "flag",
        Kind::Small | Kind::Int => "integer",
        Kind::Day => "date",
        Kind::Stage | Kind::Name(_) | Kind::Dictionary(_) => "name",
    }
}
