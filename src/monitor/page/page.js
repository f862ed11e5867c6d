// The page: asks for `live` once a second while it is visible, and shows what it says.

const BASE = location.pathname.replace(/\/?$/, "/");
const PERIOD = 1000, PATIENCE = 5000, SILENCE = 3000;
const TOKEN = `poolscope token ${BASE}`;

// `answeredAt` is by this browser's clock; all other times are by the server's.
const page = { live: null, asking: false, wholeHour: true, answeredAt: Date.now(), trouble: "", timer: 0, frame: 0, gist: "" };

// ---- requests

// Returns the status and the JSON of a route; null without an answer in time.
async function ask(route, patience) {
  const headers = { Accept: "application/json" };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  try {
    const answer = await fetch(BASE + route, { headers, cache: "no-store", signal: AbortSignal.timeout(patience) });
    return { status: answer.status, body: await answer.json().catch(() => null) };
  } catch {
    return null;
  }
}

async function poll() {
  clearTimeout(page.timer);
  if (page.asking || document.hidden) return;
  page.asking = true;
  const began = Date.now();
  const answer = await ask(page.wholeHour ? "live?hour=1" : "live", PATIENCE);
  page.asking = false;
  if (answer?.status === 401) return lock();
  page.timer = setTimeout(poll, Math.max(100, began + PERIOD - Date.now()));
  receive(answer);
}

function receive(answer) {
  const live = answer?.body;
  if (!answer) say($("refused"), "No answer.");
  if (live?.verdict) {
    page.live = live;
    page.answeredAt = Date.now();
    page.wholeHour = !mergeHour(live.hour);
    rememberHolds(live);
    redraw();
  }
  page.trouble = answer && !live?.verdict ? live?.detail ?? `status ${answer.status}` : "";
}

// ---- the token

function lock() {
  say($("refused"), sessionStorage.getItem(TOKEN) === null ? "" : "This token was refused.");
  sessionStorage.removeItem(TOKEN);
  page.live = null;
  showVerdict({ severity: "unknown", sentence: "This page needs the monitor\u2019s token." }, []);
  show($("locked"), true);
  show($("data"), false);
  say($("pulse"), "locked");
  $("token").focus();
}

function startToken() {
  on($("locked"), "submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, $("token").value.trim());
    $("token").value = "";
    page.wholeHour = true;
    wake();
  });
  on($("forget"), "click", () => {
    sessionStorage.removeItem(TOKEN);
    location.reload();
  });
}

// ---- the head of the page

const makeWarning = () => element("li", "", element("b"), " ", element("span"));

function showVerdict({ severity, sentence, action }, warnings) {
  document.body.dataset.severity = severity;
  say($("sentence"), sentence);
  say($("action"), action);
  const others = warnings.filter(({ message }) => !sentence.toLowerCase().startsWith(message.toLowerCase()));
  reconcile($("warnings"), others, (_, index) => index, makeWarning, (item, warning) => {
    item.dataset.severity = warning.severity;
    say(item.firstChild, warning.message);
    say(item.lastChild, warning.recommendation);
  });
  // Figures change each second: it is read aloud again only when something else does.
  const gist = severity + sentence.replace(/[\d.,\s]+/g, "#");
  if (gist !== page.gist) say($("spoken"), `${severity}: ${sentence}`);
  page.gist = gist;
}

function showName(live) {
  const name = $("name");
  if (!name.firstChild) name.append(element("b"), element("span"));
  say(name.firstChild, live.pool_name);
  say(name.lastChild, [live.database, live.service, isNumber(live.uptime_seconds) && `up ${duration(live.uptime_seconds)}`].filter(Boolean).join(" · "));
  const title = `${{ warning: "▲ ", critical: "■ " }[live.verdict.severity] ?? ""}${live.pool_name} · poolscope`;
  if (document.title !== title) document.title = title;
  // Only paths of this host become links.
  const others = (live.pools ?? []).filter(({ path }) => /^\/(?![/\\])/.test(path));
  show($("pools"), others.length > 0);
  reconcile($("pools"), others, ({ path }) => path, () => element("a"), (link, pool) => {
    set(link, { href: pool.path });
    say(link, pool.name);
  });
}

// Says whether the figures are fresh.
function showPulse() {
  const silent = Date.now() - page.answeredAt;
  const stale = silent > SILENCE && !document.hidden && $("locked").hidden;
  document.body.classList.toggle("stale", stale);
  if (!stale) {
    if (page.live) say($("pulse"), `live ${clock(page.live.now)}`);
    return;
  }
  const since = `no answer since ${silent < 60000 ? `${Math.floor(silent / 1000)}\u00a0s` : duration(silent / 1000)}`;
  say($("pulse"), since);
  showVerdict({
    severity: "critical",
    sentence: page.trouble ? `The monitor refuses: ${page.trouble}` : `The app gives ${since}: it is gone, frozen or out of reach.`,
    action: `Asking again each second.${page.live ? ` At ${clock(page.live.now)} it said: ${page.live.verdict.sentence}` : ""}`,
  }, []);
}

// ---- drawing

// Draws the latest answer, at most once a frame. A hidden page gets no frames.
function redraw() {
  page.frame ||= requestAnimationFrame(() => {
    page.frame = 0;
    if (page.live) draw(page.live);
  });
}

function draw(live) {
  show($("locked"), false);
  show($("data"), true);
  show($("hour"), true);
  show($("sessions"), true);
  show($("forget"), sessionStorage.getItem(TOKEN) !== null);
  assignSlots(live);
  showPulse();
  if (!document.body.classList.contains("stale")) showVerdict(live.verdict, live.warnings ?? []);
  showName(live);
  showEvents(live.events ?? []);
  if (hour.cursor === null) showFigures(sampleNow(live.counts), true);
  drawHour();
  showNow(live);
  showBlame(live);
  showRoutes(live);
  showStatements(live);
  showConfiguration(live);
}

// Starts to ask, or goes on. Time in the background is no silence of the app.
function wake() {
  if (document.hidden) return;
  // Rendered without data: there is nothing to ask for without a token.
  if (document.body.dataset.severity === "unknown" && !sessionStorage.getItem(TOKEN)) return lock();
  page.answeredAt = Date.now();
  poll();
  askAdvice(300);
  askSessions();
}

startToken();
startHour(redraw);
startNow(redraw);
startBlame(redraw);
startSize();
startTables(redraw);
setInterval(showPulse, 1000);
on(document, "visibilitychange", wake);
wake();
