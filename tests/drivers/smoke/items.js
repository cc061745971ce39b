// The frame of the Node smoke programs; see items.py for what a line means.
const items = [];
exports.item = (name, run) => items.push({ name, run });
const line = (...fields) => console.log(fields.map((f) => String(f).replace(/[\t\n]/g, " ")).join("\t"));
const limit = (promise, ms) => {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("no answer in time")), ms); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};
exports.main = async () => {
  const wanted = process.argv.slice(2);
  if (wanted[0] === "--list") return items.forEach(({ name }) => console.log(name));
  for (const { name, run } of items) {
    if (wanted.length && !wanted.includes(name)) continue;
    line("run", name);
    try {
      const observed = await limit(Promise.resolve().then(run), 30000);
      line("ok", name, observed === undefined ? "" : JSON.stringify(observed));
    } catch (error) {
      line("fail", name, `${error.code || error.name}: ${error.message}`);
    }
  }
  process.exit(0);
};
