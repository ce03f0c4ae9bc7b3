// Asks for work, does it, shows it. Each launch is a page load of its own.
import { launch, outputs, resolution } from "./measure.js";

const at = (id) => document.getElementById(id);
const browser = (sessionStorage.browser ??= Array.from(crypto.getRandomValues(new Uint8Array(16)),
  (byte) => byte.toString(16).padStart(2, "0")).join(""));
const headers = { "x-browser": browser };
let wasHidden = document.hidden, used = false;

async function call(path, options = {}) {
  const answer = await fetch(path, { ...options, headers, cache: "no-store" });
  if (answer.status === 409) throw new Refused();
  if (!answer.ok) throw new Error(`${path.split("/")[0]}: the server said ${answer.status}`);
  return answer;
}
class Refused extends Error {}
const post = (path, body) => call(path, { method: "POST", body });
const give = (number, value) => post(`result/${number}`, JSON.stringify(value));

function show(title, text, share = null) {
  at("title").textContent = title;
  at("text").textContent = text;
  at("bar").hidden = share === null;
  if (share !== null) at("bar").value = share;
}
function notice(text) {
  at("notice").textContent = text;
  at("notice").hidden = !text;
}
function list(id, rows) {
  at(id).replaceChildren(...rows.flatMap(([name, value]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = name;
    dd.textContent = value;
    return [dt, dd];
  }));
}
const milliseconds = (seconds) => `${(seconds * 1000).toPrecision(3)} ms`;
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function facts() {
  const nav = navigator, high = await nav.userAgentData?.getHighEntropyValues?.(["platformVersion", "model"])
    .catch(() => null);
  const adapter = await nav.gpu?.requestAdapter().catch(() => null);
  const info = adapter?.info;
  return {
    user_agent: nav.userAgent,
    brands: (nav.userAgentData?.brands ?? []).map((b) => `${b.brand} ${b.version}`).join(", "),
    platform: high ? `${nav.userAgentData.platform} ${high.platformVersion} ${high.model}`.trim() : nav.platform,
    isolated: crossOriginIsolated, secure: isSecureContext, protocol: location.protocol,
    cores: nav.hardwareConcurrency ?? 0, memory_gb: nav.deviceMemory ?? 0,
    gpu: info ? [info.vendor, info.architecture, info.description].filter(Boolean).join(" ") : "",
    webgpu: Boolean(adapter), webnn: "ml" in nav, resolution_s: resolution(),
  };
}

const worker = new Worker("beat.js");
worker.postMessage({ browser, hidden: document.hidden });
let leaving = false; // a page that is reloaded is hidden, too
addEventListener("pagehide", () => (leaving = true));
document.addEventListener("visibilitychange", () => {
  if (leaving) return;
  wasHidden ||= document.hidden;
  worker.postMessage({ hidden: document.hidden });
  if (document.hidden) notice("The page was hidden or the screen went off. This launch will be repeated.");
  else awake();
});
const awake = () => navigator.wakeLock?.request("screen").catch(() => {});
const shown = () => new Promise((done) => {
  if (!document.hidden) return done();
  document.addEventListener("visibilitychange", () => document.hidden || done());
});

async function work() {
  await shown();
  wasHidden = false;
  awake();
  const self = await facts();
  list("facts", [["Cores", self.cores], ["Threads possible", self.isolated ? "yes" : "no"],
    ["Step of its clock", `${(self.resolution_s * 1e6).toPrecision(2)} µs`]]);
  const past = JSON.parse(sessionStorage.past ?? "[]");
  await post("hello", JSON.stringify(self));
  if (past.length) list("figures", [["Median", milliseconds(median(past))], ["Launches", past.length]]);
  for (;;) {
    show("Waiting", "Keep this page open, with the screen on.", 0);
    const job = await (await call("job")).json();
    if (job.kind === "done") {
      show("Done", "Thank you. The result is on the computer that asked for it; this page can be closed.");
      worker.terminate();
      return;
    }
    if (job.kind === "wait") continue;
    if (used) return location.reload(); // a launch begins with nothing loaded
    used = true;
    const threads = self.isolated && job.provider === "wasm" ? job.threads || Math.min(4, self.cores || 1) : 1;
    const say = (share) => show(job.name, job.kind === "launch" ? "Measuring." : "Comparing outputs.", share);
    say(0);
    try {
      const result = job.kind === "launch"
        ? await launch(job, threads, call, say) : await outputs(job, threads, call, post, say);
      if (wasHidden) {
        await shown();
        return location.reload(); // the job is still there
      }
      if (result.samples_s) {
        past.push(median(result.samples_s.run));
        sessionStorage.past = JSON.stringify(past);
        list("figures", [["Median", milliseconds(median(past))], ["Launches", past.length],
          ["First load", milliseconds(result.cold_load_s)]]);
      }
      await give(job.number, result);
    } catch (error) {
      if (error instanceof Refused) throw error;
      show("That did not work", String(error.message ?? error));
      await give(job.number, { failed: String(error.message ?? error).slice(0, 1000) });
      return;
    }
  }
}

work().catch((error) => {
  worker.terminate();
  if (error instanceof Refused) show("Another browser is being measured", "Only one is measured at a time.");
  else show("The connection is gone", `The measurement has ended, or the network has. ${error.message}`);
});
