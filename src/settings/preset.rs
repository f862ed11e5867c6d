//! Presets of settings for four sizes of a service.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

use super::{Problem, Settings, SettingsError};

/// A set of defaults for a size of service. Settings given explicitly take precedence.
///
/// It is set by `DB_POOL_PRESET`, or by `preset` in a config file.
///
/// ```
/// use poolscope::Preset;
///
/// assert_eq!("medium".parse::<Preset>()?, Preset::Medium);
/// # Ok::<(), poolscope::settings::SettingsError>(())
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// 3 connections, 5 more under load, and every statement logged.
    Development,
    /// 5 connections, 10 more under load: up to about 100 requests a minute.
    Small,
    /// 15 connections, 30 more under load: up to about 1000 requests a minute.
    Medium,
    /// 30 connections, 60 more under load, and a checkout timeout of 20 s: above 1000 requests a
    /// minute.
    Large,
}

impl Preset {
    const ALL: [Self; 4] = [Self::Development, Self::Small, Self::Medium, Self::Large];

    pub(super) const EXPECTED: &str = "development, small, medium or large";

    fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }

    pub(super) fn find(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.name().eq_ignore_ascii_case(text.trim()))
    }

    /// Sets every field that any preset defines, so that the last preset applied replaces earlier
    /// ones entirely.
    pub(super) fn apply(self, settings: &mut Settings) {
        (settings.pool_size, settings.max_overflow) = match self {
            Self::Development => (3, 5),
            Self::Small => (5, 10),
            Self::Medium => (15, 30),
            Self::Large => (30, 60),
        };
        settings.pool_timeout = Duration::from_secs(if self == Self::Large { 20 } else { 30 });
        settings.echo = self == Self::Development;
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::find(text)
            .ok_or_else(|| Problem::wrong("preset", text, Self::EXPECTED.to_owned()).into())
    }
}

impl<'de> Deserialize<'de> for Preset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_match_the_documentation() {
        let of = |preset| {
            let settings = Settings::new("sqlite://app.db").preset(preset);
            assert!(settings.validate().is_ok());
            (
                settings.pool_size,
                settings.max_overflow,
                settings.pool_timeout.as_secs(),
                settings.echo,
            )
        };
        assert_eq!(of(Preset::Development), (3, 5, 30, true));
        assert_eq!(of(Preset::Small), (5, 10, 30, false));
        assert_eq!(of(Preset::Medium), (15, 30, 30, false));
        assert_eq!(of(Preset::Large), (30, 60, 20, false));
    }

    #[test]
    fn the_last_preset_replaces_earlier_ones() {
        let twice = Settings::new("a.db")
            .preset(Preset::Large)
            .preset(Preset::Development)
            .preset(Preset::Small);
        assert_eq!(twice, Settings::new("a.db").preset(Preset::Small));
    }

    #[test]
    fn names_are_read_in_any_case_and_written_in_lower_case() {
        for preset in Preset::ALL {
            let upper = preset.to_string().to_uppercase();
            assert_eq!(upper.parse::<Preset>().unwrap(), preset);
            let json = format!("\"{preset}\"");
            assert_eq!(serde_json::from_str::<Preset>(&json).unwrap(), preset);
            assert!(Preset::EXPECTED.contains(&preset.to_string()));
        }
        let error = "huge".parse::<Preset>().unwrap_err().to_string();
        assert!(error.contains(r#"preset="huge": expected development, small"#));
        assert!(serde_json::from_str::<Preset>("\"huge\"").is_err());
    }
}
