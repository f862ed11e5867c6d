// The size: the predicted waits by number of connections, and the sliders that ask `optimize` again.

const SIZE_TOP = 30, SIZE_END = 150, SIZE_HEIGHT = 190, SIZE_RIGHT = 52;
const size = { advice: null, failed: null, width: 0, target: null, timer: 0, turn: 0 };

// ---- the sliders: load and target in powers of two of what is measured

const moved = (id) => $(id).value !== $(id).defaultValue;
const factor = (id) => 2 ** Number($(id).value);
const askedTarget = () => Math.min(60000, Math.max(0.1, size.target * factor("target")));

function whatIfQuery() {
  const query = new URLSearchParams();
  if (moved("rate")) query.set("rate", factor("rate").toFixed(3));
  if (moved("target") && size.target) query.set("target_p95_ms", askedTarget().toFixed(2));
  if (moved("replicas")) query.set("replicas", $("replicas").value);
  return query.size ? `?${query}` : "";
}

function showSliders() {
  const texts = {
    rate: `× ${number(factor("rate"))}`,
    target: size.target ? duration(askedTarget() / 1000) : "—",
    replicas: size.advice?.fleet ? $("replicas").value : "—",
  };
  for (const [id, text] of Object.entries(texts)) say($(id).previousElementSibling, text);
  $("replicas").disabled = !size.advice?.fleet;
  show($("what-if").lastElementChild, Boolean(whatIfQuery()));
}

// What is measured is where the sliders start.
function setMeasured({ what_if: asked, target_p95_ms: target, fleet }) {
  if (!isNumber(asked?.target_p95_ms)) size.target = target;
  const slider = $("replicas");
  if (!fleet || isNumber(asked?.replicas)) return;
  const follow = !moved("replicas");
  slider.max = Math.max(16, 4 * fleet.replicas);
  slider.defaultValue = fleet.replicas;
  if (follow) slider.value = fleet.replicas;
}

// ---- the chart

const waitText = (wait) => (isNumber(wait.p95_ms) ? duration(wait.p95_ms / 1000) : "overload");

function columnTitle(wait) {
  const range = wait.p95_range_ms ? ` (${wait.p95_range_ms.map((ms) => duration(ms / 1000)).join(" to ")} by chance)` : "";
  const beyond = wait.beyond_data ? `; ${wait.beyond_data} more than ever were in use, so not verified` : "";
  return `p95 wait ${waitText(wait)}${range}; ${number(wait.queueing_pct)} % queue; ${number(wait.utilization_pct)} % in use${beyond}`;
}

function sizeColumn(wait, x, width, y, mark) {
  const middle = x + width / 2;
  const cut = y(wait.p95_ms ?? Infinity) <= SIZE_TOP;
  const top = Math.min(y(wait.p95_ms ?? Infinity), SIZE_END - 1.5);
  const kind = !isNumber(wait.p95_ms) ? "overload" : wait.meets_target ? "meets" : "misses";
  const column = shape("rect", { x: x + width * 0.2, width: width * 0.6, y: top, height: SIZE_END - top, class: `column ${kind} ${wait.beyond_data ? "beyond" : ""}` }, shape("title", {}, columnTitle(wait)));
  const shapes = [column];
  let labelled = top;
  if (cut) shapes.push(line(x + width * 0.15, SIZE_TOP + 13, x + width * 0.85, SIZE_TOP + 7, "cut"));
  else if (wait.p95_range_ms) {
    labelled = y(wait.p95_range_ms[1]);
    shapes.push(line(middle, y(wait.p95_range_ms[0]), middle, labelled, "range"));
  }
  // In narrow columns only the marked ones have room for their figure.
  const text = width > 46 || mark ? waitText(wait) : kind === "overload" ? "∞" : "";
  shapes.push(label(middle, Math.min(labelled, top) - 6, text, "label strong", "middle"));
  shapes.push(label(middle, SIZE_END + 17, wait.connections, mark && "strong", "middle"));
  if (mark) shapes.push(label(middle, SIZE_END + 33, mark, mark === "now" ? "label" : "label good", "middle"));
  return shapes;
}

function drawSize() {
  const { advice, width } = size;
  const chart = $("size-chart");
  const waits = advice?.predicted ?? [];
  show(chart, waits.length > 0);
  if (!waits.length || width < 100) return;
  const { current_settings: settings, target_p95_ms: target, recommended_pool_size: best, recommended_max_overflow: overflow } = advice;
  const marks = { [best + overflow]: "best", [settings.pool_size + settings.max_overflow]: "now" };
  if (best + overflow === settings.pool_size + settings.max_overflow) marks[best + overflow] = "now, best";
  // Waits far above the target are cut off, so that the sizes around it can be told apart.
  const most = Math.min(5 * target, Math.max(1.5 * target, highest(waits.map((wait) => wait.p95_range_ms?.[1]))));
  const y = (ms) => round(SIZE_END - (Math.min(ms, most) / most) * (SIZE_END - SIZE_TOP));
  const step = (width - SIZE_RIGHT) / waits.length;
  const shapes = [line(0, SIZE_END, width - SIZE_RIGHT, SIZE_END, "base"), line(0, y(target), width - SIZE_RIGHT, y(target), "target")];
  waits.forEach((wait, i) => {
    const gap = i > 0 && wait.connections - waits[i - 1].connections > 1;
    if (gap) shapes.push(line(i * step, SIZE_TOP, i * step, SIZE_END + 20, "skip"));
    shapes.push(...sizeColumn(wait, i * step, step, y, marks[wait.connections] ?? ""));
  });
  const x = width - SIZE_RIGHT + 6;
  shapes.push(label(x, y(target) - 2, "target", "label"), label(x, y(target) + 11, duration(target / 1000), "label"));
  chart.replaceChildren(...shapes);
  const read = waits.map((wait) => `${wait.connections} connections ${waitText(wait)}`).join(", ");
  set(chart, { width, height: SIZE_HEIGHT, "aria-label": `Predicted p95 wait: ${read}; target ${duration(target / 1000)}` });
}

function showAdvice() {
  const { advice, failed } = size;
  const missing = advice?.not_enough_data;
  const sentences = failed ? [failed] : missing
    ? [`Not enough data yet: ${duration(missing.seconds_more)} and ${number(missing.checkouts_more)} checkouts more.`]
    : advice?.recommendations ?? [];
  show($("size"), sentences.length > 0);
  showSliders();
  drawSize();
  show($("paste"), Boolean(advice?.paste));
  say($("paste").firstChild, advice?.paste);
  reconcile($("advice"), sentences, (_, index) => index, () => element("li"), say);
}

// Asks after `delay`, and each half minute from then on. An answer that was overtaken is dropped.
function askAdvice(delay) {
  clearTimeout(size.timer);
  size.timer = setTimeout(async () => {
    const turn = ++size.turn;
    const answer = await ask(`optimize${whatIfQuery()}`, 10000);
    if (turn !== size.turn) return;
    const known = answer?.body?.current_settings;
    if (known) size.advice = answer.body;
    size.failed = known || answer?.status === 401 ? null : answer?.body?.detail ?? (size.advice ? null : "optimize gives no answer.");
    if (known) setMeasured(answer.body);
    showAdvice();
    if (!document.hidden && answer?.status !== 401) askAdvice(30000);
  }, delay);
}

function startSize() {
  const form = $("what-if");
  onWidth(form, (width) => { size.width = width; drawSize(); });
  on(form, "input", () => { showSliders(); askAdvice(250); });
  on(form, "submit", (event) => event.preventDefault());
  on(form, "reset", () => setTimeout(() => { showSliders(); askAdvice(0); }));
}
