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
  if (one.parked) cell.append(el("div", { class: "bad" }, `parked: ${one.parked}`));
  return cell;
}

function versions(one) {
  if (!one.split) return el("code", { title: one.sha }, one.sha.slice(0, 8));
  const shares = one.split.shares.map((share) =>
    el("div", { title: share.sha }, `${share.percent} % `, el("code", {}, share.sha.slice(0, 8))),
  );
  return el("td", { title: `by the ${one.split.sticky}` }, ...shares);
}

function deployments(list) {
  const rows = list.map((one) =>
    row(
      el("strong", {}, one.name),
      stage(one),
      one.serving ? el("a", { href: one.url }, one.url) : el("span", { class: "soft" }, one.url),
      versions(one),
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

function decisions(list) {
  const rows = list.map((one) =>
    row(el("td", { title: one.at }, ago(one.at)), el("strong", {}, one.name), el("code", { title: one.sha }, one.sha.slice(0, 8)), one.why),
  );
  return table(["decided", "deployment", "SHA", "why"], rows, "Nothing was decided yet.");
}

function runners(list) {
  const number = (value) => el("td", { class: value === undefined || value === null ? "number soft" : "number" }, String(value ?? "unknown"));
  const rows = list.map((one) => {
    const known = one.figures ?? {};
    const hosts = known.hosts ? Object.values(known.hosts).reduce((sum, count) => sum + count, 0) : null;
    return row(
      el("code", {}, one.id),
      one.info.hostname ?? "",
      String(one.info.pid ?? ""),
      number(known["cores-used"]?.toFixed(1)),
      number(hosts),
      number(known["in-flight"]),
      number(one.bundles.filter((bundle) => bundle.stage !== "failed").length),
      el("td", { title: one.seen }, ago(one.seen)),
    );
  });
  const heads = ["id", "machine", "process", "cores used", "hosts", "in flight", "Funcs", "heard of"];
  return table(heads, rows, "No Runner is connected: deployments wait for one.");
}

function trons(list) {
  const rows = list.map((one) =>
    row(
      el("code", {}, one.id.slice(0, 8)),
      one.leads ? el("span", { class: "good" }, `leads, epoch ${one.epoch}`) : "follows",
      one.url ? el("a", { href: one.url }, one.url) : "",
      el("td", { class: "number" }, String(one.dispatched)),
      el("td", { title: one.seen }, ago(one.seen)),
    ),
  );
  return table(["id", "state", "URL", "dispatched", "heard of"], rows, "");
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
    const paths = ["status", "deployments", "decisions?limit=10", "runners", "trons"];
    const [status, deployed, decided, running, dispatching] = await Promise.all(paths.map((path) => get(`/api/v2/${path}`)));
    document.getElementById("login").hidden = true;
    state(status);
    show("deployments", deployments(deployed.deployments));
    show("queues", queues(status.queues));
    show("decisions", decisions(decided.decisions));
    show("runners", runners(running.runners));
    show("trons", trons(dispatching.trons));
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
