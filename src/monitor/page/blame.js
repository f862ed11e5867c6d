// Blame: the time that others waited because of the holds of a place.

const MOST_BLAMED = 6;
const PERIODS = { last_minute: "in the last minute", last_5_minutes: "in the last five minutes", since_start: "since the start" };
const blame = { asked: null, chosen: null, live: null };

// The period that was asked for, else the shortest in which anybody waited.
function blamePeriod() {
  const waited = (period) => blame.live.blame[period]?.some((row) => row.blamed_seconds > 0);
  return blame.asked ?? Object.keys(PERIODS).find(waited) ?? "last_minute";
}

const blamedPlace = (row) => blame.live.places[row.place];
const blamedRows = () => (blame.live.blame[blamePeriod()] ?? []).filter((row) => row.blamed_seconds > 0).slice(0, MOST_BLAMED);

function makeBlamed() {
  const bar = element("span", "blame-bar", element("i", "solid"), element("i", "pale"));
  const button = element("button", "", element("span", "at"), element("b"), bar, element("small"));
  const item = element("li", "", button);
  for (const kind of ["pointerenter", "focus", "click"]) {
    on(button, kind, () => { blame.chosen = item.key; showVictims(); });
  }
  return item;
}

function showBlamed(item, row, most) {
  const [at, amount, bar, part] = item.firstChild.children;
  const avoidable = row.avoidable_seconds ?? 0;
  item.key = placeKey(blamedPlace(row));
  bar.dataset.slot = slotOf(blamedPlace(row));
  showPlace(at, blamedPlace(row), true);
  say(amount, `${duration(row.blamed_seconds)} · ${percent(row.share)}`);
  bar.firstChild.style.width = `${(100 * (row.blamed_seconds - avoidable)) / most}%`;
  bar.lastChild.style.width = `${(100 * avoidable) / most}%`;
  say(part, isNumber(row.avoidable_seconds) && avoidable > 0 ? `${duration(avoidable)} avoidable (${percent(avoidable / row.blamed_seconds)})` : "");
}

const makeVictim = () => element("li", "", element("span", "at"), element("i"), element("span", "figure"));

// The panel below the bars: who waited for the place under the pointer or with the focus, else for the first.
function showVictims() {
  const rows = blamedRows();
  const row = rows.find((one) => placeKey(blamedPlace(one)) === blame.chosen) ?? rows[0];
  const panel = $("victims");
  show(panel, Boolean(row));
  if (!row) return;
  if (!panel.firstChild) panel.append(element("h3"), element("ul"));
  for (const item of $("blame-rows").children) item.classList.toggle("chosen", item.key === placeKey(blamedPlace(row)));
  const victims = [...(row.victims ?? [])].sort((a, b) => b.seconds - a.seconds).slice(0, 5);
  const known = victims.length ? "Who waited" : "No single wait was long enough to be recorded";
  say(panel.firstChild, `${known} behind ${placeName(blamedPlace(row))}`);
  reconcile(panel.lastChild, victims, ({ place }) => placeKey(blame.live.places[place]), makeVictim, (item, { place, seconds }) => {
    showPlace(item.children[0], blame.live.places[place]);
    item.children[1].style.width = `${(100 * seconds) / victims[0].seconds}%`;
    say(item.children[2], duration(seconds));
  });
}

function showBlame(live) {
  show($("blame"), Boolean(live.blame));
  if (!live.blame) return;
  blame.live = live;
  const rows = blamedRows();
  const most = highest(rows.map((row) => row.blamed_seconds));
  reconcile($("blame-rows"), rows, (row) => placeKey(blamedPlace(row)), makeBlamed, (item, row) => showBlamed(item, row, most));
  $("blame-window").querySelector(`[value=${blamePeriod()}]`).checked = true;
  say($("blame-none"), rows.length ? "" : `Nobody waited for a connection in hand ${PERIODS[blamePeriod()]}.`);
  showVictims();
}

function startBlame(redraw) {
  on($("blame-window"), "change", (event) => {
    blame.asked = event.target.value;
    redraw();
  });
}
