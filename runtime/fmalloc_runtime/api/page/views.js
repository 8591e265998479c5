// Drawing answers. What comes from server or user becomes text nodes, never markup.

import { differences } from "./words.js";

export const $ = (id) => document.getElementById(id);

export const make = (name, properties, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
export const on = (id, handlers) => Object.entries(handlers).forEach((pair) => $(id).addEventListener(...pair));

export function say(message, tone = "") {
  $("status").textContent = message;
  $("status").className = tone;
}

const two = (number) => number.toFixed(2).replace("-", "−");

export function languageName(code) {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(code);
  } catch {
    return code;
  }
}

export const drawDomains = (type, names, chosen) =>
  $("chips").replaceChildren(...names.map((value) => make("label", { className: "chip" },
    make("input", { type, name: "domain", value, checked: chosen.includes(value) }), make("span", {}, value))));

// `chosen`: the domain that was taken; none where several are compared.
export function drawRoute({ scores, reason }, threshold, chosen) {
  const ranked = Object.entries(scores).sort((left, right) => right[1] - left[1]);
  const first = chosen || ranked[0][0];
  $("route-title").textContent = `${chosen ? "Domain" : "Closest domain"}: ${first}`;
  $("reason").textContent = (chosen ? `Reason: ${reason}. ` : "") + `Auto takes a domain whose score reaches ${two(threshold)}, the mark.`;
  $("scores").replaceChildren(...ranked.map(([name, score]) => {
    const bar = make("span", { className: "bar" }, make("i"));
    bar.style.cssText = `--score: ${score}; --threshold: ${threshold}`;
    return make("li", { className: name === first ? "first" : "" }, make("span", {}, name), bar, make("b", {}, two(score)));
  }));
  $("route").hidden = false;
}

const card = (name, note, ...children) =>
  make("article", { className: "card" }, make("h3", {}, name, make("small", {}, note)), ...children);

export function drawComparison([reference, ...others]) {
  const column = (name, note, parts) => card(name, note, make("p", { className: "result", dir: "auto" }, ...parts));
  const { name } = reference.domain;
  $("reference").textContent = `Marked is what differs from ${name}.`;
  $("columns").replaceChildren(column(name, "reference", [reference.text]),
    ...others.map(({ domain, text }) => column(domain.name, ...marked(reference.text, text))));
  $("comparison").hidden = false;
}

export function drawBundles(domains) {
  $("bundles").replaceChildren(...domains.map((domain) => {
    const { bleu_before, bleu_after } = domain.quality || {};
    const facts = {
      Hash: make("code", {}, domain.bundle.split("@")[1]),
      Level: domain.level,
      Engine: domain.engine,
      Weights: domain.quantization,
      Size: `${(domain.size_bytes / 1e6).toFixed(1)} MB`,
      BLEU: domain.quality ? `${bleu_before.toFixed(1)} → ${bleu_after.toFixed(1)}` : "not measured",
    };
    const rows = Object.entries(facts).map(([name, fact]) => make("div", {}, make("dt", {}, name), make("dd", {}, fact)));
    const note = (domain.default ? "default, " : "") + (domain.loaded ? "loaded" : "not loaded");
    return card(domain.name, note, make("dl", {}, ...rows));
  }));
}

export function marked(reference, text) {
  const parts = differences(reference, text);
  const count = parts.filter((part) => part.differs).length;
  const note = count ? `${count} difference${count > 1 ? "s" : ""}` : "the same";
  return [note, parts.map((part) => (part.differs ? make("mark", {}, part.text) : part.text))];
}
