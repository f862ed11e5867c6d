//! What our sessions call themselves, for whoever looks at the server: `service@instance`.

use crate::identity;

/// As much of a name as the server keeps.
const SERVER_KEEPS: usize = 63;
/// A UUID: an instance of this length stays whole, whatever the service is called.
const INSTANCE: usize = 36;

/// The name of this process' sessions.
pub(super) fn of_this_process() -> String {
    joined(identity::service_name(), identity::instance_id())
}

/// The service is cut at its end. Of an instance longer than a UUID the end stays, which is where
/// the names of pods differ.
pub(super) fn joined(service: &str, instance: &str) -> String {
    let (service, instance) = (plain(service), plain(instance));
    let both = SERVER_KEEPS - "@".len();
    let room = INSTANCE.max(both.saturating_sub(service.len()));
    let instance = &instance[instance.len().saturating_sub(room)..];
    let service = &service[..service.len().min(both - instance.len())];
    format!("{service}@{instance}")
}

/// The instance in a session's name, if it is one of this service's.
pub(super) fn instance_of_ours(name: &str) -> Option<String> {
    instance_of(name, &plain(identity::service_name())).map(str::to_owned)
}

/// Undoes [`joined`]: the service may have been cut to make room for the instance, which is then as
/// long as it can be.
fn instance_of<'a>(name: &'a str, service: &str) -> Option<&'a str> {
    let whole = name
        .strip_prefix(service)
        .and_then(|rest| rest.strip_prefix('@'));
    let cut = || {
        let shortest = SERVER_KEEPS - "@".len() - INSTANCE;
        let cuts = (shortest..service.len()).rev();
        cuts.filter(|_| name.len() == SERVER_KEEPS).find_map(|cut| {
            let rest = name.strip_prefix(service.get(..cut)?)?;
            rest.strip_prefix('@')
        })
    };
    whole.or_else(cut).filter(|instance| !instance.is_empty())
}

/// The server shows nothing but printable ASCII. What it puts in place of the rest has changed from
/// version to version; this way it is a `?` in all of them.
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
        assert_eq!(joined("orders", UUID), format!("orders@{UUID}"));
        let long = "a-service-with-a-name-that-never-ends";
        assert_eq!(joined(long, UUID), format!("{}@{UUID}", &long[..26]));
        assert_eq!(joined(long, UUID).len(), 63);
        assert_eq!(joined(long, "pod-7"), format!("{long}@pod-7"));
    }

    #[test]
    fn a_long_instance_takes_the_room_that_is_left() {
        let pod = "orders-deployment-in-the-north-7d9f8b6c4-x2x9z";
        assert_eq!(joined("orders", pod), format!("orders@{pod}"));
        let long = "s".repeat(100);
        let name = joined(&long, pod);
        assert_eq!(name.len(), 63);
        assert_eq!(name, format!("{}@{}", &long[..26], &pod[pod.len() - 36..]));
        assert_eq!(joined("", &long), format!("@{}", "s".repeat(62)));
    }

    #[test]
    fn a_name_tells_its_instance_however_it_was_cut() {
        let long = "a-service-with-a-name-that-never-ends";
        let pod = "orders-deployment-in-the-north-7d9f8b6c4-x2x9z";
        for service in ["orders", "a@b", long, &"s".repeat(62), &"s".repeat(100), ""] {
            for instance in ["pod-7", "pod@7", UUID, pod, &"i".repeat(80)] {
                let name = joined(service, instance);
                let told = instance_of(&name, service).unwrap_or_else(|| panic!("{name}"));
                assert!(instance.ends_with(told), "{name}: {told}");
                let least = instance.len().min(INSTANCE);
                assert!(told.len() >= least, "{name}: {told}");
            }
        }
    }

    #[test]
    fn another_services_name_tells_none() {
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
        // What is left of the service is the same, and the rest of it is not known.
        let long = "a-service-with-a-name-that-never-ends";
        assert_eq!(instance_of(&joined("a-service", UUID), long), None);
        assert_eq!(instance_of("a-service-with-a-name-that@pod-7", long), None);
        assert_eq!(
            instance_of(&format!("{}@{UUID}", "\u{e9}".repeat(13)), long),
            None
        );
    }

    #[test]
    fn what_is_not_printable_ascii_is_a_question_mark() {
        assert_eq!(joined("b\u{e9}b\u{e9}\n", "\u{1f980}1\t"), "b?b??@?1?");
        assert_eq!(joined(&"\u{e9}".repeat(80), UUID).len(), 63);
    }
}
