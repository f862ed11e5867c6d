// Routes and statements by time, the server's sessions, the configuration.

// Fills a table. A column has a head, a class and the text of a row; `bar`, if any, gives the solid and the pale
// part of a bar under the text, in shares of the widest.
function table(node, columns, rows, keyOf) {
  if (!node.tBodies.length) {
    node.createTHead().insertRow().append(...columns.map(({ head, kind }) => element("th", kind, head)));
    for (const cell of node.tHead.rows[0].cells) cell.scope = "col";
    node.createTBody();
  }
  const make = () => element("tr", "", ...columns.map(({ kind, bar }) =>
    element("td", kind, element("span"), ...(bar ? [element("div", "", element("i", "solid"), element("i", "pale"))] : []))));
  reconcile(node.tBodies[0], rows, keyOf, make, (made, row) => columns.forEach(({ text, bar }, i) => {
    const [span, parts] = made.children[i].children;
    say(span, text(row));
    if (i === 0) set(span, { title: text(row) });
    bar?.(row).forEach((share, which) => { parts.children[which].style.width = `${100 * share}%`; });
  }));
}

function showRoutes(live) {
  const rows = [...(live.routes ?? [])].sort((a, b) => b.share - a.share).slice(0, 10);
  const most = highest(rows.map(({ share }) => share)) || 1;
  const busy = (row) => (row.held_seconds > 0 ? Math.min(1, row.busy_seconds / row.held_seconds) : 0);
  show($("routes"), rows.length > 0);
  table($("routes").lastElementChild, [
    { head: "Place", text: (row) => `${slotOf(row)} ${placeName(row)}` },
    { head: "Share", kind: "figure", text: (row) => percent(row.share), bar: (row) => [(row.share * busy(row)) / most, (row.share * (1 - busy(row))) / most] },
    { head: "Checkouts", kind: "figure", text: (row) => number(row.checkouts) },
    { head: "Held", kind: "figure", text: (row) => duration(row.held_seconds) },
    { head: "Database", kind: "figure", text: (row) => duration(row.busy_seconds) },
  ], rows, placeKey);
}

function showStatements(live) {
  const rows = [...(live.statements ?? [])].sort((a, b) => b.seconds - a.seconds).slice(0, 10);
  const most = highest(rows.map(({ share }) => share)) || 1;
  show($("statements"), rows.length > 0);
  table($("statements").lastElementChild, [
    { head: "Statement", kind: "code", text: ({ statement }) => statement ?? "unknown" },
    { head: "Share", kind: "figure", text: ({ share }) => percent(share), bar: ({ share }) => [share / most, 0] },
    { head: "Calls", kind: "figure", text: ({ calls }) => number(calls) },
    { head: "Mean", kind: "figure", text: (row) => duration(row.mean_seconds) },
  ], rows, ({ statement }) => statement);
}

function showConfiguration(live) {
  const settings = live.configuration ?? [];
  const changed = settings.filter((setting) => !setting.is_default);
  const section = $("configuration");
  show(section, settings.length > 0);
  say(section.querySelector("small"), `${changed.length} of ${settings.length} set, the others at their defaults`);
  if (!section.open) return;
  const make = () => element("div", "", element("dt"), element("dd"));
  const ordered = [...changed, ...settings.filter((setting) => setting.is_default)];
  reconcile(section.lastElementChild, ordered, ({ name }) => name, make, (item, setting) => {
    item.className = setting.is_default ? "default" : "";
    say(item.firstChild, setting.name);
    say(item.lastChild, setting.value ?? "not set");
  });
}

// ---- the server's sessions

const holderText = (holder) => [placeName(holder), holder.caller].join(" · ");

// `4711 · POST /checkout · src/checkout.rs:118` if that session belongs to this pool, else its application and user.
function blockerText({ process_id, holder, application_name, user }) {
  const who = holder ? holderText(holder) : [application_name, user].filter(Boolean).join(" · ");
  return [process_id ?? "a prepared transaction", who].filter(Boolean).join(" · ");
}

function showSessions(report) {
  const held = (session) => session.holder?.held_seconds ?? -1;
  const blocked = (session) => session.blocked_by ?? [];
  const rows = [...report.sessions].sort((a, b) => blocked(b).length - blocked(a).length || held(b) - held(a)).slice(0, 100);
  const sentences = [
    report.error && `The server does not answer: ${report.error}. This is the pool's own view.`,
    `${number(report.total_connections)} sessions: ${number(report.active_count)} active, ${number(report.idle_count)} idle, ${number(report.idle_in_transaction)} idle in transaction.`,
    isNumber(report.server_connections) && `The server has ${number(report.server_connections)} of ${number(report.server_max_connections)} connections in use.`,
    report.restricted,
  ];
  say($("sessions").children[1], sentences.filter(Boolean).join(" "));
  table($("sessions").querySelector("table"), [
    { head: "Process", text: (session) => session.process_id ?? "—" },
    { head: "State", text: ({ state }) => state.replaceAll("_", " ") },
    { head: "For", kind: "figure", text: (session) => duration(session.query_seconds ?? session.state_seconds) },
    { head: "Transaction", kind: "figure", text: (session) => duration(session.transaction_seconds) },
    { head: "Waits for", text: (session) => session.wait_event },
    { head: "Blocked by", kind: "hurt", text: (session) => blocked(session).map(blockerText).join("; ") },
    { head: "Holder", text: ({ holder }) => holder && `${holderText(holder)} · ${duration(holder.held_seconds)}` },
    { head: "Query", kind: "code", text: (session) => session.query ?? session.holder?.last_query },
  ], rows, (session, index) => session.process_id ?? index);
}

let sessionsTimer = 0;

async function askSessions() {
  clearTimeout(sessionsTimer);
  const section = $("sessions");
  if (!section.open || document.hidden) return;
  const answer = await ask("connections", 10000);
  if (answer?.body?.sessions) showSessions(answer.body);
  else say(section.children[1], answer?.body?.detail ?? "No answer.");
  sessionsTimer = setTimeout(askSessions, 10000);
}

function startTables(redraw) {
  on($("sessions"), "toggle", askSessions);
  on($("configuration"), "toggle", redraw);
}
