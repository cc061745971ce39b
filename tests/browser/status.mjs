// Looks at the status page with a headless Chromium and says what it saw, as JSON on standard output.
//
//   node status.mjs http://127.0.0.1:16432/ DIRECTORY-FOR-SCREENSHOTS SECONDS
//
// The browser is told by the DevTools protocol over pipes (--remote-debugging-pipe): JSON that ends in NUL.
// https://chromedevtools.github.io/devtools-protocol/
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [url, directory, seconds] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "pgweir-browser-"));
const chromium = spawn(process.env.CHROMIUM || "chromium", [
  "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe",
  `--user-data-dir=${profile}`, "about:blank",
], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const [, , , toBrowser, fromBrowser] = chromium.stdio;
process.on("exit", () => chromium.kill("SIGKILL"));
chromium.on("error", (error) => { console.error(`chromium: ${error.message}`); process.exit(2); });

let number = 0, rest = "";
const waiting = new Map();
const problems = [];
const requests = new Set();
fromBrowser.setEncoding("utf8");
fromBrowser.on("data", (text) => {
  const messages = (rest + text).split("\0");
  rest = messages.pop();
  for (const { id, result, error, method, params } of messages.map((m) => JSON.parse(m))) {
    if (waiting.has(id)) {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (error) reject(new Error(error.message)); else resolve(result);
    } else if (method === "Runtime.exceptionThrown") {
      problems.push(params.exceptionDetails.exception?.description || params.exceptionDetails.text);
    } else if (method === "Log.entryAdded" && params.entry.level === "error") {
      problems.push(params.entry.text);
    } else if (method === "Page.javascriptDialogOpening") {
      problems.push(`a dialog: ${params.message}`);
    } else if (method === "Network.requestWillBeSent") {
      requests.add(new URL(params.request.url).origin);
    }
  }
});

let session;
const tell = (method, params = {}) => new Promise((resolve, reject) => {
  waiting.set(++number, { resolve, reject });
  toBrowser.write(JSON.stringify({ id: number, method, params, sessionId: session }) + "\0");
});
const evaluate = async (expression) => {
  const { result, exceptionDetails } = await tell("Runtime.evaluate", { expression, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
  return result.value;
};
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// What somebody who looks at the page would see.
const SEEN = `(() => {
  const lines = (id) => [...document.querySelectorAll("#" + id + " path.line")];
  const points = (path) => (path.getAttribute("d").match(/[ML]/g) || []).length;
  return {
    text: document.body.innerText,
    nodes: document.querySelectorAll("#nodes .card").length,
    lag: lines("chart-lag").map(points),
    rate: [...document.querySelectorAll("#chart-rate path.area")].map((p) => p.getAttribute("d").length),
    bars: [...document.querySelectorAll("#reasons .reason")].map((row) => ({
      name: row.children[0].innerText, text: row.children[2].innerText,
      width: row.querySelector(".bar").getBoundingClientRect().width })),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    ground: getComputedStyle(document.body).backgroundColor,
    strange: document.querySelectorAll("img, iframe, object, embed, main script, [onerror], [onload]").length,
    hacked: window.hacked === true,
  };
})()`;

async function look(name, { width, height, dark, mobile }) {
  await tell("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: mobile ? 2 : 1, mobile });
  await tell("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
  await pause(1500);
  const seen = await evaluate(SEEN);
  const { cssContentSize } = await tell("Page.getLayoutMetrics");
  const clip = { x: 0, y: 0, width, height: Math.min(1700, cssContentSize.height), scale: mobile ? 0.5 : 1 };
  const { data } = await tell("Page.captureScreenshot", { format: "png", captureBeyondViewport: true, clip });
  writeFileSync(join(directory, `${name}.png`), Buffer.from(data, "base64"));
  return seen;
}

async function main() {
  const { targetInfos } = await tell("Target.getTargets");
  const page = targetInfos.find((target) => target.type === "page");
  ({ sessionId: session } = await tell("Target.attachToTarget", { targetId: page.targetId, flatten: true }));
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await tell(`${domain}.enable`);
  await tell("Page.navigate", { url });
  await pause(seconds * 1000);
  const wide = await look("status", { width: 1280, height: 1000, dark: false, mobile: false });
  const phone = await look("status-phone", { width: 390, height: 844, dark: true, mobile: true });
  console.log(JSON.stringify({ wide, phone, problems, requests: [...requests] }));
}

// The profile can go when the browser has gone.
async function end(status) {
  const gone = new Promise((resolve) => chromium.on("exit", resolve));
  chromium.kill("SIGKILL");
  await gone;
  await pause(200);
  try { rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 }); } catch { /* a helper of the browser's still writes */ }
  process.exit(status);
}

setTimeout(() => { console.error(`no end in sight; ${problems.join("; ")}`); process.exit(2); }, (Number(seconds) + 60) * 1000);
main().then(() => end(0), (error) => { console.error(error); return end(2); });
