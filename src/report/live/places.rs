//! The places of a snapshot: where its checkouts are made.

use std::collections::HashMap;

use serde::Serialize;

use crate::record::usage::Site;

/// Where checkouts are made.
#[derive(Debug, Serialize)]
pub(crate) struct Place {
    pub(crate) route: Option<String>,
    pub(crate) label: Option<&'static str>,
    /// `null` if the routes may not show source lines.
    pub(crate) caller: Option<String>,
}

/// The places of a snapshot, each once. The rest of the snapshot names them by their index.
pub(super) struct Places {
    pub(super) all: Vec<Place>,
    index: HashMap<Site, usize>,
    source_lines: bool,
}

impl Places {
    pub(super) fn new(source_lines: bool) -> Self {
        Self {
            all: Vec::new(),
            index: HashMap::new(),
            source_lines,
        }
    }

    /// Returns the index of a place.
    pub(super) fn add(&mut self, site: Site) -> usize {
        let site = site.shown(self.source_lines);
        *self.index.entry(site).or_insert_with_key(|site| {
            self.all.push(Place {
                route: site.route.as_deref().map(str::to_owned),
                label: site.label,
                caller: self.source_lines.then(|| site.caller.to_string()),
            });
            self.all.len() - 1
        })
    }
}
