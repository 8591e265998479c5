"use strict";

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function resolve(description, schema) {
  const name = schema.$ref?.split("/").pop();
  return name ? description.components.schemas[name] : schema;
}

// Text in which `names` stand between backquotes.
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

function joined(parts, separator) {
  return parts.flatMap((part, index) => (index ? [separator, ...part] : part));
}

// A schema's type in short, as nodes: what is named is a link to its description.
function typeOf(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [element("a", { href: `#schema-${name}` }, name)];
  }
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" | ")];
  const choices = (schema.anyOf ?? schema.oneOf)?.filter((choice) => choice.type !== "null");
  if (choices) return joined(choices.map(typeOf), " | ");
  if (schema.type === "array") return schema.items ? ["[", ...typeOf(schema.items), "]"] : ["[…]"];
  if (schema.type === "object" && schema.additionalProperties) {
    return ["{name: ", ...typeOf(schema.additionalProperties), "}"];
  }
  const limits = [];
  if (schema.minimum !== undefined) limits.push(`≥ ${schema.minimum}`);
  if (schema.maximum !== undefined) limits.push(`≤ ${schema.maximum}`);
  if (schema.maxLength !== undefined) limits.push(`≤ ${schema.maxLength} characters`);
  const type = schema.type ?? "any";
  return [limits.length ? `${type} (${limits.join(", ")})` : type];
}

function fieldTable(caption, rows) {
  const head = element("tr", {});
  for (const title of ["Name", "Type", "Meaning"]) head.append(element("th", { scope: "col" }, title));
  const body = element("tbody", {});
  for (const { name, required, schema } of rows) {
    const label = element("th", { scope: "row" }, element("code", {}, name), required ? " (needed)" : "");
    const type = element("td", {}, element("code", {}, ...typeOf(schema)));
    body.append(element("tr", {}, label, type, element("td", {}, ...prose(schema.description ?? ""))));
  }
  return element("table", {}, element("caption", {}, caption), element("thead", {}, head), body);
}

function fieldsOf(schema, marked) {
  const required = marked ? (schema.required ?? []) : [];
  return Object.entries(schema.properties ?? {}).map(
    ([name, field]) => ({ name, required: required.includes(name), schema: field }));
}

function drawOperation(description, path, method, operation) {
  const body = element("div", {});
  if (operation.parameters?.length) body.append(fieldTable("Parameters", operation.parameters));
  if (operation.requestBody) {
    const kinds = Object.keys(operation.requestBody.content);
    const schema = resolve(description, operation.requestBody.content[kinds[0]].schema);
    body.append(element("h3", {}, "Request"), element("p", { class: "quiet" }, ...prose(schema.description ?? "")));
    body.append(fieldTable(kinds.join(", "), fieldsOf(schema, true)));
  }
  const list = element("ul", {});
  for (const [status, answer] of Object.entries(operation.responses)) {
    const [kind, content] = Object.entries(answer.content ?? {})[0] ?? ["no content"];
    const type = content?.schema?.$ref ? typeOf(content.schema) : [kind];
    list.append(element("li", {}, `${status}: ${answer.description} `, element("code", {}, ...type)));
  }
  body.append(element("h3", {}, "Answers"), list);
  const summary = element("summary", {},
    element("code", { class: "method" }, method.toUpperCase()), element("code", {}, path), ` ${operation.summary}`);
  return element("details", { id: operation.operationId }, summary, body);
}

function drawSchema(name, schema) {
  const rows = fieldsOf(schema, false);
  const body = element("div", {}, element("p", { class: "quiet" }, ...prose(schema.description ?? "")));
  if (rows.length) body.append(fieldTable("Fields", rows));
  else body.append(element("p", {}, element("code", {}, ...typeOf(schema))));
  return element("details", { id: `schema-${name}` }, element("summary", {}, element("code", {}, name)), body);
}

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.querySelector("summary").focus();
  }
}

function draw(description) {
  const main = document.getElementById("operations");
  const contents = document.getElementById("contents");
  document.getElementById("introduction").prepend(`${description.info.description} `);
  main.replaceChildren();
  description.tags.forEach(({ name }, index) => {
    const id = `protocol-${index}`;
    contents.append(element("li", {}, element("a", { href: `#${id}` }, name)));
    const section = element("section", { "aria-labelledby": id }, element("h2", { id }, name));
    for (const [path, methods] of Object.entries(description.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags.includes(name)) section.append(drawOperation(description, path, method, operation));
      }
    }
    main.append(section);
  });
  const section = element("section", { "aria-labelledby": "schemas" }, element("h2", { id: "schemas" }, "Schemas"));
  for (const [name, schema] of Object.entries(description.components.schemas)) section.append(drawSchema(name, schema));
  main.append(section);
  contents.append(element("li", {}, element("a", { href: "#schemas" }, "Schemas")));
  addEventListener("hashchange", openTarget);
  openTarget();
}

async function start() {
  try {
    const response = await fetch("openapi.json");
    if (!response.ok) throw new Error(`status ${response.status}`);
    draw(await response.json());
  } catch (error) {
    document.getElementById("state").textContent = `openapi.json could not be read: ${error.message}`;
  }
}

start();
