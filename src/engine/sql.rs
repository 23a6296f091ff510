//! The SQL of states: which queries add up, and how the engine writes them.
//!
//! A state's SQL is parsed once, checked to be a `GROUP BY` that merges by adding, minima and
//! maxima, and taken apart into keys, additive columns and a condition. From these the query of any
//! slice is written. Nothing here runs a query.
//!
//! Invariant: what is written uses only what means the same in Polars, DuckDB and Spark, and adds
//! in 64 bits.

use std::fmt::Write as _;

use sqlparser::ast::{self, Expr};
use sqlparser::dialect::GenericDialect;
use sqlparser::keywords;
use sqlparser::parser::Parser;

use super::expression::{Scope, is_column, value_columns, widened};
use super::merge::Merge;
use crate::config::CustomMetric;
use crate::error::{Error, nearest_names};
use crate::metrics::State;
use crate::relations::{Kind, Relation};

/// Why a query cannot be a state, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) hint: String,
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: hint.into() }
    }

    /// The error, with the table and state it belongs to.
    pub(crate) fn into_error(self, what: impl Into<String>) -> Error {
        Error::Sql { what: what.into(), reason: self.reason, hint: self.hint }
    }
}

const FORM: &str = "write SELECT keys, COUNT(*) AS …, SUM(…) AS …, MIN(…) AS …, MAX(…) AS … \
                    FROM relation [WHERE …] GROUP BY keys";

/// One key of a state.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Its name in the state.
    pub(crate) name: String,
    /// What it is grouped by.
    pub(crate) expr: Expr,
    /// The kind of the column, `None` for an expression (a 64-bit integer).
    pub(crate) kind: Option<Kind>,
}

/// One additive column of a state.
#[derive(Debug, Clone)]
pub(crate) struct Additive {
    /// Its name in the state.
    pub(crate) name: String,
    /// What is added, or whose extreme is kept; `None` for `COUNT(*)`.
    pub(crate) argument: Option<Expr>,
    /// How two values become one.
    pub(crate) merge: Merge,
}

/// A state's SQL, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct StateQuery {
    pub(crate) relation: Relation,
    pub(crate) keys: Vec<Key>,
    pub(crate) values: Vec<Additive>,
    pub(crate) condition: Option<Expr>,
}

/// The column by which an ungrouped query says whether there was any row at all.
pub(crate) const ROWS: &str = "__rows";

impl StateQuery {
    /// Parses and checks a query over one relation, which may carry dimensions.
    pub(crate) fn parse(
        relation: Relation,
        sql: &str,
        dimensions: &[String],
    ) -> Result<Self, Refusal> {
        let select = only_select(sql)?;
        refuse_clauses(&select)?;
        check_relation(&select, relation)?;
        let scope = Scope { relation, dimensions };
        let mut keys = Vec::new();
        let mut values = Vec::new();
        for item in &select.projection {
            match read_item(item, &scope)? {
                Item::Key(key) => keys.push(key),
                Item::Value(value) => values.push(value),
            }
        }
        if let Some(condition) = &select.selection {
            scope.check_condition(condition)?;
        }
        check_grouping(&select.group_by, &keys)?;
        check_names(&keys, &values, &scope)?;
        Ok(Self { relation, keys, values, condition: select.selection.clone() })
    }

    /// Whether the state has a key of this name.
    pub(crate) fn has_key(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }

    /// Whether the state holds base periods that become longer ones.
    pub(crate) fn rolls_up(&self) -> bool {
        !self.has_key("grain") && (self.has_key("period") || self.has_key("cohort"))
    }

    /// Whether every period length is given all rows.
    pub(crate) fn is_of_every_period(&self) -> bool {
        self.has_key("ever_on")
    }

    /// The query of one slice, for reading and for other engines.
    pub(crate) fn text(&self, slice: &[String]) -> String {
        self.write(slice, Purpose::Reading)
    }

    /// The query of one slice as the engine runs it: an ungrouped one also counts its rows, because
    /// SQL gives one row of zeros for nothing.
    pub(crate) fn to_run(&self, slice: &[String]) -> String {
        self.write(slice, Purpose::Running)
    }

    /// The same rows before they are grouped: keys and what is added, for [`super::merge`] to group.
    pub(crate) fn to_project(&self, slice: &[String]) -> String {
        self.write(slice, Purpose::Projecting)
    }

    /// Whether a key counts something (a duration, an amount), so that nearly every row of the
    /// relation is a group of its own and a hash table of groups would only be in the way.
    pub(crate) fn is_distribution(&self) -> bool {
        let counted = |column: &str| {
            let declared = self.relation.columns().iter().find(|c| c.name == column);
            declared.is_some_and(|c| c.kind == Kind::Int)
        };
        self.keys.iter().any(|key| value_columns(&key.expr).iter().any(|c| counted(c)))
    }

    fn write(&self, slice: &[String], purpose: Purpose) -> String {
        let mut select: Vec<String> = slice.iter().map(|d| quoted(d)).collect();
        let mut group: Vec<String> = select.clone();
        for key in &self.keys {
            let expr = key.expr.to_string();
            if is_column(&key.expr, &key.name) {
                select.push(expr.clone());
                group.push(expr);
            } else {
                select.push(format!("{expr} AS {}", quoted(&key.name)));
                // An expression is grouped by its alias, which is no column's name.
                let grouped = if key.kind.is_some() { expr } else { quoted(&key.name) };
                group.push(grouped);
            }
        }
        for value in &self.values {
            let call = match purpose {
                Purpose::Projecting => self.term(value),
                Purpose::Reading | Purpose::Running => self.call(value),
            };
            select.push(format!("{call} AS {}", quoted(&value.name)));
        }
        if purpose == Purpose::Running && group.is_empty() {
            select.push(format!("COUNT(*) AS {ROWS}"));
        }
        // A dimension may be the column that a key stands for under another name.
        let mut seen = std::collections::BTreeSet::new();
        group.retain(|g| seen.insert(g.clone()));
        let mut text = format!("SELECT\n  {}\nFROM {}", select.join(",\n  "), self.relation.name());
        if let Some(condition) = &self.condition {
            let _ = write!(text, "\nWHERE {condition}");
        }
        if !group.is_empty() && purpose != Purpose::Projecting {
            let _ = write!(text, "\nGROUP BY {}", group.join(", "));
        }
        text
    }

    /// What one row adds, or the value whose extreme is kept.
    fn term(&self, value: &Additive) -> String {
        match (&value.argument, value.merge) {
            (None, _) => "CAST(1 AS BIGINT)".into(),
            (Some(argument), Merge::Sum) => widened(argument, self.relation),
            (Some(argument), Merge::Min | Merge::Max) => argument.to_string(),
        }
    }

    fn call(&self, value: &Additive) -> String {
        let Some(argument) = &value.argument else { return "COUNT(*)".into() };
        match value.merge {
            Merge::Sum => format!("SUM({})", widened(argument, self.relation)),
            Merge::Min => format!("MIN({argument})"),
            Merge::Max => format!("MAX({argument})"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Reading,
    Running,
    Projecting,
}

/// The SQL of a state for one slice, as `dealmill sql` prints it.
///
/// # Errors
/// The state's SQL is not a mergeable `GROUP BY`.
pub fn state_sql(state: &State, slice: &[String]) -> Result<String, Error> {
    let what = || format!("a state over {:?}", state.relation.name());
    let query = StateQuery::parse(state.relation, state.sql, slice)
        .map_err(|refusal| refusal.into_error(what()))?;
    Ok(query.text(slice))
}

/// The SQL of a metric of the user's own for one slice, as `dealmill sql` prints it.
///
/// # Errors
/// Its relation is unknown, or its SQL is not a mergeable `GROUP BY`.
pub fn custom_sql(metric: &CustomMetric, slice: &[String]) -> Result<String, Error> {
    let relation = Relation::EVERY.into_iter().find(|r| r.name() == metric.relation);
    let Some(relation) = relation else {
        let nearest = nearest_names(&metric.relation, Relation::EVERY.map(Relation::name));
        let (what, name) = ("relation", metric.relation.clone());
        return Err(Error::UnknownName { what, name, nearest });
    };
    let query = StateQuery::parse(relation, &metric.sql, slice)
        .map_err(|refusal| refusal.into_error(format!("metric {:?}", metric.name)))?;
    Ok(query.text(slice))
}

/// An identifier, quoted where it would not stand by itself.
pub(crate) fn quoted(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let upper = name.to_ascii_uppercase();
    let reserved = keywords::ALL_KEYWORDS
        .binary_search(&upper.as_str())
        .ok()
        .and_then(|place| keywords::ALL_KEYWORDS_INDEX.get(place))
        .is_some_and(|word| {
            keywords::RESERVED_FOR_COLUMN_ALIAS.contains(word)
                || keywords::RESERVED_FOR_TABLE_ALIAS.contains(word)
        });
    const ALSO: [&str; 12] = [
        "CASE", "WHEN", "THEN", "ELSE", "NULL", "NOT", "AND", "OR", "IN", "TABLE", "TRUE", "FALSE",
    ];
    if plain && !reserved && !ALSO.contains(&upper.as_str()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn only_select(sql: &str) -> Result<ast::Select, Refusal> {
    let mut statements = Parser::parse_sql(&GenericDialect {}, sql)
        .map_err(|e| Refusal::new(format!("it is not valid SQL ({e})"), FORM))?;
    let statement = statements.pop();
    if !statements.is_empty() {
        return Err(Refusal::new("it holds more than one statement", FORM));
    }
    let Some(ast::Statement::Query(query)) = statement else {
        return Err(Refusal::new("it is not a SELECT", FORM));
    };
    let no = |clause: &str| {
        let hint = "tables are sorted by their keys and hold every group";
        Err(Refusal::new(format!("{clause} does not add up"), hint))
    };
    if query.with.is_some() {
        return Err(Refusal::new("WITH is a subquery", FORM));
    }
    if query.order_by.is_some() {
        return no("ORDER BY");
    }
    if query.limit_clause.is_some() || query.fetch.is_some() {
        return no("LIMIT");
    }
    let rest = query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty();
    match *query.body {
        ast::SetExpr::Select(select) if rest => Ok(*select),
        ast::SetExpr::SetOperation { op, .. } => {
            Err(Refusal::new(format!("{op} joins several queries"), FORM))
        }
        _ => Err(Refusal::new("it is not a plain SELECT", FORM)),
    }
}

fn refuse_clauses(select: &ast::Select) -> Result<(), Refusal> {
    let refuse = |clause: &str, hint: &str| Err(Refusal::new(clause.to_owned(), hint.to_owned()));
    if select.distinct.is_some() {
        return refuse(
            "DISTINCT does not add up",
            "use the relation at the right grain, or a first-flag such as is_first_visit",
        );
    }
    if select.having.is_some() {
        return refuse(
            "HAVING would drop groups before they are merged",
            "filter rows with WHERE, and groups where you read the table",
        );
    }
    if select.qualify.is_some() || !select.named_window.is_empty() {
        return refuse("windows do not add up", FORM);
    }
    let plain = select.top.is_none()
        && select.into.is_none()
        && select.exclude.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.value_table_mode.is_none()
        && select.select_modifiers.is_none()
        && select.optimizer_hints.is_empty()
        && select.flavor == ast::SelectFlavor::Standard;
    if plain { Ok(()) } else { refuse("it uses a clause of one SQL dialect", FORM) }
}

fn check_relation(select: &ast::Select, relation: Relation) -> Result<(), Refusal> {
    let name = relation.name();
    let hint = format!("write FROM {name}");
    let [from] = select.from.as_slice() else {
        let reason = format!("it must read the relation {name} and nothing else");
        return Err(Refusal::new(reason, hint));
    };
    if !from.joins.is_empty() {
        let hint = "the relations already carry what a metric needs; \
                    two relations make two metrics";
        return Err(Refusal::new("a join does not add up", hint));
    }
    match &from.relation {
        ast::TableFactor::Table { name: found, alias: None, args: None, sample: None, .. }
            if found.to_string() == name =>
        {
            Ok(())
        }
        ast::TableFactor::Derived { .. } => Err(Refusal::new("a subquery does not add up", hint)),
        other => Err(Refusal::new(format!("it reads {other} instead of {name}"), hint)),
    }
}

enum Item {
    Key(Key),
    Value(Additive),
}

fn read_item(item: &ast::SelectItem, scope: &Scope<'_>) -> Result<Item, Refusal> {
    match item {
        ast::SelectItem::UnnamedExpr(Expr::Identifier(column)) => {
            let kind = scope.kind(&column.value)?;
            let expr = Expr::Identifier(column.clone());
            Ok(Item::Key(Key { name: column.value.clone(), expr, kind: Some(kind) }))
        }
        ast::SelectItem::ExprWithAlias { expr: Expr::Function(function), alias }
            if !is_scalar(function) =>
        {
            Ok(Item::Value(read_aggregate(function, &alias.value, scope)?))
        }
        ast::SelectItem::ExprWithAlias { expr, alias } => {
            let kind = match expr {
                Expr::Identifier(column) => Some(scope.kind(&column.value)?),
                expr => {
                    scope.check_integer(expr)?;
                    None
                }
            };
            Ok(Item::Key(Key { name: alias.value.clone(), expr: expr.clone(), kind }))
        }
        ast::SelectItem::UnnamedExpr(Expr::Function(function)) if !is_scalar(function) => {
            read_aggregate(function, "x", scope)?;
            Err(Refusal::new(format!("{function} has no name"), "add AS and a name"))
        }
        other => Err(Refusal::new(format!("{other} has no name"), "add AS and a name")),
    }
}

fn is_scalar(function: &ast::Function) -> bool {
    function.name.to_string().eq_ignore_ascii_case("coalesce")
}

fn read_aggregate(
    function: &ast::Function,
    name: &str,
    scope: &Scope<'_>,
) -> Result<Additive, Refusal> {
    let called = function.name.to_string().to_ascii_uppercase();
    if function.over.is_some() {
        return Err(Refusal::new(format!("{function} is a window, which does not add up"), FORM));
    }
    if function.filter.is_some() {
        let hint = format!("write {called}(CASE WHEN … THEN … ELSE 0 END)");
        return Err(Refusal::new(format!("{called} with FILTER is not reliable"), hint));
    }
    if !matches!(called.as_str(), "COUNT" | "SUM" | "MIN" | "MAX") {
        let hint = if called == "AVG" {
            "write the SUM and the COUNT(*) as two columns and divide where you read the table"
        } else {
            "only COUNT(*), SUM, MIN and MAX add up"
        };
        return Err(Refusal::new(format!("{called} does not add up"), hint));
    }
    let argument = only_argument(function, &called)?;
    let merge = match called.as_str() {
        "MIN" => Merge::Min,
        "MAX" => Merge::Max,
        _ => Merge::Sum,
    };
    let name = name.to_owned();
    match (called.as_str(), argument) {
        ("COUNT", ast::FunctionArgExpr::Wildcard) => {
            Ok(Additive { name, argument: None, merge: Merge::Sum })
        }
        ("COUNT", argument) => {
            let hint = format!("write SUM(CASE WHEN {argument} IS NULL THEN 0 ELSE 1 END)");
            Err(Refusal::new(format!("COUNT({argument}) is not COUNT(*)"), hint))
        }
        (_, ast::FunctionArgExpr::Expr(expr)) => {
            let extreme = merge != Merge::Sum;
            if !(extreme && scope.is_day(expr)) {
                scope.check_integer(expr)?;
            }
            Ok(Additive { name, argument: Some(expr.clone()), merge })
        }
        (_, argument) => Err(Refusal::new(format!("{called}({argument}) has no column"), FORM)),
    }
}

fn only_argument<'a>(
    function: &'a ast::Function,
    called: &str,
) -> Result<&'a ast::FunctionArgExpr, Refusal> {
    let odd = || Refusal::new(format!("{function} is not {called} of one expression"), FORM);
    let simple = matches!(function.parameters, ast::FunctionArguments::None)
        && function.null_treatment.is_none()
        && function.within_group.is_empty();
    let ast::FunctionArguments::List(list) = &function.args else { return Err(odd()) };
    if matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct)) {
        let hint = "use the relation at the right grain, or a first-flag such as is_first_visit";
        return Err(Refusal::new(format!("{called}(DISTINCT …) does not add up"), hint));
    }
    match list.args.as_slice() {
        [ast::FunctionArg::Unnamed(argument)] if simple && list.clauses.is_empty() => Ok(argument),
        _ => Err(odd()),
    }
}

fn check_grouping(group_by: &ast::GroupByExpr, keys: &[Key]) -> Result<(), Refusal> {
    let list = match group_by {
        ast::GroupByExpr::Expressions(list, modifiers) if modifiers.is_empty() => list,
        _ => return Err(Refusal::new("GROUP BY must list its keys", FORM)),
    };
    let names = |key: &Key, text: &str| key.name == text || key.expr.to_string() == text;
    for key in keys {
        if !list.iter().any(|e| names(key, &e.to_string())) {
            let hint = format!("add {} to GROUP BY, or SUM it", key.expr);
            return Err(Refusal::new(format!("{:?} is not in GROUP BY", key.name), hint));
        }
    }
    for expr in list {
        if !keys.iter().any(|key| names(key, &expr.to_string())) {
            let hint = format!("add {expr} to the columns of SELECT");
            return Err(Refusal::new(format!("GROUP BY {expr} is not selected"), hint));
        }
    }
    Ok(())
}

fn check_names(keys: &[Key], values: &[Additive], scope: &Scope<'_>) -> Result<(), Refusal> {
    if values.is_empty() {
        return Err(Refusal::new("it adds nothing up", FORM));
    }
    let mut names: Vec<&str> = keys.iter().map(|k| k.name.as_str()).collect();
    names.extend(values.iter().map(|v| v.name.as_str()));
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows::<2>().find(|[a, b]| a == b) {
        return Err(Refusal::new(format!("{name:?} is there twice"), "choose another name"));
    }
    for key in keys.iter().filter(|k| !is_column(&k.expr, &k.name)) {
        // Engines differ on whether GROUP BY then means the alias or the column.
        if scope.kind(&key.name).is_ok() {
            let reason = format!("the alias {:?} is also a column of the relation", key.name);
            return Err(Refusal::new(reason, "choose another alias"));
        }
    }
    Ok(())
}
