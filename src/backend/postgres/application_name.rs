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
    fn what_is_not_printable_ascii_is_a_question_mark() {
        assert_eq!(joined("b\u{e9}b\u{e9}\n", "\u{1f980}1\t"), "b?b??@?1?");
        assert_eq!(joined(&"\u{e9}".repeat(80), UUID).len(), 63);
    }
}
