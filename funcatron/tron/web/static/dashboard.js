"use strict";

const EVERY = 2000; // ms between two looks

function token() {
  return sessionStorage.getItem("token");
}

async function get(path) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  const response = await fetch(path, { headers, signal: AbortSignal.timeout(10000) });
  if (response.status === 401) throw new Refused();
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

class Refused extends Error {}

function show(id, content) {
  document.getElementById(id).replaceChildren(content);
}

function table(heads, rows, empty) {
  if (rows.length === 0) return el("p", { class: "empty" }, empty);
  const head = el("tr", {}, ...heads.map((name) => el("th", { scope: "col" }, name)));
  return el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows));
}

function row(...cells) {
  return el("tr", {}, ...cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : el("td", {}, cell ?? ""))));
}

const TONE = { routed: "good", failed: "bad", disabled: "soft", draining: "warn" };

function stage(one) {
  const cell = el("td", {}, el("span", { class: TONE[one.stage] ?? "warn" }, one.stage));
  if (one.error) cell.append(el("div", { class: "bad" }, one.error));
  return cell;
}

function deployments(list) {
  const rows = list.map((one) =>
    row(
      el("strong", {}, one.name),
      stage(one),
      one.serving ? el("a", { href: one.url }, one.url) : el("span", { class: "soft" }, one.url),
      el("code", { title: one.sha }, one.sha.slice(0, 8)),
      [one.title, one.version].filter(Boolean).join(" "),
      el("td", { class: "number" }, String(one.operations.length)),
      el("td", { class: "number" }, String(one.runners.filter((runner) => runner.stage !== "failed").length)),
      el("td", { title: one.updated }, ago(one.updated)),
    ),
  );
  const heads = ["name", "stage", "URL", "SHA", "spec", "operations", "Runners", "changed"];
  return table(heads, rows, "Nothing is deployed yet: funcatron deploy BUNDLE");
}

function queues(list) {
  const number = (value, why) =>
    value === null ? el("td", { class: "number soft", title: why }, "unknown") : el("td", { class: "number" }, String(value));
  const rows = list.map((one) => row(el("code", {}, one.name), number(one.ready, one.unknown), number(one.unacked, one.unknown)));
  return table(["queue", "ready", "in work"], rows, "");
}

function peers(list, empty) {
  const rows = list.map((one) =>
    row(el("code", {}, one.id), one.info.hostname ?? "", String(one.info.pid ?? ""), el("td", { title: one.seen }, ago(one.seen))),
  );
  return table(["id", "machine", "process", "heard of"], rows, empty);
}

function facts(status) {
  const pairs = {
    version: status.tron.version,
    id: status.tron.id,
    started: `${status.tron.started} (${ago(status.tron.started)})`,
    memory: status.tron["rss-bytes"] ? `${Math.round(status.tron["rss-bytes"] / 1048576)} MB` : "unknown",
    "route table": `version ${status.routes.version}, ${status.routes.count} routes`,
    messages: Object.entries(status.counters).map(([name, count]) => `${name} ${count}`).join(", "),
    StatsD: status.statsd ? `${status.statsd.host}:${status.statsd.port}` : "off",
  };
  return el("dl", {}, ...Object.entries(pairs).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function state(status) {
  const element = document.getElementById("state");
  const broker = status.broker;
  const bad = !broker.connected || broker.blocked || !status.tron.ready;
  element.className = bad ? "state bad" : "state good";
  if (!broker.connected) element.textContent = "the broker is away";
  else if (broker.blocked) element.textContent = `the broker takes no messages: ${broker.blocked}`;
  else element.textContent = status.tron.ready ? "dispatching" : "starting";
}

async function look() {
  try {
    const [status, deployed] = await Promise.all([get("/api/v2/status"), get("/api/v2/deployments")]);
    document.getElementById("login").hidden = true;
    state(status);
    show("deployments", deployments(deployed.deployments));
    show("queues", queues(status.queues));
    show("runners", peers(status.runners, "No Runner is connected: deployments wait for one."));
    show("frontends", peers(status.frontends, "No Frontend is connected."));
    show("tron", facts(status));
  } catch (error) {
    const element = document.getElementById("state");
    element.className = "state bad";
    if (error instanceof Refused) {
      element.textContent = "a token is needed";
      document.getElementById("refused").textContent = token() ? "This token is wrong." : "";
      document.getElementById("login").hidden = false;
      sessionStorage.removeItem("token");
      return; // until there is a token
    }
    element.textContent = `the Tron does not answer (${error.message})`;
  }
  setTimeout(look, EVERY);
}

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", document.getElementById("token").value);
  look();
});
look();
