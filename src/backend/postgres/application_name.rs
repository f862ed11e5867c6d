//! The application name of the pool's sessions, visible on the server: `service@instance`.

use crate::identity;

/// The longest name that the server keeps, in bytes.
const SERVER_KEEPS: usize = 63;
/// The length of a UUID. An instance of this length is never cut, even after a long service name.
const INSTANCE: usize = 36;

/// Returns the name for the sessions of this process.
pub(super) fn of_this_process() -> String {
    joined(identity::service_name(), identity::instance_id())
}

/// Joins the service and the instance to a name that the server keeps whole.
///
/// A long service is cut at its end. An instance longer than a UUID is cut at its beginning,
/// because the names of pods differ at the end.
pub(super) fn joined(service: &str, instance: &str) -> String {
    let (service, instance) = (plain_service(service), plain(instance));
    let both = SERVER_KEEPS - "@".len();
    let room = INSTANCE.max(both.saturating_sub(service.len()));
    let instance = &instance[instance.len().saturating_sub(room)..];
    let service = &service[..service.len().min(both - instance.len())];
    format!("{service}@{instance}")
}

/// Returns the instance in the name of a session, if the session belongs to this service.
pub(super) fn instance_of_ours(name: &str) -> Option<String> {
    instance_of(name, &plain_service(identity::service_name())).map(str::to_owned)
}

/// Reverses [`joined`]. If the service was cut, the name has the maximum length.
fn instance_of<'a>(name: &'a str, service: &str) -> Option<&'a str> {
    let (theirs, instance) = name.split_once('@')?;
    let shortest = SERVER_KEEPS - "@".len() - INSTANCE;
    let was_cut = name.len() == SERVER_KEEPS && theirs.len() >= shortest;
    let is_ours = theirs == service || was_cut && service.starts_with(theirs);
    Some(instance).filter(|instance| is_ours && !instance.is_empty())
}

/// Replaces `@`, too, so that the first one in a name ends the service.
fn plain_service(service: &str) -> String {
    plain(service).replace('@', "?")
}

/// Replaces all characters except printable ASCII by `?`.
///
/// The server does so too, but its replacement differs between versions.
fn plain(name: &str) -> String {
    let shown = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    name.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0f4c9a52-7d1e-4b8a-9c3f-2e6d5b1a8c70";

    #[test]
    fn the_service_is_cut_before_the_instance() {
        assert_eq!(joined("orders", "pod-7"), "orders@pod-7");
        assert_eq!(joined("a@b", "pod@7"), "a?b@pod@7");
        assert_eq!(joined("orders", UUID), format!("orders@{UUID}"));
        let long = "a-service-with-a-name-that-never-ends";
        assert_eq!(joined(long, UUID), format!("{}@{UUID}", &long[..26]));
        assert_eq!(joined(long, UUID).len(), 63);
        assert_eq!(joined(long, "pod-7"), format!("{long}@pod-7"));
    }

    #[test]
    fn a_long_instance_fills_the_remaining_bytes() {
        let pod = "orders-deployment-in-the-north-7d9f8b6c4-x2x9z";
        assert_eq!(joined("orders", pod), format!("orders@{pod}"));
        let long = "s".repeat(100);
        let name = joined(&long, pod);
        assert_eq!(name.len(), 63);
        assert_eq!(name, format!("{}@{}", &long[..26], &pod[pod.len() - 36..]));
        assert_eq!(joined("", &long), format!("@{}", "s".repeat(62)));
    }

    #[test]
    fn the_instance_is_found_even_in_a_name_that_was_cut() {
        let long = "a-service-with-a-name-that-never-ends";
        let pod = "orders-deployment-in-the-north-7d9f8b6c4-x2x9z";
        for service in ["orders", "a?b", long, &"s".repeat(62), &"s".repeat(100), ""] {
            for instance in ["pod-7", "pod@7", UUID, pod, &"i".repeat(80)] {
                let name = joined(service, instance);
                let shown = instance_of(&name, service).unwrap_or_else(|| panic!("{name}"));
                assert!(instance.ends_with(shown), "{name}: {shown}");
                let least = instance.len().min(INSTANCE);
                assert!(shown.len() >= least, "{name}: {shown}");
            }
        }
    }

    #[test]
    fn the_name_of_another_service_has_no_instance() {
        for name in [
            "",
            "orders",
            "orders@",
            "orders-admin@pod-7",
            "order@pod-7",
            "psql",
            &joined("orders-of-the-north-and-of-the-south", UUID),
        ] {
            assert_eq!(instance_of(name, "orders"), None, "{name}");
        }
        // The service names only begin alike, and the full name of the other is unknown.
        let long = "a-service-with-a-name-that-never-ends";
        assert_eq!(instance_of(&joined("a-service", UUID), long), None);
        assert_eq!(instance_of("a-service-with-a-name-that@pod-7", long), None);
        assert_eq!(
            instance_of(&format!("{}@{UUID}", "\u{e9}".repeat(13)), long),
            None
        );
    }

    #[test]
    fn characters_other_than_printable_ascii_become_question_marks() {
        assert_eq!(joined("b\u{e9}b\u{e9}\n", "\u{1f980}1\t"), "b?b??@?1?");
        assert_eq!(joined(&"\u{e9}".repeat(80), UUID).len(), 63);
    }
}
