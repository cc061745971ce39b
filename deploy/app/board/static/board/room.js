// The control room: nodes, two experiments, a peak; charts drawn on plain canvases.
"use strict";
(() => {
  const colours = ["#14b8a6", "#f59e0b", "#6366f1", "#ec4899", "#84cc16", "#0ea5e9"];
  const names = {};
  const nameOf = (address) => names[address] || address;
  const element = (tag, text, className = "") => { const made = document.createElement(tag); made.textContent = text; made.className = className; return made; };

  async function post(path, fields) {
    const response = await ask(path, { method: "POST", body: new URLSearchParams(fields), headers: { "X-CSRFToken": csrf(), Accept: "application/json" } });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error || `status ${response.status}`);
    return answer;
  }

  function draw(canvas, legend, series, unit) {
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * scale; canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.clearRect(0, 0, width, height);
    const all = Object.values(series).flat();
    const top = Math.max(1, ...all);
    const length = Math.max(2, ...Object.values(series).map((values) => values.length));
    pen.font = "11px system-ui"; pen.fillStyle = "#94a3b8"; pen.strokeStyle = "#94a3b855";
    for (const share of [0, 0.5, 1]) {
      const y = height - 12 - share * (height - 28);
      pen.beginPath(); pen.moveTo(0, y); pen.lineTo(width, y); pen.stroke();
      pen.fillText(`${(top * share).toFixed(top < 10 ? 1 : 0)} ${unit}`, 2, y - 3);
    }
    legend.replaceChildren();
    Object.entries(series).forEach(([name, values], number) => {
      const colour = colours[number % colours.length];
      pen.strokeStyle = colour; pen.lineWidth = 2; pen.beginPath();
      values.forEach((value, at) => { const x = (at / (length - 1)) * width, y = height - 12 - (value / top) * (height - 28); at ? pen.lineTo(x, y) : pen.moveTo(x, y); });
      pen.stroke();
      const key = element("span", `● ${nameOf(name)}  `); key.style.color = colour; legend.append(key);
    });
  }

  // Nodes.
  function newRow(rows, node) {
    const row = element("tr", "");
    row.id = `node-${node.name}`;
    row.dataset.name = node.name;
    const first = element("td", "");
    first.append(element("strong", node.name), element("div", node.node, "small text-body-secondary"));
    row.append(first, ...["", "", "", "text-end", "text-end", "text-end"].map((className) => element("td", "", className)));
    rows.append(row);
    return row;
  }
  function buttonsFor(node, state, down) {
    const late = state.endsWith("late");
    return [["pause", "Pause replay", !down && !node.paused], ["resume", "Resume", !down && node.paused], ["delay", late ? "No delay" : "200 ms late", !down], ["stop", "Stop", !down], ["start", "Start", down]]
      .filter(([, , shown]) => shown)
      .map(([action, label]) => {
        const button = element("button", label, "btn btn-sm btn-outline-primary ms-1 mb-1");
        button.type = "button"; button.dataset.action = action; button.dataset.name = node.name;
        button.dataset.delay = late ? "0" : "200";
        return button;
      });
  }
  const panel = document.getElementById("nodes");
  const lagSeries = {};
  const LAG_POINTS = 60;
  function showNodes(picture) {
    const rows = document.getElementById("node-rows");
    picture.nodes.forEach((node) => {
      names[node.node] = node.name;
      const down = node.running === false || node.up === false;
      const state = down ? "down" : node.paused ? "paused" : node.delay && node.delay !== "0" ? `${node.delay} late` : "up";
      const row = document.getElementById(`node-${node.name}`) || newRow(rows, node);
      const [, zone, role, badge, lag, connections, buttons] = row.cells;
      zone.textContent = node.zone || "";
      role.textContent = node.role || (node.name === "primary" ? "primary" : "replica");
      lag.textContent = node.role === "replica" || node.lag_ms !== undefined ? `${node.lag_ms ?? "?"} ms, ${Math.round((node.lag_bytes || 0) / 1024)} kB` : "";
      connections.textContent = node.connections ?? "";
      // A button that somebody is about to press stays where it is.
      if (row.dataset.state !== state) {
        row.dataset.state = state;
        badge.replaceChildren(element("span", state, `badge text-bg-${down ? "danger" : state === "up" ? "success" : "warning"}`));
        buttons.replaceChildren(...(picture.buttons && node.name !== "primary" ? buttonsFor(node, state, down) : []));
      }
      if (node.role === "replica") {
        const values = (lagSeries[node.name] ||= []);
        values.push(node.lag_ms || 0);
        if (values.length > LAG_POINTS) values.shift();
      }
    });
    draw(document.getElementById("lag-chart"), document.getElementById("lag-legend"), lagSeries, "ms");
  }
  async function poll() {
    try {
      const response = await fetch(panel.dataset.status, { headers: ajaxHeaders() });
      if (response.ok) showNodes(await response.json());
    } catch { /* the next one may do */ }
    setTimeout(poll, document.hidden ? 5000 : 1000);
  }
  showNodes(JSON.parse(document.getElementById("picture").textContent));
  setTimeout(poll, 1000);
  panel.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-action]");
    if (!button) return;
    button.disabled = true;
    try {
      const { done } = await post(panel.dataset.node, { action: button.dataset.action, name: button.dataset.name || "", delay_ms: button.dataset.delay || "0" });
      say(done, "success");
    } catch (error) { say(error.message); } finally { button.disabled = false; }
  });

  function meters(nodes) {
    const most = Math.max(1, ...Object.values(nodes));
    return Object.entries(nodes).sort().map(([node, number]) => {
      const row = element("div", "", "meter"), track = element("div", "", "track"), filled = element("i", "");
      row.dataset.node = node; row.dataset.count = number;
      filled.style.width = `${(100 * number) / most}%`;
      track.append(filled);
      row.append(element("span", nameOf(node), "text-truncate"), track, element("span", number));
      return row;
    });
  }
  function experiment(id, show) {
    const form = document.getElementById(id), place = document.getElementById(`${id}-answer`);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      button.disabled = true;
      place.replaceChildren(element("div", "Running…", "spinner"));
      try { place.replaceChildren(...show(await post(form.getAttribute("action"), new FormData(form)))); }
      catch (error) { place.replaceChildren(element("div", error.message, "alert alert-danger")); }
      finally { button.disabled = false; }
    });
  }
  experiment("freshness", (answer) => {
    const verdict = element("p", `${answer.stale} of ${answer.rounds} reads were stale at level ${answer.level}; the slowest took ${answer.slowest_ms} ms.`, answer.stale ? "alert alert-warning" : "alert alert-success");
    verdict.dataset.stale = answer.stale;
    return [verdict, ...meters(answer.nodes)];
  });
  experiment("spread", (answer) => meters(answer.nodes));

  // The peak: one POST whose answer arrives line by line.
  const peak = document.getElementById("peak");
  peak.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = peak.querySelector("button"), line = document.getElementById("peak-line");
    const series = {};
    let ticks = 0, rest = "", clicks = 0;
    button.disabled = true;
    line.textContent = "Starting…";
    try {
      const response = await fetch(peak.getAttribute("action"), { method: "POST", body: new URLSearchParams(new FormData(peak)), headers: ajaxHeaders({ "X-CSRFToken": csrf() }) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        rest += value;
        const lines = rest.split("\n");
        rest = lines.pop();
        for (const text of lines) {
          const tick = JSON.parse(text);
          if (tick.note) { say(tick.note, "info"); continue; }
          ticks += 1; clicks += tick.per_second / 2;
          for (const node of Object.keys(tick.nodes)) series[node] ||= Array(ticks - 1).fill(0);
          for (const [node, values] of Object.entries(series)) values.push(2 * (tick.nodes[node] || 0));
          const errors = Object.values(tick.errors).reduce((sum, number) => sum + number, 0);
          line.textContent = `${tick.seconds} s: ${tick.per_second} clicks/s, p50 ${tick.p50_ms} ms, p99 ${tick.p99_ms} ms` + (tick.status.clients === null ? "" : `, ${tick.status.clients} clients, ${tick.status.nodes.reduce((sum, node) => sum + node.connections, 0)} server connections`) + (errors ? `, ${errors} errors` : "");
          draw(document.getElementById("peak-chart"), document.getElementById("peak-legend"), series, "/s");
        }
      }
      line.textContent += ` — done, ${Math.round(clicks)} clicks`;
      line.dataset.done = "1";
    } catch (error) { line.textContent = `It ended early: ${error.message}`; } finally { button.disabled = false; }
  });
})();
