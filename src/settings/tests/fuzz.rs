//! Property tests with adversarial input: no settings panic, and no password is shown.

use std::collections::BTreeMap;
use std::ffi::OsString;

use proptest::prelude::*;

use crate::settings::{DatabaseUrl, Settings, duration, variables};

/// A password that no message contains by chance.
const PASSWORD: &str = "Xq7ZkW9vLm";
/// A monitor token that no message contains by chance.
const TOKEN: &str = "Tn5RgB8yHc-Tn5RgB8yHc";

fn hides(value: &impl std::fmt::Debug) -> bool {
    let shown = format!("{value:?} {value:#?}");
    !shown.contains(PASSWORD) && !shown.contains("Tn5RgB8yHc")
}

/// Valid and invalid tokens.
fn tokens() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(TOKEN.to_owned()),
        1 => "[ -~]{0,6}".prop_map(|around| format!("{TOKEN}{around}")),
    ]
}

/// A password with any characters around its recognisable core.
fn passwords() -> impl Strategy<Value = String> {
    (".{0,6}", ".{0,6}").prop_map(|(before, after)| format!("{before}{PASSWORD}{after}"))
}

/// Valid and invalid URLs of all forms, each with the password.
fn urls() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![
        Just("postgres://"),
        Just("postgresql://"),
        Just("mysql://"),
        Just("MariaDB://"),
        Just("redis://"),
        Just("postgresql+asyncpg://"),
        Just("sqlite://"),
        Just("'postgres://"),
        Just("jdbc:mysql://"),
        Just("mysql:"),
        Just(""),
    ];
    let user = "[a-z.]{0,8}";
    let place = "[a-z0-9.]{1,12}(:[0-9]{1,5})?(/[a-z]{0,8})?";
    let query = "(\\?[a-z_]{1,8}=[a-z0-9@:/%]{0,8}(&[a-z_]{1,8}=[a-z@]{0,8})?)?";
    prop_oneof![
        (scheme, user, passwords(), place, query).prop_map(
            |(scheme, user, password, place, query)| {
                format!("{scheme}{user}:{password}@{place}{query}")
            }
        ),
        "[!-%'-~]{0,8}".prop_map(|odd| {
            let odd = odd.replace(['\\', '\''], "");
            format!("postgres://db/shop?password={PASSWORD}{odd}")
        }),
        "[ -~]{0,8}".prop_map(|odd| {
            let odd = odd.replace('\\', "\\\\").replace('\'', "\\'");
            format!("host=db password='{PASSWORD}{odd}' user=app")
        }),
    ]
}

/// Texts, many of which look like a setting.
fn values() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,40}",
        "[-+]?[0-9]{0,30}(\\.[0-9]{0,30})?(ms|s|m|h|%|e[0-9]+)?",
        "(true|false|on|off|inf|NaN|-1|0|small|:memory:)",
        urls(),
        // A token pasted into the wrong variable.
        "[a-z ]{0,80}".prop_map(|before| format!("{before}{TOKEN}")),
    ]
}

/// Values for some of the variables, usually with a token.
fn environments() -> impl Strategy<Value = BTreeMap<&'static str, String>> {
    let names: Vec<_> = Settings::variables()
        .iter()
        .map(crate::settings::Variable::name)
        .collect();
    let values = prop::collection::btree_map(prop::sample::select(names), values(), 0..24);
    (values, prop::option::weighted(0.8, tokens())).prop_map(|(mut values, token)| {
        // A name is not secret and is shown unchanged.
        values.remove("DB_POOL_NAME");
        // A pasted token must equal the configured one; without one, nothing marks it as a secret.
        let pasted = token.as_deref().unwrap_or("none");
        for value in values.values_mut() {
            *value = value.replace(TOKEN, pasted);
        }
        values.extend(token.map(|token| ("DB_POOL_MONITOR_TOKEN", token)));
        values
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_url_shows_its_password(url in urls()) {
        let url = DatabaseUrl::from(url);
        for shown in [url.to_string(), format!("{url:?}"), serde_json::to_string(&url).unwrap()] {
            prop_assert!(!shown.contains(PASSWORD), "{shown}");
        }
        let settings = Settings::new(url.clone());
        prop_assert!(hides(&settings));
        if let Err(error) = settings.validate() {
            prop_assert!(!error.to_string().contains(PASSWORD), "{error}");
        }
        prop_assert!(!url.redact(url.expose()).contains(PASSWORD));
    }

    #[test]
    fn no_password_survives_in_a_foreign_text(password in passwords(), around in ".{0,20}") {
        let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let url = DatabaseUrl::from(format!("postgres://app:{encoded}@db/shop"));
        for text in [
            format!("{around}{password}{around}"),
            format!("{around}{password:?}{around}"),
            format!("{around}{encoded}{around}"),
            format!("cannot use {}", url.expose()),
        ] {
            let redacted = url.redact(&text);
            prop_assert!(!redacted.contains(PASSWORD), "{redacted}");
            prop_assert!(!redacted.contains(&encoded), "{redacted}");
        }
    }

    #[test]
    fn any_text_can_be_used_as_a_url(text in any::<String>(), other in any::<String>()) {
        let url = DatabaseUrl::from(text.as_str());
        let _ = (url.scheme(), url.database_kind(), url.is_private_in_memory(), url.mistake());
        let _ = url.redact(&other);
        let _ = DatabaseUrl::from(url.to_string()).to_string();
        prop_assert_eq!(DatabaseUrl::from(url.expose()), url);
    }

    #[test]
    fn any_environment_is_read_or_rejected_without_its_secrets(environment in environments()) {
        let lookup = |name: &str| environment.get(name).map(OsString::from);
        match Settings::from_lookup("", lookup) {
            Ok(settings) => {
                // Values accepted as text are also accepted as values.
                prop_assert_eq!(settings.validate().map_err(|error| error.to_string()), Ok(()));
                prop_assert!(settings.max_connections() <= Settings::MAX_CONNECTIONS);
                prop_assert!(hides(&settings));
            }
            Err(error) => {
                prop_assert!(error.problems().len() > 0);
                prop_assert!(hides(&error), "{error}");
                for problem in error.problems() {
                    prop_assert!(hides(&problem));
                }
            }
        }
    }

    #[test]
    fn any_config_field_is_read_or_rejected_without_secrets(
        at in any::<prop::sample::Index>(), text in values(), token in tokens(),
    ) {
        let fields: Vec<_> = variables::WITHOUT_VARIABLE.iter().collect();
        let mut file = serde_json::json!({ "database_url": "a.db", "monitor_token": token });
        let text = text.replace(TOKEN, &token);
        match at.get(&fields).field().split_once('.') {
            Some((table, key)) => file[table][key] = text.into(),
            None => file[at.get(&fields).field()] = text.into(),
        }
        match serde_json::from_value::<Settings>(file) {
            Ok(settings) => {
                prop_assert_eq!(settings.validate().map_err(|error| error.to_string()), Ok(()));
            }
            Err(error) => prop_assert!(hides(&error.to_string()), "{error}"),
        }
    }

    #[test]
    fn config_file_and_environment_give_the_same_settings(environment in environments()) {
        let mut file = serde_json::json!({});
        for variable in Settings::variables() {
            if let Some(text) = environment.get(variable.name()) {
                match variable.field().split_once('.') {
                    Some((table, key)) => file[table][key] = text.as_str().into(),
                    None => file[variable.field()] = text.as_str().into(),
                }
            }
        }
        let from_env = Settings::from_lookup("", |name| environment.get(name).map(OsString::from));
        match (serde_json::from_value::<Settings>(file), from_env) {
            (Ok(from_file), Ok(from_env)) => prop_assert_eq!(from_file, from_env),
            (Err(from_file), Err(from_env)) => {
                prop_assert!(!from_file.to_string().contains(PASSWORD));
                prop_assert_eq!(
                    from_file.to_string().lines().count(),
                    from_env.to_string().lines().count()
                );
            }
            (from_file, from_env) => prop_assert!(false, "{from_file:?} and {from_env:?}"),
        }
    }

    #[test]
    fn durations_are_read_back(milliseconds in 0..604_800_000_u64) {
        let expected = Some(std::time::Duration::from_millis(milliseconds));
        prop_assert_eq!(duration::parse(&format!("{milliseconds}ms")), expected);
        let seconds = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
        prop_assert_eq!(duration::parse(&seconds), expected);
    }
}
