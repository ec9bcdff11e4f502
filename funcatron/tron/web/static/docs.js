"use strict";

let spec;

function resolve(value) {
  while (value && value.$ref) value = value.$ref.slice(2).split("/").reduce((at, key) => at[key], spec);
  return value;
}

// A schema as people read it: names, types, what is optional (?), and what it means.
function shape(schema, indent = "", depth = 0) {
  const name = schema.$ref?.split("/").pop();
  const found = resolve(schema);
  if (depth > 3) return name ?? "…";
  if (found.allOf) return found.allOf.map((part) => shape(part, indent, depth)).join(" and ");
  if (found.oneOf) return found.oneOf.map((part) => shape(part, indent, depth)).join(" | ");
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.type === "array") return `[${shape(found.items ?? {}, indent, depth + 1)}]`;
  if (found.properties) {
    const inner = `${indent}  `;
    const lines = Object.entries(found.properties).map(([key, part]) => {
      const optional = found.required?.includes(key) ? "" : "?";
      const about = resolve(part).description;
      return `${inner}${key}${optional}: ${shape(part, inner, depth + 1)}${about ? `   # ${about}` : ""}`;
    });
    return `{\n${lines.join("\n")}\n${indent}}`;
  }
  return [found.type ?? "any"].flat().join(" | ") + (found.format ? ` (${found.format})` : "");
}

function curl(path, verb, operation) {
  const body = resolve(operation.requestBody)?.content;
  const type = body && Object.keys(body)[0];
  const parts = ["curl"];
  if (verb !== "get") parts.push(`-X ${verb.toUpperCase()}`);
  if (type === "application/json") parts.push("-H 'Content-Type: application/json' -d '{…}'");
  else if (type) parts.push("--data-binary @BUNDLE");
  return [...parts, location.origin + path].join(" ");
}

function parameters(list) {
  if (list.length === 0) return null;
  const rows = list.map(resolve).map((one) =>
    el("tr", {},
      el("td", {}, el("code", {}, one.name)),
      el("td", {}, `${one.in}${one.required ? "" : ", optional"}`),
      el("td", {}, one.description ?? ""),
    ),
  );
  return el("table", {}, el("tbody", {}, ...rows));
}

function bodies(title, content) {
  if (!content) return null;
  const parts = Object.entries(content).map(([type, one]) => el("pre", {}, `${type}\n${one.schema ? shape(one.schema) : ""}`));
  return el("div", {}, el("h3", {}, title), ...parts);
}

function operation(path, verb, one, shared) {
  const answers = Object.entries(one.responses).map(([status, answer]) => {
    const found = resolve(answer);
    return bodies(`${status}: ${found.description}`, found.content) ?? null;
  });
  return el("details", { id: one.operationId },
    el("summary", {}, el("span", { class: "verb" }, verb.toUpperCase()), el("code", {}, path), el("span", { class: "soft" }, one.summary)),
    one.description ? el("p", {}, one.description) : null,
    el("pre", {}, curl(path, verb, one)),
    parameters([...shared, ...(one.parameters ?? [])]),
    bodies("Body", resolve(one.requestBody)?.content),
    ...answers,
  );
}

function page() {
  const sections = spec.tags.map((tag) => {
    const found = Object.entries(spec.paths).flatMap(([path, item]) =>
      Object.entries(item)
        .filter(([verb, one]) => verb !== "parameters" && one.tags.includes(tag.name))
        .map(([verb, one]) => operation(path, verb, one, item.parameters ?? [])),
    );
    return el("section", {}, el("h2", {}, tag.name), el("p", { class: "soft" }, tag.description), ...found);
  });
  const about = spec.info.description.split("\n\n").map((text) => el("p", {}, text.replaceAll("`", "")));
  return [...about, ...sections];
}

fetch("/api/openapi.json")
  .then((response) => response.json())
  .then((found) => {
    spec = found;
    document.getElementById("docs").replaceChildren(...page());
    document.getElementById(location.hash.slice(1))?.setAttribute("open", "");
  })
  .catch((error) => {
    document.getElementById("docs").replaceChildren(el("p", { class: "bad" }, `The document cannot be shown: ${error.message}`));
  });
