//! The commented configurations that `init` prints.

use crate::error::{Error, nearest_names};

/// The presets by name; a reserved one has no text yet.
pub const PRESETS: &[(&str, Option<&str>)] = &[
    ("generic", Some(include_str!("presets/generic.toml"))),
    ("salesforce_history", None),
    ("salesforce_field_history", None),
    ("salesforce_fivetran", None),
    ("hubspot_fivetran", None),
    ("hubspot_export", None),
    ("pipedrive", None),
    ("jiandaoyun", None),
    ("bitrix24", None),
    ("dbt_snapshot", None),
];

/// The commented configuration of a preset.
///
/// # Errors
/// The name is not known, or reserved for a later version.
pub fn template(preset: &str) -> Result<&'static str, Error> {
    let reserved = |what: &str| Error::NotYet {
        what: format!("the preset {what:?}"),
        hint: "`dealmill init --preset generic` prints a configuration to adapt: map your columns \
               in [inputs.deal_events.columns]"
            .into(),
    };
    match PRESETS.iter().find(|(name, _)| *name == preset) {
        Some((_, Some(text))) => Ok(text),
        Some((name, None)) => Err(reserved(name)),
        // `salesforce` stands for several, none of which is here.
        None if PRESETS.iter().any(|(name, _)| name.starts_with(preset) && !preset.is_empty()) => {
            Err(reserved(preset))
        }
        None => Err(Error::UnknownName {
            what: "preset",
            name: preset.to_owned(),
            nearest: nearest_names(preset, PRESETS.iter().map(|(name, _)| *name)),
        }),
    }
}
