// The jobs of a Netlathe server: a list, and one job live. No library; nothing is loaded from elsewhere.
"use strict";

const REFRESH_MS = 3000;
const SESSION_MS = 60000;
const COMPARED = 10;
const KEY = "netlathe-token";
const SVG_TAGS = new Set(["svg", "path", "circle", "text", "g", "title"]);
const RESTING = ["SUCCEEDED", "FAILED", "CANCELLED", "PAUSED"];
let picture = { job: null, url: null };
let sessionAt = -Infinity;

const byId = (id) => document.getElementById(id);

// Text only ever becomes text: nothing that a server says is read as markup.
function make(tag, attributes = {}, ...children) {
  const node = SVG_TAGS.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = { ...(token ? { Authorization: `Bearer ${token}` } : {}), ...(options.headers || {}) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) { login(token ? "That is not the token." : ""); throw new Error("no token"); }
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || answer.statusText);
  return answer;
}

const json = async (path) => (await ask(path)).json();

function login(why) {
  sessionStorage.removeItem(KEY);
  byId("login").hidden = false;
  byId("logout").hidden = true;
  byId("refused").textContent = why;
  byId("list").replaceChildren();
  byId("job").hidden = true;
}

const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);
const short = (number) => (number === null ? "–" : Number(number.toPrecision(3)).toString());
const when = (text) => new Date(text).toLocaleString();

function state(job) {
  return make("span", { class: `state ${job.state}` }, job.state + (job.reason ? ` (${job.reason})` : ""));
}

const row = (cells, tag = "td") => make("tr", {}, ...cells.map((cell) =>
  make(tag, {}, typeof cell === "number" ? String(cell) : cell)));

async function allJobs() {
  const jobs = [];
  let cursor = null;
  do {
    const page = await json(`/api/v1/jobs${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`);
    jobs.push(...page.jobs);
    cursor = page.cursor;
  } while (cursor);
  return jobs.reverse();
}

// Links into Optuna's dashboard send no token: a cookie, good for nothing else, is kept alive while this page is open.
async function studies() {
  try {
    if (performance.now() - sessionAt > SESSION_MS) {
      await ask("/api/v1/session", { method: "POST" });
      sessionAt = performance.now();
    }
    return new Map((await json("/api/v1/studies")).map((study) => [study.run, study]));
  } catch { return new Map(); } // a copy that cannot be read takes the links away, not the jobs
}

// A tab of its own, which shares no storage with this one: the dashboard's script never sees the token.
const outside = (href, text) => make("a", { href, target: "_blank", rel: "noopener" }, text);

function comparison(jobs, known) {
  const ids = jobs.filter((job) => known.has(job.id)).slice(0, COMPARED).map((job) => known.get(job.id).study);
  if (!ids.length) return null;
  const compare = outside(`/dashboard/compare-studies?ids=${ids.join(",")}`, `compare the newest ${ids.length}`);
  return make("p", { class: "note" }, "Optuna’s dashboard: ", outside("/dashboard", "all studies"),
    ...(ids.length > 1 ? [" · ", compare] : []));
}

function progress(job) {
  return job.sessions.map((s) => `${s.name} ${s.paid}/${s.budget}`).join(", ") || "nothing evaluated yet";
}

async function showList() {
  const [jobs, known] = await Promise.all([allJobs(), studies()]);
  const rows = jobs.map((job) => {
    const best = job.sessions.length ? job.sessions[0] : null;
    return row([
      make("a", { href: `#${job.id}` }, job.id), state(job), progress(job),
      best ? percent(best.best_accuracy) : "–", best ? short(best.best_latency_ms) : "–", when(job.created),
      known.has(job.id) ? outside(known.get(job.id).path, "trials") : "–",
    ]);
  });
  byId("list").replaceChildren(...[
    make("h2", {}, `${jobs.length} jobs`),
    comparison(jobs, known),
    make("table", {}, row(["job", "state", "paid of budget", "best", "ms", "submitted", "Optuna"], "th"), ...rows),
  ].filter((node) => node !== null));
}

function span(values) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - room, high + room];
}

function frame(title, xLabel, yLabel, [x0, x1], ys, draw) {
  const [w, h, left, bottom, top] = [420, 260, 48, 36, 12];
  const [y0, y1] = span(ys);
  const x = (v) => left + (w - left - 10) * (v - x0) / (x1 - x0);
  const y = (v) => h - bottom - (h - bottom - top) * (v - y0) / (y1 - y0);
  const label = (px, py, text, anchor) => make("text", { x: px, y: py, "text-anchor": anchor }, text);
  return make("div", {}, make("h3", {}, title), make("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": title },
    make("path", { class: "axis", d: `M${left} ${top}V${h - bottom}H${w - 10}` }),
    label(left, h - bottom + 14, short(x0), "start"), label(w - 10, h - bottom + 14, short(x1), "end"),
    label(left - 4, h - bottom, short(y0), "end"), label(left - 4, top + 8, short(y1), "end"),
    label((w + left) / 2, h - 6, xLabel, "middle"), label(left + 4, top + 2, yLabel, "start"), ...draw(x, y)));
}

function frontOf(points) {
  let best = -Infinity;
  return [...points].sort((a, b) => a.latency_ms - b.latency_ms || b.accuracy - a.accuracy)
    .filter((p) => p.accuracy > best && ((best = p.accuracy), true));
}

function plots(points) {
  const known = points.filter((p) => p.accuracy !== null && p.latency_ms !== null);
  if (known.length < 2) return make("p", { class: "note" }, "Plots come with the first results.");
  const names = [...new Set(known.map((p) => p.session))];
  const own = names.map((name) => known.filter((p) => p.session === name));
  const pareto = frame("Accuracy and latency", "latency, ms (predicted)", "accuracy", span(known.map((p) => p.latency_ms)),
    known.map((p) => p.accuracy), (x, y) => own.flatMap((session, i) => {
      const front = frontOf(session);
      const path = front.map((p, k) => `${k ? "L" : "M"}${x(p.latency_ms)} ${y(p.accuracy)}`).join("");
      return [make("g", { class: `s${i % 5}` }, make("path", { class: "line", d: path }), ...session.map((p) =>
        make("circle", { class: front.includes(p) ? "dot front" : "dot", cx: x(p.latency_ms), cy: y(p.accuracy), r: 3 },
          make("title", {}, `${p.digest}: ${percent(p.accuracy)}, ${short(p.latency_ms)} ms`))))];
    }));
  const curves = own.map((session) => {
    let best = -Infinity;
    return session.map((p, k) => [k + 1, (best = Math.max(best, p.reward))]);
  });
  const flat = curves.flat();
  const curve = frame("Best reward so far", "networks evaluated", "reward", [0, Math.max(...flat.map((p) => p[0]))], flat.map((p) => p[1]),
    (x, y) => curves.map((points_, i) => make("g", { class: `s${i % 5}` }, make("path", { class: "line",
      d: points_.map((p, k) => (k ? `H${x(p[0])}V${y(p[1])}` : `M${x(p[0])} ${y(p[1])}`)).join("") }))));
  const legend = make("p", { class: "legend" }, ...names.map((name, i) => make("span", { class: `s${i % 5}` }, `● ${name}`)));
  return make("div", {}, legend, make("div", { class: "plots" }, pareto, curve));
}

async function drawing(job) {
  if (job.state !== "SUCCEEDED") return null;
  if (picture.job !== job.id) {
    if (picture.url) URL.revokeObjectURL(picture.url);
    try {
      picture = { job: job.id, url: URL.createObjectURL(await (await ask(`/api/v1/jobs/${job.id}/picture`)).blob()) };
    } catch { return null; }
  }
  return make("div", {}, make("h2", {}, "The exported network"),
    make("div", { class: "drawing" }, make("img", { src: picture.url, alt: "the layers of the exported network" })));
}

function actions(job) {
  const act = (name, verb, body) => make("button", { onclick: async () => {
    try {
      await ask(`/api/v1/jobs/${job.id}/${verb}`, { method: "POST", headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body || {}) });
      await refresh();
    } catch (error) { alert(error.message); }
  } }, name);
  const buttons = [];
  if (["PENDING", "STARTING", "RUNNING", "RECOVERING"].includes(job.state)) buttons.push(act("Pause", "pause"));
  if (["PAUSED", "FAILED", "CANCELLED"].includes(job.state)) buttons.push(act("Resume", "resume"));
  if (!["SUCCEEDED", "FAILED", "CANCELLED"].includes(job.state)) buttons.push(act("Cancel", "stop"));
  if (job.state === "SUCCEEDED") buttons.push(make("button", { onclick: async () => {
    const url = URL.createObjectURL(await (await ask(`/api/v1/jobs/${job.id}/export`)).blob());
    const link = make("a", { href: url, download: `${job.id}.zip` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  } }, "Download export"));
  return make("div", { class: "actions" }, ...buttons);
}

async function showJob(id) {
  const [job, events, points, known, logs] = await Promise.all([
    json(`/api/v1/jobs/${id}`), json(`/api/v1/jobs/${id}/events`), json(`/api/v1/jobs/${id}/points`), studies(),
    ask(`/api/v1/jobs/${id}/logs`).then((answer) => answer.text()),
  ]);
  const sessions = job.sessions.map((s) => row([s.name, `${s.paid} of ${s.budget}`, s.front, percent(s.best_accuracy),
    short(s.best_latency_ms), short(s.best_reward), s.best_digest || "–"]));
  const happened = events.slice(-12).map((e) => row([when(e.at), make("span", { class: `state ${e.state}` }, e.state), e.message]));
  byId("job").replaceChildren(...[
    make("p", {}, make("a", { href: "#" }, "← all jobs")),
    make("h2", {}, `${job.id} `, state(job)),
    job.message ? make("p", { class: "note" }, job.message) : null,
    actions(job),
    known.has(id) ? make("p", {}, outside(known.get(id).path, "Trials in Optuna’s dashboard")) : null,
    make("table", {}, row(["strategy", "paid", "front", "best", "ms", "reward", "network"], "th"), ...sessions),
    plots(points), await drawing(job),
    make("h2", {}, "What happened"), make("table", {}, ...happened),
    make("h2", {}, "Log"), make("pre", {}, logs.slice(-4000) || "nothing yet"),
  ].filter((node) => node !== null));
  return RESTING.includes(job.state);
}

async function refresh() {
  const id = decodeURIComponent(location.hash.slice(1));
  byId("list").hidden = id !== "";
  byId("job").hidden = id === "";
  try {
    if (id) await showJob(id); else await showList();
    byId("login").hidden = true;
    byId("logout").hidden = sessionStorage.getItem(KEY) === null;
  } catch (error) {
    if (error.message !== "no token") byId(id ? "job" : "list").replaceChildren(make("p", { class: "note" }, error.message));
  }
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, byId("token").value.trim());
  byId("token").value = "";
  refresh();
});
byId("logout").addEventListener("click", () => {
  ask("/api/v1/session", { method: "DELETE" }).catch(() => {}); // it ends by itself, too
  sessionAt = -Infinity;
  login("");
});
addEventListener("hashchange", refresh);
setInterval(() => { if (!document.hidden && byId("login").hidden) refresh(); }, REFRESH_MS);
refresh();
