//! What the server writes into the page, for readers without a script.

use std::fmt::Write;

use crate::report::live::{HoldReport, Live, Place};

/// The most bytes of all texts together, and of some: the page has a bound.
const ALL: usize = 2400;
const TITLE: usize = 100;
const SENTENCE: usize = 800;
const CELL: usize = 100;

/// The texts of the page. All are escaped.
#[derive(Debug)]
pub(in crate::monitor) struct Content {
    pub(super) title: String,
    pub(super) severity: &'static str,
    pub(super) sentence: String,
    pub(super) action: String,
    pub(super) warnings: String,
    pub(super) holders: String,
}

impl Content {
    /// Returns the content for a viewer who has not sent the token.
    pub(in crate::monitor) fn without_data() -> Self {
        Self {
            title: "poolscope".to_owned(),
            severity: "unknown",
            sentence: "This page needs the monitor's token.".to_owned(),
            action: String::new(),
            warnings: String::new(),
            holders: String::new(),
        }
    }

    pub(in crate::monitor) fn of(live: &Live) -> Self {
        let verdict = &live.verdict;
        let title = escaped(&live.pool_name, TITLE);
        let sentence = escaped(&verdict.sentence, SENTENCE);
        let action = verdict.action.as_deref().unwrap_or_default();
        let action = escaped(action, SENTENCE);
        let mut left = ALL.saturating_sub(title.len() + sentence.len() + action.len());
        let warnings = live.warnings.iter().map(|warning| {
            format!(
                "<li data-severity=\"{}\"><b>{}</b> <span>{}</span></li>",
                warning.severity.as_str(),
                escaped(&warning.message, SENTENCE),
                escaped(&warning.recommendation, SENTENCE)
            )
        });
        let warnings = fitting(&mut left, warnings);
        let holds = live.lanes.holds.iter().filter(|hold| hold.to.is_none());
        let holders = holds.map(|hold| row(hold, &live.places[hold.place]));
        Self {
            title,
            severity: verdict.severity.as_str(),
            sentence,
            action,
            warnings,
            holders: fitting(&mut left, holders),
        }
    }
}

/// Returns the leading texts that fit into what is left.
fn fitting(left: &mut usize, texts: impl Iterator<Item = String>) -> String {
    let fit = texts.map_while(|text| {
        *left = left.checked_sub(text.len())?;
        Some(text)
    });
    fit.collect()
}

/// Returns a holder as a row of the table.
fn row(hold: &HoldReport, place: &Place) -> String {
    let caller = place.caller.as_deref().unwrap_or_default();
    let named = match (place.route.as_deref(), place.label) {
        (None, None) => caller.to_owned(),
        (route, label) => format!(
            "{} {}",
            route.unwrap_or_default(),
            label.unwrap_or_default()
        ),
    };
    let cells = [
        String::new(),
        named,
        format!("{:.1} s", hold.held_seconds),
        hold.state.unwrap_or_default().replace('_', " "),
        caller.to_owned(),
        hold.query.clone().unwrap_or_default(),
    ];
    let mut row = format!("<tr><th scope=\"row\">#{}</th>", hold.connection);
    for cell in cells {
        let _ = write!(row, "<td>{}</td>", escaped(cell.trim(), CELL));
    }
    row + "</tr>"
}

/// Returns the text as HTML, for an element or a quoted attribute: its beginning, if it has more bytes than
/// `most`.
fn escaped(text: &str, most: usize) -> String {
    let mut html = String::with_capacity(text.len().min(most));
    for letter in text.chars() {
        let before = html.len();
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
        if html.len() > most {
            html.truncate(before);
            break;
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_texts_are_cut_between_letters() {
        assert_eq!(escaped(&"é".repeat(150), 101), "é".repeat(50));
        assert_eq!(escaped("a<b", 4), "a");
        assert_eq!(escaped("a<b", 6), "a&lt;b");
    }

    #[test]
    fn only_the_first_texts_fit() {
        let texts = ["abc", "de", "f"].map(str::to_owned);
        let mut left = 4;
        assert_eq!(fitting(&mut left, texts.into_iter()), "abc");
        assert_eq!(left, 1);
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_element_or_its_attribute(text in any::<String>()) {
            let html = escaped(&text, usize::MAX);
            prop_assert!(!html.contains(['<', '>', '"', '\'']));
            let plain = html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
            prop_assert_eq!(plain.replace("&#39;", "'").replace("&amp;", "&"), text);
        }
    }
}
