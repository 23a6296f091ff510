//! Optional columns that no file has under the name they are looked for, while another column looks
//! like them: `Amount` for `amount`. They are not read, which somebody should be told.

use super::preflight::{CheckedFile, Origin, Wanted};
use crate::config::Input;
use crate::contract::Need;

/// One sentence for each column of the files that looks like one that is missing.
pub(super) fn columns(files: &[CheckedFile], wanted: &[Wanted], input: &Input) -> Vec<String> {
    let names =
        files.iter().flat_map(|file| file.schema.fields().iter().map(|f| f.name().as_str()));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    // A column that is read already may be meant for one thing only.
    let is_read = |name: &str| wanted.iter().any(|column| column.source == name);
    names.retain(|name| !is_read(name));
    let is_missing = |(index, _): &(usize, &Wanted)| {
        files.iter().all(|file| file.origins.get(*index) == Some(&Origin::Missing))
    };
    let missing = wanted.iter().enumerate().filter(is_missing).map(|(_, column)| column);
    let optional = missing.filter(|column| {
        column.need == Need::Optional && !input.columns.contains_key(&column.canonical)
    });
    let like = |column: &Wanted| {
        let name = names.iter().find(|name| is_alike(name, &column.canonical))?;
        let canonical = &column.canonical;
        Some(format!(
            "column {name:?} looks like {canonical} and is not read: map it with \
             columns.{canonical} = {name:?}, or say columns.{canonical} = \"\""
        ))
    };
    optional.filter_map(like).collect()
}

/// Whether two names differ by case and by what parts their words only.
fn is_alike(name: &str, canonical: &str) -> bool {
    let letters = |name: &str| -> String {
        let letters = name.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let name = name.strip_suffix("__c").unwrap_or(name);
    letters(name) == letters(canonical)
}

#[cfg(test)]
mod tests {
    use super::is_alike;

    #[test]
    fn case_and_what_parts_words_do_not_matter() {
        for (name, canonical) in [
            ("Amount", "amount"),
            ("IsDeleted", "is_deleted"),
            ("customer id", "customer_id"),
            ("OWNER-ID", "owner_id"),
            ("Amount__c", "amount"),
        ] {
            assert!(is_alike(name, canonical), "{name}");
        }
        assert!(!is_alike("amount_usd", "amount"));
    }
}
