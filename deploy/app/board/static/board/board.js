// What the pages do in the browser: likes and endless scroll by fetch, live search by $.ajax,
// photos straight to the bucket where there is one, and the bar's line for each Ajax call.
"use strict";

const csrf = () => (document.cookie.match(/(?:^|; )csrftoken=([^;]*)/) || [])[1] || document.querySelector("[name=csrfmiddlewaretoken]")?.value || "";
const ajaxHeaders = (extra) => ({ "X-Requested-With": "XMLHttpRequest", ...extra });

function say(text, kind = "danger") {
  const box = document.createElement("div");
  box.className = `alert alert-${kind}`;
  box.setAttribute("role", "alert");
  box.textContent = text;
  document.getElementById("messages").replaceChildren(box);
}

// The bar: every answer of ours carries X-Weir, a small JSON of where its statements ran.
function noteRoute(method, path, header) {
  const place = document.getElementById("weir-ajax");
  if (!place || !header) return;
  const line = document.createElement("h3");
  line.className = "weir-line";
  line.dataset.weir = header;
  line.textContent = `${method} ${path}: ${JSON.parse(header).text}`;
  place.prepend(line);
  while (place.children.length > 30) place.lastChild.remove();
  const summary = document.querySelector("#weir-bar summary");
  let last = summary.querySelector(".ajax");
  if (!last) { last = document.createElement("span"); last.className = "ajax muted"; summary.append(last); }
  last.textContent = `Ajax: ${JSON.parse(header).text}`;
  last.dataset.weir = header;
}

async function ask(path, options = {}) {
  const response = await fetch(path, { credentials: "same-origin", ...options, headers: ajaxHeaders(options.headers) });
  noteRoute(options.method || "GET", path.split("?")[0], response.headers.get("X-Weir"));
  return response;
}

// Likes: fetch with the CSRF token in a header; without scripts the form still works.
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form.like");
  if (!form) return;
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const response = await ask(form.getAttribute("action"), { method: "POST", headers: { "X-CSRFToken": csrf(), Accept: "application/json" } });
    if (!response.ok) { say(response.status === 404 ? "This post is gone." : "That did not work. Load the page again, please."); return; }
    const { liked, count } = await response.json();
    button.classList.toggle("liked", liked);
    button.setAttribute("aria-pressed", String(liked));
    button.querySelector(".count").textContent = count;
  } catch { say("The network is away just now."); } finally { button.disabled = false; }
});

// Endless scroll: the next page of cards when the button comes into view.
const cards = document.getElementById("cards");
const watchOlder = new IntersectionObserver((entries) => entries.forEach((entry) => { if (entry.isIntersecting) older(entry.target); }), { rootMargin: "400px" });
function armOlder() { const link = cards?.querySelector("[data-older]"); if (link) watchOlder.observe(link); }
async function older(link) {
  watchOlder.unobserve(link);
  const place = link.closest("#older");
  place.innerHTML = '<div class="spinner" role="status">Loading…</div>';
  try {
    const response = await ask(location.pathname + link.getAttribute("href"));
    if (!response.ok) throw new Error(String(response.status));
    place.outerHTML = await response.text();
    armOlder();
  } catch { place.replaceChildren(link); }
}
armOlder();

// Live search: jQuery's $.ajax, one request at a time, 150 ms after the last key.
const box = $("#search-box");
let pending = null;
let timer = 0;
box.on("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const q = box.val().trim();
    if (!cards || !q) return;
    pending?.abort();
    pending = $.ajax({ url: "/search/", data: { q }, dataType: "html" })
      .done((html, _status, xhr) => {
        cards.innerHTML = html;
        noteRoute("GET", "/search/", xhr.getResponseHeader("X-Weir"));
        if (location.pathname === "/search/") history.replaceState(null, "", `/search/?q=${encodeURIComponent(q)}`);
      })
      .fail((xhr) => { if (xhr.statusText !== "abort") say("The search is away just now."); });
  }, 150);
});

// A visit is counted by a call of its own: the page itself stays a pure read.
const visited = document.querySelector("[data-visit]");
if (visited) ask(visited.dataset.visit, { method: "POST", headers: { "X-CSRFToken": csrf() }, keepalive: true }).catch(() => {});

// Photos: a preview, a check of the size before anything is sent, and the bucket where there is one.
const postForm = document.getElementById("post-form");
if (postForm) {
  const file = postForm.querySelector("[type=file]");
  const preview = postForm.querySelector(".photo-preview");
  file.addEventListener("change", () => {
    const photo = file.files[0];
    file.setCustomValidity(photo && photo.size > 5 * 1024 * 1024 ? "The photo is larger than 5 MB." : "");
    preview.hidden = !photo;
    if (photo) preview.querySelector("img").src = URL.createObjectURL(photo);
  });
  if ("direct" in postForm.dataset) postForm.addEventListener("submit", async (event) => {
    const photo = file.files[0];
    if (!photo) return;
    event.preventDefault();
    try {
      const granted = await ask(postForm.dataset.grant, { method: "POST", body: new URLSearchParams({ content_type: photo.type }), headers: { "X-CSRFToken": csrf() } });
      if (!granted.ok) throw new Error((await granted.json()).error);
      const { url, fields, token } = await granted.json();
      const body = new FormData();
      Object.entries(fields).forEach(([name, value]) => body.append(name, value));
      body.append("file", photo);
      const sent = await fetch(url, { method: "POST", body });
      if (!sent.ok) throw new Error("The bucket did not take the photo.");
      postForm.querySelector("[name=upload_token]").value = token;
      file.value = "";
      postForm.submit();
    } catch (error) { say(error.message || "The photo could not be sent."); }
  });
}

document.getElementById("theme")?.addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.bsTheme = root.dataset.bsTheme === "dark" ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.bsTheme); } catch { /* private window */ }
});

// The learners' page: a request with a method that no form can send.
document.querySelector("[data-echo]")?.addEventListener("click", async (event) => {
  const place = document.getElementById("echo-answer");
  const response = await ask("/learn/request/?by=fetch", { method: event.target.dataset.echo, body: JSON.stringify({ river: "Ouse" }), headers: { "Content-Type": "application/json", Accept: "text/plain" } });
  place.textContent = await response.text();
  place.hidden = false;
});
