//! Reads settings from the app's own config file, in any format that serde supports.
//!
//! Every value is converted to the text that the environment variable would have. So the same code
//! reads both, with the same bounds and the same errors, all at once.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::read::{RawValue, Source, read};
use super::suggest::nearest;
use super::{Problem, Settings, variables};

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Fields::default();
        fields.at(String::new()).deserialize(deserializer)?;
        let Fields {
            mut texts,
            mut problems,
        } = fields;
        let unknown = texts
            .keys()
            .filter(|field| !known_fields().any(|known| known == *field));
        problems.extend(unknown.map(|field| unknown_field(field)));
        read(Source::Fields, problems, |field| {
            texts.remove(field).map(RawValue::Text)
        })
        .map_err(de::Error::custom)
    }
}

/// The fields of a file, each with the text of its environment variable. Those of nested tables have
/// a dot: `thresholds.average_wait`.
#[derive(Default)]
struct Fields {
    texts: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Fields {
    fn at(&mut self, field: String) -> Value<'_> {
        Value {
            fields: self,
            field,
        }
    }
}

/// Reads the value of a field, or the whole file if the field is empty.
struct Value<'a> {
    fields: &'a mut Fields,
    field: String,
}

impl Value<'_> {
    fn single<E: de::Error>(self, text: impl ToString) -> Result<(), E> {
        self.add("a single value", text.to_string())
    }

    fn add<E: de::Error>(self, kind: &str, text: String) -> Result<(), E> {
        let problem = match &*self.field {
            "" => return Err(E::custom("expected a table of settings")),
            "thresholds" => Problem::wrong(self.field, kind, "a table of thresholds".to_owned()),
            _ => match self.fields.texts.insert(self.field.clone(), text) {
                Some(_) => Problem::set_twice(self.field),
                None => return Ok(()),
            },
        };
        self.fields.problems.push(problem);
        Ok(())
    }

    /// Reads `null`. It means the default, except where it could also mean "never" or "off". There it
    /// becomes an invalid value, and the error lists the valid ones.
    fn null<E: de::Error>(self) -> Result<(), E> {
        match &*self.field {
            "thresholds" => Ok(()),
            field if may_be_absent(field) => self.single("null"),
            _ => self.single(""),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.single(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.single(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.single(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        // `f64` prints no exponent, and `10.0` as `10`.
        self.single(value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.single(value)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.null()
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.null()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
        self.deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.add("a list", "a list".to_owned())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<(), A::Error> {
        let path = match &*self.field {
            "" => "",
            "thresholds" => "thresholds.",
            _ => {
                while table.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return self.single("a table");
            }
        };
        while let Some(mut key) = table.next_key::<String>()? {
            if key.is_empty() {
                // The empty field is the whole file.
                key = "\"\"".to_owned();
            }
            table.next_value_seed(self.fields.at(format!("{path}{key}")))?;
        }
        Ok(())
    }
}

fn known_fields() -> impl Iterator<Item = &'static str> {
    variables::all().map(super::Variable::field)
}

/// Returns whether the field is an `Option` whose default is not `None`.
fn may_be_absent(field: &str) -> bool {
    matches!(
        field,
        "pool_recycle" | "leak_threshold" | "slow_wait" | "n_plus_one"
    )
}

fn unknown_field(field: &str) -> Problem {
    // The file may use the name of the variable: `DB_POOL_SIZE`.
    let same = variables::all()
        .find(|variable| variable.name().eq_ignore_ascii_case(field))
        .map(super::Variable::field);
    let hint = same
        .or_else(|| nearest(field, known_fields()))
        .map(|known| format!("did you mean {known}?"));
    Problem::unknown(field).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> Result<Settings, String> {
        serde_json::from_value(value).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn every_field_except_the_url_is_optional() {
        let settings = read(json!({ "database_url": "sqlite://app.db" })).unwrap();
        assert_eq!(settings, Settings::new("sqlite://app.db"));
        let error = read(json!({})).unwrap_err();
        assert!(
            error.contains("database_url is not set: expected a URL"),
            "{error}"
        );
    }

    #[test]
    fn values_may_be_numbers_booleans_or_texts() {
        let settings = read(json!({
            "database_url": "sqlite://app.db",
            "preset": "large",
            "name": "orders",
            "pool_size": 7,
            "max_overflow": "8",
            "pool_timeout": 0.25,
            "pool_recycle": -1,
            "pool_pre_ping": false,
            "pre_ping_bypass": "100ms",
            "pre_ping_timeout": "1s",
            "echo": "yes",
            "leak_threshold": 0,
            "thresholds": { "utilization_pct": 90, "average_wait": "1s" },
        }))
        .unwrap();
        assert_eq!((settings.pool_size, settings.max_overflow), (7, 8));
        assert_eq!(settings.name.as_deref(), Some("orders"));
        assert_eq!(settings.pool_timeout, Duration::from_millis(250));
        assert_eq!(
            (settings.pool_recycle, settings.leak_threshold),
            (None, None)
        );
        assert!(settings.echo && !settings.pool_pre_ping);
        assert_eq!(settings.pre_ping_bypass, Duration::from_millis(100));
        assert_eq!(settings.pre_ping_timeout, Duration::from_secs(1));
        assert_eq!(format!("{}", settings.thresholds.utilization_pct), "90");
        assert_eq!(settings.thresholds.average_wait, Duration::from_secs(1));
    }

    #[test]
    fn every_field_of_the_table_is_read() {
        for variable in variables::all().skip(2) {
            let field = variable.field();
            let mut file = json!({ "database_url": "a.db" });
            match field.split_once('.') {
                Some((table, key)) => file[table][key] = "!".into(),
                None => file[field] = "!".into(),
            }
            let error = read(file).unwrap_err();
            // A secret is not shown, even if it is invalid.
            let shown = match field {
                "monitor_token" => "***",
                _ => "!",
            };
            assert!(
                error.contains(&format!("{field}=\"{shown}\": expected")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_config_file_has_the_errors_of_the_environment() {
        let error = read(json!({
            "database_url": "postgres://app:hunter2@db/shop",
            "pool_size": 0,
            "pool_timeout": -3,
            "echo": [true],
            "connect_timeout": { "secs": 1 },
            "pool_sise": 4,
            "DB_MAX_OVERFLOW": 4,
            "DB_POOL_QUEUE_INTERVAL": "1s",
            "query_spans": true,
            "thresholds": { "utilisation_pct": 3, "average_wait": 1e300 },
        }))
        .unwrap_err();
        for line in [
            "pool_size=\"0\": expected a whole number from 1 to 10000",
            "pool_timeout=\"-3\": expected a duration from 1ms to 7 days",
            "echo=\"a list\": expected true or false",
            "connect_timeout=\"a table\": expected a duration",
            "pool_sise is unknown: expected the name of a setting; did you mean pool_size?",
            "DB_MAX_OVERFLOW is unknown: expected the name of a setting; did you mean max_overflow?",
            "thresholds.utilisation_pct is unknown",
            "thresholds.average_wait=\"1000000",
            "query_spans=\"true\": expected off, summary or text",
            "DB_POOL_QUEUE_INTERVAL is unknown: expected the name of a setting; did you mean queue_interval?",
        ] {
            assert!(error.contains(line), "{line} is not in {error}");
        }
        assert!(!error.contains("hunter2"));
    }

    #[test]
    fn fields_without_a_variable_have_their_bounds() {
        let duration =
            "a duration from 0 to 7 days (a bare number is seconds; or 250ms, 30s, 5m, 1h)";
        for (field, value, expected) in [
            ("pre_ping_bypass", json!("inf"), duration),
            ("recycle_jitter_pct", json!(51), "a number from 0 to 50"),
            ("raw_transactions", json!("maybe"), "true or false"),
        ] {
            let error = read(json!({ "database_url": "a.db", field: value })).unwrap_err();
            assert!(error.contains(&format!("expected {expected}")), "{error}");
        }
        for (field, value, expected) in [
            ("utilization_pct", "101", "a number from 0 to 100"),
            ("utilization_pct", "80%", "a number from 0 to 100"),
            ("timeouts_per_minute", "-1", "a number from 0 to 1000000"),
        ] {
            let file = json!({ "database_url": "a.db", "thresholds": { field: value } });
            let error = read(file).unwrap_err();
            let expected = format!("thresholds.{field}=\"{value}\": expected {expected}");
            assert!(error.ends_with(&expected), "{error}");
        }
    }

    #[test]
    fn null_is_the_default_unless_it_could_mean_never() {
        let settings = read(json!({
            "database_url": "a.db", "name": null, "preset": null, "thresholds": null, "echo": null,
        }));
        assert_eq!(settings.unwrap(), Settings::new("a.db"));
        let error = read(json!({ "database_url": "a.db", "pool_recycle": null })).unwrap_err();
        assert!(error.contains("or -1 for never"), "{error}");
        let error = read(json!({ "database_url": "a.db", "n_plus_one": null })).unwrap_err();
        assert!(error.contains("or 0 for off"), "{error}");
    }

    #[test]
    fn a_config_that_is_not_a_table_is_an_error() {
        for file in [json!(5), json!("postgres://app:hunter2@db"), json!([1])] {
            let error = read(file).unwrap_err();
            assert_eq!(error, "expected a table of settings");
        }
        let error = read(json!({ "database_url": "a.db", "thresholds": 5 })).unwrap_err();
        assert!(error.contains("thresholds=\"a single value\": expected a table"));
        let twice = r#"{ "database_url": "a.db", "echo": true, "echo": false }"#;
        let error = serde_json::from_str::<Settings>(twice).unwrap_err();
        assert!(error.to_string().contains("echo is set twice"));
    }

    #[test]
    fn contradictions_are_found_in_files() {
        let error = read(json!({ "database_url": ":memory:" })).unwrap_err();
        assert!(error.contains("set pool_size=1 and max_overflow=0"));
    }

    #[test]
    fn a_part_of_a_larger_config_is_read() {
        #[derive(serde::Deserialize)]
        struct App {
            port: u16,
            database: Settings,
        }
        let app: App = serde_json::from_value(
            json!({ "port": 8000, "database": { "database_url": "a.db", "pool_size": 2 } }),
        )
        .unwrap();
        assert_eq!((app.port, app.database.pool_size), (8000, 2));
    }
}
