//! The live page: one HTML document with its style and its script, which loads nothing else.

pub(super) mod content;

use std::sync::LazyLock;

use self::content::Content;

/// The document, with a [marker](Part::marker) in place of each part.
const DOCUMENT: &str = include_str!("page/page.html");
static STYLE: LazyLock<String> = LazyLock::new(|| {
    let style = lean(&[include_str!("page/page.css")]);
    style
        .replace("; ", ";")
        .replace(" { ", "{")
        .replace(" }", "}")
});
/// The scripts, one after the other; `scripts/page` reads their order here.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    lean(&[
        include_str!("page/draw.js"),
        include_str!("page/hour.js"),
        include_str!("page/now.js"),
        include_str!("page/blame.js"),
        include_str!("page/size.js"),
        include_str!("page/tables.js"),
        include_str!("page/page.js"),
    ])
});

/// The policy of the page: it runs its own script and style, and reaches only the server it came from.
///
/// A test compares the hashes; `scripts/page` writes them.
pub(super) const POLICY: &str = concat!(
    "default-src 'none'; ",
    "script-src 'sha256-",
    include_str!("page/script.sha256"),
    "'; style-src 'sha256-",
    include_str!("page/style.sha256"),
    "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);

/// A part of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Style,
    Script,
    Title,
    Severity,
    Sentence,
    Action,
    Warnings,
    Holders,
}

impl Part {
    const ALL: [Self; 8] = [
        Self::Style,
        Self::Script,
        Self::Title,
        Self::Severity,
        Self::Sentence,
        Self::Action,
        Self::Warnings,
        Self::Holders,
    ];

    const fn marker(self) -> &'static str {
        match self {
            Self::Style => "/*style*/",
            Self::Script => "/*script*/",
            Self::Title => "<!--title-->",
            Self::Severity => "<!--severity-->",
            Self::Sentence => "<!--sentence-->",
            Self::Action => "<!--action-->",
            Self::Warnings => "<!--warnings-->",
            Self::Holders => "<!--holders-->",
        }
    }
}

/// Returns the files one after the other, without indentation, empty lines and lines that are comments: the page is
/// small, and its files are readable. No text in them spans lines.
fn lean(files: &[&str]) -> String {
    let lines = files.iter().flat_map(|file| file.lines()).map(str::trim);
    let code =
        lines.filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("/*"));
    code.flat_map(|line| [line, "\n"]).collect()
}

/// Returns the page with what the server writes into it.
pub(super) fn page(content: &Content) -> String {
    fill(|part| match part {
        Part::Style => &STYLE,
        Part::Script => &SCRIPT,
        Part::Title => &content.title,
        Part::Severity => content.severity,
        Part::Sentence => &content.sentence,
        Part::Action => &content.action,
        Part::Warnings => &content.warnings,
        Part::Holders => &content.holders,
    })
}

/// Returns the document with its parts. A marker within a part is left as it is.
fn fill<'a>(text: impl Fn(Part) -> &'a str) -> String {
    let mut page = String::with_capacity(DOCUMENT.len() + STYLE.len() + SCRIPT.len());
    let mut rest = DOCUMENT;
    let next = |rest: &str| {
        let found = Part::ALL.map(|part| rest.find(part.marker()).map(|at| (at, part)));
        found.into_iter().flatten().min()
    };
    while let Some((at, part)) = next(rest) {
        page.push_str(&rest[..at]);
        page.push_str(text(part));
        rest = &rest[at + part.marker().len()..];
    }
    page.push_str(rest);
    page
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_has_the_hashes_of_the_script_and_the_style() {
        for (source, text) in [("script-src", &SCRIPT), ("style-src", &STYLE)] {
            let hash = BASE64_STANDARD.encode(Sha256::digest(text.as_bytes()));
            let expected = format!("; {source} 'sha256-{hash}'; ");
            assert!(
                POLICY.contains(&expected),
                "run scripts/page: {expected} in {POLICY}"
            );
        }
    }

    #[test]
    fn the_script_and_the_style_end_where_their_elements_end() {
        let page = page(&Content::without_data());
        for (text, end) in [(&SCRIPT, "</script>"), (&STYLE, "</style>")] {
            assert!(page.contains(&format!(">{}{end}", text.as_str())));
            assert!(!text.to_ascii_lowercase().contains(&end[..end.len() - 1]));
        }
    }

    #[test]
    fn each_part_is_in_the_document_once() {
        for part in Part::ALL {
            let marker = part.marker();
            assert_eq!(DOCUMENT.matches(marker).count(), 1, "{marker}");
        }
        let page = fill(|_| "<!--title-->");
        assert_eq!(page.matches("<!--title-->").count(), Part::ALL.len());
    }
}
