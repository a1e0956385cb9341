// Live updates: figures are put in place; when something that the page shows has changed, the page reads itself again,
// unless somebody is at work in it. A page names what it shows as data-live="publication hold", or takes the usual; one
// that shows a single thing names it as data-about="support", and what is told of others does not concern it.
const main = document.getElementById("main");
const USUAL = ["publication", "hold", "dialing", "experiment", "failover", "drift"];
// Milliseconds between two readings. Pages that show the same read it at the same moment: so the gateway makes it once.
const PAUSE = 3000;
const MOST = 100; // names in one event; with so many there may be more
const kinds = main?.dataset.live ? main.dataset.live.split(" ") : USUAL;

let source = null;
let known = false;
let stale = false;
let waiting = 0;
let readAt = 0;

if (main?.hasAttribute("data-live")) {
  open();
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && comeBack());
  // A page that nobody sees needs no stream; browsers allow few of them to one address.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : comeBack()));
  // What was put off while somebody worked in the page is done once they leave it.
  main.addEventListener("focusout", () => stale && readSoon());
}

function open() {
  source = new EventSource("/live");
  source.addEventListener("snapshot", (event) => {
    const told = JSON.parse(event.data);
    figures(told.traffic);
    showLive(true);
    // A second snapshot: the gateway is another one, or has forgotten where this page was.
    if (known) readSoon();
    known = true;
  });
  source.addEventListener("traffic", (event) => figures(JSON.parse(event.data)));
  for (const kind of kinds) source.addEventListener(kind, (event) => concerns(JSON.parse(event.data)) && readSoon());
  source.addEventListener("open", () => showLive(true));
  source.addEventListener("error", () => {
    showLive(false);
    // After a refusal the browser does not try again by itself.
    if (source?.readyState === EventSource.CLOSED) setTimeout(() => source?.readyState === EventSource.CLOSED && open(), 15000);
  });
}

function concerns(told) {
  const about = main.dataset.about;
  const routes = Array.isArray(told.routes) ? told.routes : [];
  if (!about || told.agents?.length || routes.length >= MOST) return true;
  const names = [told.id, told.experiment, told.route, ...routes].filter(Boolean);
  return names.length === 0 || names.includes(about);
}

function close() {
  source?.close();
  source = null;
}

function comeBack() {
  if (source) return;
  open();
  if (known) readSoon();
}

function figures(told) {
  const values = { under_way: told.under_way, today: told.today };
  for (const [route, today] of Object.entries(told.routes)) values[`today:${route}`] = today;
  for (const place of main.querySelectorAll("[data-figure]")) {
    const figure = values[place.dataset.figure];
    if (figure !== undefined) place.textContent = figure.toLocaleString("en").replaceAll(",", "\u202f");
  }
}

function showLive(on) {
  const dot = main.querySelector("[data-pulse]");
  if (!dot) return;
  dot.hidden = !on;
  main.querySelector("[data-pulse-text]").textContent = on ? "live" : "as of this page";
}

function readSoon() {
  stale = true;
  if (waiting) return;
  const rest = Math.max(0, readAt + PAUSE - Date.now());
  waiting = setTimeout(async () => {
    waiting = 0;
    readAt = Date.now();
    stale = false;
    stale = !(await renew()) || stale;
  }, rest);
}

function busy() {
  if (document.querySelector("dialog[open]")) return true;
  const fields = main.querySelectorAll("form input, form select, form textarea");
  return [...fields].some((field) => {
    if (field.type === "hidden") return false;
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.tagName === "SELECT") return [...field.options].some((one) => one.selected !== one.defaultSelected && field.selectedIndex > 0);
    return field.value !== field.defaultValue;
  });
}

// Read the page again and put it in place; false when somebody is at work in it.
async function renew() {
  if (atWork()) return false;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return true;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
  if (!fresh || atWork()) return false;
  // What the reader has unfolded stays so.
  for (const box of main.querySelectorAll("details[id]")) {
    const again = fresh.querySelector(`#${CSS.escape(box.id)}`);
    if (again) again.open = box.open;
  }
  main.replaceChildren(...fresh.children);
  showLive(true);
  document.dispatchEvent(new Event("renewed"));
  return true;
}

function atWork() {
  const told = main.querySelector(".conflict, .review, [role=alert], .secret");
  return busy() || told !== null || (document.activeElement !== main && main.contains(document.activeElement));
}
