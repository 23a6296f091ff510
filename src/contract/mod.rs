//! The canonical input tables: columns, types, required, meaning; the only place that spells them.
