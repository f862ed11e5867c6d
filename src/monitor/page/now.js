// Now: one lane a connection with its holds of the last half minute, and the queue beside it.

const WINDOW = 30;
const MOST_REMEMBERED = 5000;
const MOST_LANES = 150;
const NAMED_WAITERS = 10;
// Above `low` connections the lanes are lower; above `thin` only the longest holds keep their text.
const CROWD = { low: 16, thin: 40, named: 10 };
// The height of a hold and of its lane.
const LANE_HEIGHTS = { high: [16, 20], low: [11, 14], thin: [4, 6] };
const STATES = { querying: "running a query", idle: "idle in hand", idle_in_transaction: "idle in transaction" };

const lanes = { width: 0, now: 0, holds: new Map() };

const heldSeconds = (hold) => Math.max(1e-6, (hold.to ?? lanes.now) - hold.from);
const busyShare = (hold) => Math.min(1, hold.busy_seconds / heldSeconds(hold));
const laneX = (time) => round(Math.max(0, ((time - lanes.now + WINDOW) / WINDOW) * lanes.width));

// Adds the holds of an answer to those seen before: an answer has only the latest.
function rememberHolds(live) {
  lanes.now = live.now;
  for (const hold of live.holds) {
    lanes.holds.set(`${hold.connection} ${hold.from}`, { ...hold, at: live.places[hold.place], seen: live.now });
  }
  for (const [key, hold] of lanes.holds) {
    // It has ended in between, and the answer has no room for it.
    if (hold.to === null && hold.seen < live.now) hold.to = hold.seen;
    const old = hold.to !== null && (hold.to < live.now - WINDOW || lanes.holds.size > MOST_REMEMBERED);
    if (old) lanes.holds.delete(key);
  }
}

function lanesOf(live) {
  const byConnection = new Map(live.connections.map((connection) => [connection.id, { ...connection, holds: [] }]));
  const present = new Set(live.holds.map((hold) => hold.connection));
  for (const hold of lanes.holds.values()) {
    let lane = byConnection.get(hold.connection);
    if (!lane && !present.has(hold.connection)) continue;
    if (!lane) byConnection.set(hold.connection, (lane = { id: hold.connection, holds: [] }));
    lane.holds.push(hold);
    if (hold.to === null) lane.current = hold;
  }
  return [...byConnection.values()].sort((a, b) => a.id - b.id);
}

// In a crowd the longest holds come first, with text; the other lanes are thin.
function arrange(all) {
  if (all.length <= CROWD.thin) return all.map((lane) => ({ ...lane, size: all.length <= CROWD.low ? "high" : "low" }));
  const longest = all.filter((lane) => lane.current).sort((a, b) => a.current.from - b.current.from).slice(0, CROWD.named);
  const rest = all.filter((lane) => !longest.includes(lane)).sort((a, b) => (b.holds.length > 0) - (a.holds.length > 0) || a.id - b.id);
  return [...longest.map((lane) => ({ ...lane, size: "low" })), ...rest.slice(0, MOST_LANES).map((lane) => ({ ...lane, size: "thin" }))];
}

function makeLane() {
  const chart = shape("svg", { "aria-hidden": true }, shape("line", { class: "open" }), shape("g"), shape("g"));
  const cells = ["at", "figure", "state", "caller", "code"].map((kind) => element("td", kind));
  const row = element("tr", "", element("th"), element("td", "bar", chart), ...cells);
  row.firstChild.scope = "row";
  return row;
}

// One path for each place and part, however many holds there are. A hold fills from below by the share of its time in
// which the database worked: the share is known, the moments are not.
function holdPaths(holds, height) {
  const paths = new Map();
  const add = (slot, part, x, y, width, tall) => {
    if (tall <= 0) return;
    const key = `${slot} ${part}`;
    paths.set(key, `${paths.get(key) ?? ""}M${x} ${round(y)}h${width}v${round(tall)}h${-width}z`);
  };
  for (const hold of holds) {
    const x = laneX(hold.from);
    const width = Math.max(1, round(laneX(hold.to ?? lanes.now) - x - 0.6));
    const slot = slotOf(hold.at);
    const filled = hold.busy_seconds > 0 ? Math.max(1, busyShare(hold) * height) : 0;
    add(slot, "pale", x, 0, width, height - filled);
    add(slot, "solid", x, height - filled, width, filled);
    if (hold.blamed_seconds > 0.1 * heldSeconds(hold)) add("", "owed", x, height + 1, width, height > 6 ? 2 : 1);
  }
  return paths;
}

function drawLane(row, lane) {
  const [id, bar, at, held, state, caller, query] = row.children;
  const { current } = lane;
  const [height, full] = LANE_HEIGHTS[lane.size];
  const [open, holds, letters] = bar.firstChild.children;
  const place = current?.at;
  row.className = lane.size;
  row.lane = lane;
  row.dataset.state = current?.state ?? "";
  row.classList.toggle("brief", Boolean(current) && heldSeconds(current) < 1);
  set(bar.firstChild, { width: lanes.width, height: full });
  set(open, { x1: laneX(lane.opened_at ?? 0), x2: lanes.width, y1: height / 2, y2: height / 2 });
  reconcile(holds, [...holdPaths(lane.holds, height)], ([key]) => key, () => shape("path"), (path, [key, d]) => {
    const [slot, part] = key.split(" ");
    set(path, { d, class: part, "data-slot": slot });
  });
  const wide = lane.holds.filter((hold) => height > 10 && laneX(hold.to ?? lanes.now) - laneX(hold.from) > 17);
  reconcile(letters, wide, (hold) => hold.from, () => shape("text", { y: height - 3 }), (letter, hold) => {
    set(letter, { x: laneX(hold.from) + 4 });
    say(letter, slotOf(hold.at));
  });
  showPlace(at, place);
  say(id, `#${lane.id}`);
  say(held, current && duration(heldSeconds(current)));
  say(state, current && (STATES[current.state] ?? "state unknown"));
  say(caller, shortLine(place?.caller));
  say(query, current?.query);
}

const makeWaiter = () => element("li", "", element("span", "at"), element("span", "figure"));

function showQueue(live) {
  const waiters = [...live.waiters].sort((a, b) => a.since - b.since);
  const total = Math.max(live.counts.pending ?? 0, waiters.length);
  say($("queue-length"), total ? number(total) : "");
  $("queue").classList.toggle("long", total > 0);
  reconcile($("queue-rows"), waiters.slice(0, NAMED_WAITERS), (_, turn) => turn, makeWaiter, (item, waiter) => {
    showPlace(item.firstChild, live.places[waiter.place]);
    const phase = waiter.phase && waiter.phase !== "queued" ? `${waiter.phase} ` : "";
    say(item.lastChild, phase + duration(live.now - waiter.since));
  });
  const more = total - NAMED_WAITERS;
  say($("queue-rest"), more > 0 ? `and ${number(more)} more` : total ? "" : "Nobody waits.");
}

function showNow(live) {
  const all = lanesOf(live);
  const rows = arrange(all);
  reconcile($("lane-rows"), rows, (lane) => lane.id, makeLane, drawLane);
  showQueue(live);
  const left = all.length - rows.length;
  say($("lanes-rest"), left > 0 ? `and ${left} more connections` : all.length ? "" : "No connection is open. The first checkout opens one.");
}

function holdTip(event) {
  const bar = event.target.closest(".bar");
  const time = bar && lanes.now - WINDOW * (1 - (event.clientX - bar.getBoundingClientRect().left) / lanes.width);
  const slack = WINDOW / lanes.width;
  const hold = bar?.parentNode.lane?.holds.findLast((one) => one.from - slack <= time && time <= (one.to ?? lanes.now) + slack);
  tip(event, hold && [
    `${slotOf(hold.at)} ${placeName(hold.at)}`,
    hold.at?.caller,
    `#${hold.connection}, ${hold.to === null ? "held for" : "held"} ${duration(heldSeconds(hold))} from ${clock(hold.from)}`,
    isNumber(hold.busy_seconds) && `database at work for ${duration(hold.busy_seconds)} of it (${percent(busyShare(hold))})`,
    hold.blamed_seconds > 0 && `others waited ${duration(hold.blamed_seconds)} for it`,
    hold.query,
  ]);
}

function startNow(redraw) {
  const axis = $("lane-axis");
  axis.append(...[`−${WINDOW} s`, "−20", "−10", "now"].map((text) => element("span", "", text)));
  onWidth(axis, (width) => { lanes.width = width; redraw(); });
  on($("lanes"), "pointermove", holdTip);
  on($("lanes"), "pointerleave", () => tip());
}
