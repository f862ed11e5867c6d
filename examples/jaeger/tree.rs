//! Renders a trace as a text tree.

use std::fmt::Write;

use super::jaeger::Span;

/// The width of a whole trace, in columns.
const WIDTH: u64 = 40;

/// Renders one line for each span: its name, its duration, and its time as a bar.
pub fn render(spans: &[Span]) -> String {
    let mut text = String::new();
    for root in spans.iter().filter(|span| span.parent.is_none()) {
        render_span(spans, root, root, 0, &mut text);
    }
    text
}

fn render_span(spans: &[Span], root: &Span, span: &Span, depth: usize, text: &mut String) {
    let total = root.took.max(1);
    let column = |time: u64| (time.saturating_sub(root.start) * WIDTH / total).min(WIDTH) as usize;
    let (from, to) = (column(span.start), column(span.start + span.took));
    let bar = "━".repeat((to - from).max(1));
    let name = format!("{}{}", "  ".repeat(depth), span.name);
    let _ = writeln!(
        text,
        "  {name:32} {:>9.2} ms  {}{bar}",
        span.took as f64 / 1e3,
        " ".repeat(from)
    );
    let mut children: Vec<_> = spans
        .iter()
        .filter(|child| child.parent.as_deref() == Some(&span.id))
        .collect();
    children.sort_by_key(|child| child.start);
    for child in children {
        render_span(spans, root, child, depth + 1, text);
    }
}
