// The hour: what the connections in use do, who waits, and the events, sample by sample.

const MOST_SAMPLES = 720;
// Vertical places in the chart, from the top: the band of those who wait, the band of connections, the axis.
const WAIT_TOP = 6, WAIT_END = 58, USE_TOP = 80, USE_END = 188, CLOCKS = 206, MARKS = 225, HOUR_HEIGHT = 232, HOUR_RIGHT = 66;

const hour = { step: 5, first: 0, endsAt: 0, length: 0, columns: null, events: [], width: 0, cursor: null, drawn: "" };

// Adds the samples of an answer. Returns false if earlier ones are missing and must be asked for.
function mergeHour(news) {
  const count = news.in_use.length;
  const gained = news.first_number + count - hour.first - hour.length;
  const follows = hour.columns && news.first_number >= hour.first && gained >= 0 && gained <= count;
  const kept = follows ? news.first_number - hour.first : 0;
  const surplus = Math.max(0, kept + count - MOST_SAMPLES);
  const columns = Object.entries(news).filter(([, column]) => Array.isArray(column));
  hour.columns = Object.fromEntries(columns.map(([name, column]) => [name, kept ? [...hour.columns[name].slice(surplus, kept), ...column] : column]));
  hour.first = news.first_number - kept + surplus;
  hour.length = hour.columns.in_use.length;
  hour.step = news.step_seconds;
  hour.endsAt = news.ends_at;
  return follows || hour.first === 0 || count > 24;
}

const sampleTime = (index) => hour.endsAt - (hour.length - 1 - index) * hour.step;

// ---- the figures above the chart: of this instant, or of the sample under the cursor

const FIGURES = [["in_use", "in use", ""], ["querying", "running a query", "solid"], ["idle_in_hand", "idle in hand", "pale"],
  ["idle_in_transaction", "idle in transaction", "hatched"], ["pending", "waiting", "waiting"], ["wait_p95", "p95 wait", ""],
  ["checkouts", "checkouts", ""], ["timeouts", "timeouts", ""]];

const makeFigure = ([, name, sample]) => element("div", "", element("dt", "", ...(sample ? [element("i", `sample ${sample}`)] : []), name), element("dd"));

const sampleAt = (index) => Object.fromEntries(Object.entries(hour.columns).map(([name, column]) => [name, column[index]]));

// The state of this instant, with what only a sample can have: the latest wait, rate and timeouts.
function sampleNow(counts) {
  const last = sampleAt(hour.length - 1);
  return { ...last, ...counts, pending_peak: 0, timeouts: sum(hour.columns.timeouts.slice(-12)) };
}

function showFigures(sample, isNow) {
  const texts = {
    in_use: number(sample.in_use) + (isNumber(sample.max_connections) ? ` of ${number(sample.max_connections)}` : ""),
    pending: number(sample.pending) + (sample.pending_peak > sample.pending ? ` (peak ${number(sample.pending_peak)})` : ""),
    wait_p95: duration(sample.wait_p95),
    checkouts: `${number(sample.checkouts / hour.step)}\u00a0/s`,
    timeouts: number(sample.timeouts) + (isNow ? " in 1 min" : ""),
  };
  const hurts = { in_use: isNumber(sample.max_connections) && sample.in_use >= sample.max_connections, pending: sample.pending > 0, timeouts: sample.timeouts > 0 };
  reconcile($("figures"), FIGURES, ([name]) => name, makeFigure, (item, [name]) => {
    say(item.lastChild, texts[name] ?? number(sample[name]));
    item.lastChild.className = hurts[name] ? "hurt" : "";
  });
  return FIGURES.map(([name, text]) => `${text} ${texts[name] ?? number(sample[name])}`).join(", ");
}

// ---- the chart

// A young pool shows its first minutes wide, an old one the whole hour.
function hourScales() {
  const { in_use, pool_size, max_connections, pending, pending_peak } = hour.columns;
  const span = Math.min(3600, Math.max(120, hour.length * hour.step));
  const start = hour.endsAt - span;
  const right = hour.width - HOUR_RIGHT;
  const used = highest([...in_use, ...pool_size]);
  // A maximum far above what is used would flatten everything: then it is only named.
  const maximum = highest(max_connections);
  const top = (maximum <= 2 * used ? Math.max(used, maximum) : used) * 1.05 || 1;
  const most = Math.max(1, highest(pending), highest(pending_peak));
  return {
    start, span, right, top, most,
    x: (time) => round(((time - start) / span) * right),
    use: (value) => round(USE_END - (value / top) * (USE_END - USE_TOP)),
    wait: (value) => round(WAIT_END - (value / most) * (WAIT_END - WAIT_TOP)),
  };
}

function stroke(scale, y, values) {
  const points = values.map((value, i) => (isNumber(value) ? `${scale.x(sampleTime(i))} ${y(value)}` : ""));
  return points.map((point, i) => point && (points[i - 1] ? "L" : "M") + point).join("");
}

function area(scale, y, low, high) {
  const edge = (values) => values.map((value, i) => `${scale.x(sampleTime(i))} ${y(value)}`);
  return high.length ? `M${edge(high).join("L")}L${edge(low).reverse().join("L")}Z` : "";
}

function hourPaths(scale) {
  const { columns } = hour;
  const zero = columns.in_use.map(() => 0);
  const onTop = (low, name) => low.map((value, i) => value + (columns[name][i] ?? 0));
  const known = onTop(zero, "querying");
  const inHand = onTop(known, "idle_in_hand");
  const inTransaction = onTop(inHand, "idle_in_transaction");
  const unknown = columns.in_use.map((value, i) => Math.max(value ?? 0, inTransaction[i]));
  const paths = {
    unknown: area(scale, scale.use, inTransaction, unknown),
    querying: area(scale, scale.use, zero, known),
    "in-hand": area(scale, scale.use, known, inHand),
    "in-transaction": area(scale, scale.use, inHand, inTransaction),
    waiting: area(scale, scale.wait, zero, onTop(zero, "pending")),
    peak: stroke(scale, scale.wait, columns.pending_peak),
    "pool-size": stroke(scale, scale.use, columns.pool_size),
    maximum: stroke(scale, scale.use, columns.max_connections.map((value) => (value > scale.top ? null : value))),
  };
  return Object.entries(paths).map(([name, d]) => shape("path", { d, class: `area-${name}` }));
}

function hourLabels(scale) {
  const { pool_size: size, max_connections: maximum } = sampleAt(hour.length - 1);
  const x = scale.right + 8;
  const labels = [label(x, USE_END, "0", "label")];
  if (isNumber(size)) labels.push(label(x, scale.use(size) + 4, `${size === maximum ? "max" : "size"} ${size}`, "label"));
  if (maximum > scale.top) labels.push(label(x, USE_TOP - 8, `max ${maximum} ↑`, "label"));
  else if (maximum > size) labels.push(label(x, Math.min(scale.use(maximum), scale.use(size) - 13) + 4, `max ${maximum}`, "label"));
  const waited = highest(hour.columns.pending_peak);
  if (waited) labels.push(label(x, WAIT_TOP + 6, number(waited), "label hurt"), label(x, WAIT_TOP + 19, "waited", "label hurt"));
  else labels.push(label(x, WAIT_END, "0 waited", "label"));
  return labels;
}

const EVENT_MARKS = { timeouts: "▲", leak: "◆", outage_began: "✕", outage_ended: "○", resized: "↕", suspended: "‖", resumed: "▸", restarted: "↻", invalidated: "⊘", closed: "■" };
const hurts = (event) => ["timeouts", "leak", "outage_began"].includes(event.kind);

// From each event of one kind to the next of the other; to the present if it still goes on.
function eventSpans(scale, began, ended) {
  const spans = [];
  for (const { kind, at } of hour.events) {
    if (kind === began) spans.push([at, hour.endsAt]);
    if (kind === ended && !spans.length) spans.push([scale.start, at]);
    else if (kind === ended) spans.at(-1)[1] = at;
  }
  return spans.filter(([, to]) => to > scale.start).map(([from, to]) => {
    const x = scale.x(Math.max(from, scale.start));
    return shape("rect", { x, width: Math.max(2, scale.x(to) - x), y: WAIT_TOP, height: USE_END - WAIT_TOP, class: "span" });
  });
}

function eventMarks(scale) {
  const marks = [];
  let last = -9;
  for (const event of hour.events) {
    const x = scale.x(event.at);
    // Marks that would overlap are left out: the list has them.
    if (x < 0 || x - last < 9) continue;
    last = x;
    marks.push(label(x, MARKS, EVENT_MARKS[event.kind] ?? "•", hurts(event) ? "hurt" : "", "middle"));
  }
  return marks;
}

function clockTicks(scale) {
  const step = [60, 300, 600].find((size) => (scale.span / size) * 52 <= scale.right) ?? 1200;
  const ticks = [];
  for (let time = Math.ceil(scale.start / step) * step; time <= hour.endsAt; time += step) {
    const x = scale.x(time);
    ticks.push(line(x, USE_END, x, USE_END + 4, "base"));
    if (x > 16) ticks.push(label(x, CLOCKS, clock(time).slice(0, 5), "label", "middle"));
  }
  return ticks;
}

function drawHour() {
  const drawn = `${hour.first + hour.length} ${hour.width} ${hour.events.length}`;
  show($("hour-chart"), hour.length > 1);
  if (!hour.length || hour.width < 100) return;
  if (drawn !== hour.drawn) {
    hour.drawn = drawn;
    const scale = hourScales();
    const seconds = hour.length * hour.step;
    const chart = $("hour-chart");
    chart.replaceChildren(
      line(0, WAIT_END, scale.right, WAIT_END, "base"), line(0, USE_END, scale.right, USE_END, "base"),
      ...eventSpans(scale, "outage_began", "outage_ended"), ...eventSpans(scale, "suspended", "resumed"),
      ...hourPaths(scale), ...hourLabels(scale), ...clockTicks(scale), ...eventMarks(scale), line(0, WAIT_TOP, 0, USE_END + 4, "cursor"),
    );
    const summary = `At most ${number(highest(hour.columns.in_use))} connections in use, ${number(highest(hour.columns.pending_peak))} waiting, ${hour.events.length} events`;
    set(chart, { height: HOUR_HEIGHT, width: hour.width, "aria-label": summary });
    say($("hour-title"), seconds > 3540 ? "The hour" : `The last ${duration(seconds < 60 ? seconds : seconds - (seconds % 60))}`);
  }
  drawCursor();
}

// Returns the figures at the cursor as text; undefined without a cursor.
function drawCursor() {
  const cursor = $("hour-chart").lastElementChild;
  const index = hour.cursor - hour.first;
  const visible = hour.cursor !== null && index >= 0 && cursor;
  if (cursor) set(cursor, { visibility: visible ? "visible" : "hidden" });
  say($("hour-at"), visible ? `at ${clock(sampleTime(index))}` : "connections in use by what they do, and who waits");
  if (!visible) return undefined;
  const x = hourScales().x(sampleTime(index));
  set(cursor, { x1: x, x2: x });
  return showFigures(sampleAt(index));
}

function moveCursor(index) {
  hour.cursor = hour.first + Math.min(hour.length - 1, Math.max(0, index));
  return drawCursor();
}

const makeEvent = () => element("li", "", element("time"), element("b"), element("span"));

function showEvents(events) {
  hour.events = [...events].sort((a, b) => a.at - b.at);
  const latest = [...hour.events].reverse();
  show($("events"), latest.length > 0);
  reconcile($("events"), latest, ({ at, kind }) => `${at} ${kind}`, makeEvent, (item, event) => {
    const [time, mark, text] = item.children;
    say(time, clock(event.at));
    say(mark, EVENT_MARKS[event.kind] ?? "•");
    mark.className = hurts(event) ? "hurt" : "";
    say(text, event.text);
  });
}

function startHour(redraw) {
  const chart = $("hour-chart");
  onWidth($("figures"), (width) => { hour.width = width; drawHour(); });
  on(chart, "pointermove", (event) => {
    if (!hour.length) return;
    const scale = hourScales();
    moveCursor(hour.length - 1 - Math.round(((1 - event.offsetX / scale.right) * scale.span) / hour.step));
    const near = hour.events.filter(({ at }) => Math.abs(scale.x(at) - event.offsetX) < 6).slice(-4);
    tip(event, near.length ? near.map(({ at, text }) => `${clock(at)} ${text}`) : null);
  });
  for (const kind of ["pointerleave", "blur"]) {
    on(chart, kind, () => { tip(); hour.cursor = null; redraw(); });
  }
  on(chart, "keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12, Home: -MOST_SAMPLES, End: MOST_SAMPLES }[event.key];
    if (!step || !hour.length) return;
    event.preventDefault();
    const figures = moveCursor((hour.cursor === null ? hour.length : hour.cursor - hour.first) + step);
    say($("hour-read"), `${$("hour-at").textContent}: ${figures}`);
  });
}
