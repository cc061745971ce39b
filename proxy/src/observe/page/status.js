"use strict";
// Draws /status.json once a second. Text goes in by textContent only, so that nothing is ever markup.
const SAMPLES = 120;
const history = [];
const $ = (id) => document.getElementById(id);
const COLOURS = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5"].map((c) => `var(${c})`);

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const number = (n) => n >= 1e6 ? (n / 1e6).toFixed(1) + " M" : n >= 1e4 ? (n / 1e3).toFixed(1) + " k"
  : n >= 100 || Number.isInteger(n) ? Math.round(n).toString() : n >= 1 ? n.toFixed(1) : n.toPrecision(2);
const bytes = (n) => { let i = 0; while (n >= 1024 && i < 4) { n /= 1024; i++; } return (i ? n.toFixed(1) : n) + " " + ["B", "kB", "MiB", "GiB", "TiB"][i]; };
const time = (s) => s >= 1 ? s.toFixed(1) + " s" : s >= 0.001 ? (s * 1e3).toFixed(1) + " ms" : (s * 1e6).toFixed(0) + " µs";
const span = (s) => s >= 172800 ? Math.floor(s / 86400) + " days" : s >= 7200 ? Math.floor(s / 3600) + " h" : s >= 120 ? Math.floor(s / 60) + " min" : Math.floor(s) + " s";

// What happened between two samples of a histogram, and its quantile by interpolation.
function quantile(now, then, q) {
  if (!now) return null;
  const old = then ? then.buckets.map((b) => b[1]) : [];
  const count = now.count - (then ? then.count : 0);
  if (count <= 0) return null;
  let below = 0, from = 0;
  for (let i = 0; i < now.buckets.length; i++) {
    const [bound, cumulative] = now.buckets[i];
    const upTo = cumulative - (old[i] || 0);
    if (upTo >= q * count) return from + (bound - from) * (q * count - below) / Math.max(1, upTo - below);
    below = upTo; from = bound;
  }
  return from;
}

// series: [{name, colour, values: [number|null]}]; all as long as the history.
function chart(place, series, { stacked = false, unit = number } = {}) {
  const width = 320, height = 110, left = 40;
  const sums = [];
  const tops = series.map((s) => s.values.map((v, i) => stacked ? (sums[i] = (sums[i] || 0) + (v || 0)) : v));
  const max = (Math.max(0, ...tops.flat().filter((v) => v !== null)) || 1) * 1.1;
  const x = (i) => left + (width - left) * (i + SAMPLES - history.length) / (SAMPLES - 1);
  const y = (v) => height - (height - 6) * v / max;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height + 4}`, role: "img", preserveAspectRatio: "none" });
  for (const part of [0, 0.5, 1]) {
    const at = y(max * part / 1.1);
    svg.append(make("line", { class: "grid", x1: left, x2: width, y1: at, y2: at }),
      make("text", { x: 0, y: at + 4 }, unit(max * part / 1.1)));
  }
  series.map((s, k) => ({ ...s, top: tops[k], floor: stacked && k ? tops[k - 1] : null })).reverse().forEach((s) => {
    let path = "", open = false;
    s.top.forEach((v, i) => { if (v === null) { open = false; } else { path += `${open ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`; open = true; } });
    if (stacked && path) {
      for (let i = s.top.length - 1; i >= 0; i--) path += `L${x(i).toFixed(1)} ${y(s.floor ? s.floor[i] : 0).toFixed(1)}`;
      svg.append(make("path", { class: "area", d: path + "Z", style: { fill: s.colour } }));
    } else {
      svg.append(make("path", { class: "line", d: path, style: { stroke: s.colour } }));
    }
  });
  const legend = make("div", { class: "legend" }, ...series.map((s) => {
    const last = s.values[s.values.length - 1];
    return make("span", {}, make("i", { style: { background: s.colour } }), `${s.name} ${last === null || last === undefined ? "–" : unit(last)}`);
  }));
  $(place).replaceChildren(svg, legend);
}

// Differences per second along the history.
const rates = (count) => history.map((s, i) => i === 0 ? null : Math.max(0, count(s) - count(history[i - 1])) / Math.max(0.2, s.now - history[i - 1].now));
const ofTarget = (s, target) => s.reasons.filter((r) => r.target === target).reduce((sum, r) => sum + r.count, 0);
const nodeOf = (s, name) => s.nodes.find((n) => n.name === name);

function drawNodes(s) {
  $("nodes").replaceChildren(...s.nodes.map((n) => {
    const [word, mood] = !n.up ? ["down", "bad"] : n.drained ? ["drained", "warn"] : n.lagging ? ["lagging", "warn"] : n.serving ? ["serving", "good"] : ["not serving", "warn"];
    const rows = [["since", span(n.since)], ["load", `${n.outstanding} under way`],
      ["servers", `${n.servers_active} in use, ${n.servers_idle} idle`]];
    if (n.waiting) rows.push(["waiting", n.waiting]);
    if (n.role === "replica") rows.push(["lag", `${time(n.lag_seconds)}, ${bytes(n.lag_bytes)}`]);
    if (n.lsn) rows.push(["position", `${n.lsn} (timeline ${n.timeline})`]);
    if (n.zone) rows.push(["zone", n.zone]);
    if (n.groups.length) rows.push(["groups", n.groups.join(", ")]);
    const card = make("article", { class: `card ${n.role === "primary" ? "primary" : n.role === "replica" ? "replica" : ""}` },
      make("h3", {}, n.name), make("div", {}, `${n.role}, `, make("span", { class: mood }, word)),
      make("dl", {}, ...rows.flatMap(([k, v]) => [make("dt", {}, k), make("dd", {}, String(v))])));
    if (n.error && !n.up) card.append(make("p", { class: "error" }, n.error));
    return card;
  }));
}

function drawCharts(s) {
  chart("chart-rate", [
    { name: "primary", colour: "var(--primary)", values: rates((h) => ofTarget(h, "primary")) },
    { name: "replica", colour: "var(--replica)", values: rates((h) => ofTarget(h, "replica")) },
  ], { stacked: true });
  const replicas = s.nodes.filter((n) => n.role === "replica").slice(0, COLOURS.length);
  chart("chart-lag", replicas.map((n, i) => ({
    name: n.name, colour: COLOURS[i],
    values: history.map((h) => { const then = nodeOf(h, n.name); return then && then.up && then.role === "replica" ? then.lag_seconds * 1e3 : null; }),
  })));
  const over = (q) => history.map((h, i) => { const v = i < 1 ? null : quantile(h.statement_seconds, history[Math.max(0, i - 5)].statement_seconds, q); return v === null ? null : v * 1e3; });
  chart("chart-time", [{ name: "p50", colour: "var(--c1)", values: over(0.5) }, { name: "p99", colour: "var(--c3)", values: over(0.99) }]);
  chart("chart-clients", ["active", "waiting", "idle"].map((state, i) => ({
    name: state, colour: [COLOURS[0], "var(--bad)", "var(--c5)"][i], values: history.map((h) => h.clients[state] || 0),
  })), { stacked: true });
}

function drawReasons(s) {
  const first = history[0];
  const before = (r) => (first.reasons.find((o) => o.reason === r.reason && o.target === r.target) || { count: 0 }).count;
  const rows = s.reasons.map((r) => ({ ...r, lately: r.count - (history.length > 1 ? before(r) : 0) }));
  rows.sort((a, b) => b.lately - a.lately || b.count - a.count);
  const max = Math.max(1, ...rows.map((r) => r.lately));
  const all = Math.max(1, rows.reduce((sum, r) => sum + r.lately, 0));
  const share = (n) => (100 * n / all).toFixed(n && n < all / 10 ? 1 : 0) + " %";
  $("reasons").replaceChildren(...(rows.length ? rows : []).map((r) => make("div", { class: "reason", title: r.explain },
    make("span", {}, r.reason), make("div", {}, make("div", { class: "bar", style: { width: `${100 * r.lately / max}%`, background: `var(--${r.target === "replica" ? "replica" : "primary"})` } })),
    make("span", {}, `${share(r.lately)} · ${number(r.lately)} (${number(r.count)})`))));
  if (!rows.length) $("reasons").replaceChildren(make("p", { class: "note" }, "No statement yet."));
}

function table(place, heads, rows, empty) {
  const cell = (tag) => (v) => make(tag, typeof v === "number" ? { class: "number" } : {}, typeof v === "number" ? number(v) : String(v ?? ""));
  const head = heads.length ? [make("tr", {}, ...heads.map((h, i) => make("th", rows.length && typeof rows[0][i] === "number" ? { class: "number" } : {}, h)))] : [];
  const body = rows.length ? rows.map((r) => make("tr", {}, ...r.map(cell("td")))) : [make("tr", {}, make("td", { class: "note" }, empty))];
  $(place).replaceChildren(...(rows.length ? head : []), ...body);
}

function drawTables(s) {
  const then = history[Math.max(0, history.length - 11)];
  const wait = (name, key) => { const q = (p) => { const v = quantile(s[key], history.length > 1 ? then[key] : null, p); return v === null ? "–" : time(v); }; return [name, q(0.5), q(0.99)]; };
  table("waits", ["last 10 s", "p50", "p99"], [wait("in pgweir itself", "proxy_seconds"), wait("for a server", "lease_wait_seconds"), wait("for freshness", "freshness_wait_seconds"),
    ...Object.entries(s.freshness_waits).filter(([, v]) => v > 0).map(([k, v]) => [`freshness ${k}`, "", number(v)]),
    ...Object.entries(s.reroutes).filter(([, v]) => v > 0).map(([k, v]) => [`reroutes ${k}`, "", number(v)])], "");
  table("pins", [], s.pins.map(([reason, n]) => [reason, n]), "No session is pinned.");
  table("pools", ["node", "database", "in use", "idle", "waiting", "limit"], s.pools.map((p) => [p.node, p.database, p.active, p.idle, p.waiting, p.limit]), "No pool yet.");
  table("events", ["when", "what", "node", ""], s.events.map((e) => [new Date(e.at * 1000).toLocaleTimeString(), e.kind, e.node, e.text]), "Nothing happened yet.");
}

function draw(s) {
  history.push(s);
  if (history.length > SAMPLES) history.shift();
  // After a restart the counters begin anew, and so does the picture.
  if (history.length > 1 && s.uptime < history[history.length - 2].uptime) history.splice(0, history.length - 1);
  const pill = $("state");
  pill.textContent = s.ready === "ready" ? s.state : `${s.state}: ${s.ready}`;
  pill.className = `pill ${s.ready === "ready" && s.state === "active" ? "good" : "warn"}`;
  const total = Object.values(s.clients).reduce((a, b) => a + b, 0);
  $("summary").textContent = `${s.version} · up ${span(s.uptime)} · ${total} clients${s.siblings ? ` · ${s.siblings} siblings` : ""} · ${bytes(s.memory_bytes || 0)}`;
  drawNodes(s); drawCharts(s); drawReasons(s); drawTables(s);
  $("main").hidden = false; $("login").hidden = true;
}

async function tick() {
  try {
    const token = sessionStorage.getItem("token");
    const answer = await fetch("status.json", { cache: "no-store", headers: token ? { Authorization: `Bearer ${token}` } : {} });
    if (answer.status === 401) { $("login").hidden = false; $("main").hidden = true; $("state").textContent = "token needed"; return; }
    draw(await answer.json());
  } catch (error) {
    $("state").textContent = "no answer"; $("state").className = "pill bad";
  }
  setTimeout(tick, document.hidden ? 5000 : 1000);
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  $("token").value = "";
  tick();
});
tick();
