//! The commented configurations that `init` prints.

use std::fmt::Write as _;

use crate::error::{Error, nearest_names};

/// A commented configuration for the columns of one source.
#[derive(Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// Whose columns it has, in a few words.
    pub about: &'static str,
    /// The configuration.
    pub text: &'static str,
}

macro_rules! presets {
    ($($name:literal: $about:literal,)*) => {
        &[$(Preset {
            name: $name,
            about: $about,
            text: include_str!(concat!("presets/", $name, ".toml")),
        }),*]
    };
}

/// Every preset.
pub const PRESETS: &[Preset] = presets! {
    "generic": "the canonical column names, with every key",
    "salesforce_history": "Salesforce: OpportunityHistory, full rows",
    "salesforce_field_history": "Salesforce: OpportunityFieldHistory, changes of fields",
    "salesforce_fivetran": "Salesforce by Fivetran in history mode, intervals",
    "hubspot_fivetran": "HubSpot by Fivetran: deal_stage and property history",
    "hubspot_export": "HubSpot: exported deals with a date per stage",
    "pipedrive": "Pipedrive: deal flow, deals, stages",
    "jiandaoyun": "Jiandaoyun and other form CRMs in Chinese",
    "bitrix24": "Bitrix24: stage history, deals, stages",
    "dbt_snapshot": "a dbt snapshot of a table of deals, intervals",
};

/// The commented configuration of a preset.
///
/// # Errors
/// The name is not known.
pub fn template(preset: &str) -> Result<&'static str, Error> {
    let names = || PRESETS.iter().map(|preset| preset.name);
    if let Some(found) = PRESETS.iter().find(|known| known.name == preset) {
        return Ok(found.text);
    }
    // `salesforce` is far from all of its presets by letters.
    let family = names().filter(|name| !preset.is_empty() && name.starts_with(preset));
    let mut nearest: Vec<String> = family.map(str::to_owned).collect();
    if nearest.is_empty() {
        nearest = nearest_names(preset, names());
    }
    let others = names().filter(|name| !nearest.iter().any(|near| near == name));
    let known = nearest.iter().map(String::as_str).chain(others).collect::<Vec<_>>().join(", ");
    Err(Error::UnknownPreset { name: preset.to_owned(), nearest, known })
}

/// The presets with what they are for, for the help of `init`.
#[must_use]
pub fn presets_help() -> String {
    let width = PRESETS.iter().map(|preset| preset.name.len()).max().unwrap_or(0);
    let mut text = String::from("Presets:\n");
    for Preset { name, about, .. } in PRESETS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:width$}  {about}");
    }
    text
}
