// What is chosen, when the server is asked, and what is shown of its answer.

import { translateFiles } from "./files.js";
import { glossary, readGlossaries } from "./glossary.js";
import * as output from "./output.js";
import { drawSource, summary } from "./sentences.js";
import { Refusal, ask, useKey } from "./server.js";
import * as views from "./views.js";

const { $, on, say } = views;

let served = null; // the answer of /v1/domains
let chosen = "auto";
let compared = null; // names of domains, while some are compared
let shown = null; // the translation on the page
let request = new AbortController(); // of the answer that is awaited
let timer = 0;

const text = () => $("source").value;
// Milliseconds after the last key; a long text that is translated in vain costs more.
const pause = () => 400 + text().length / 10;
const names = () => served.domains.map((domain) => domain.name);

async function readDomains() {
  served = await ask("v1/domains");
  const codes = [served.languages.source, served.languages.target].map((code) => code.replace("_", "-"));
  const [source, target] = codes.map(views.languageName);
  $("source-label").textContent = source;
  $("target-label").textContent = target;
  $("source").lang = $("corrected-source").lang = codes[0];
  $("output").lang = $("columns").lang = $("corrected").lang = codes[1];
  $("compare").hidden = served.domains.length < 2;
  const { documents } = served.features;
  $("file-kinds").textContent = documents && `Domain and glossary are those chosen above. Formats: ${documents.suffixes.join(" ")}`;
  views.drawBundles(served.domains);
}

// The domain is in the address, so that it can be linked to; text never is.
function readAddress() {
  const domain = location.hash.replace("#domain=", "");
  if (names().includes(domain)) chosen = domain;
}

function drawChoice() {
  if (compared) views.drawDomains("checkbox", names(), compared);
  else views.drawDomains("radio", ["auto", ...names()], [chosen]);
  $("compare").setAttribute("aria-pressed", !!compared);
  $("single").hidden = $("wish").hidden = !!compared;
  $("files").hidden = !!compared || !served.features.documents;
  $("comparison").hidden = true;
}

function choose({ target }) {
  if (compared) compared = names().filter((name) => (name === target.value ? target.checked : compared.includes(name)));
  else {
    chosen = target.value;
    history.replaceState(null, "", chosen === "auto" ? location.pathname : `#domain=${chosen}`);
  }
  translate();
}

function toggleComparison() {
  const likely = [reference(names()), ...(shown ? [shown.domain.name] : []), ...names()];
  compared = compared ? null : [...new Set(likely)].slice(0, 3);
  drawChoice();
  translate();
}

const reference = (among) => served.domains.find((domain) => domain.default && among.includes(domain.name))?.name || among[0];

function typed() {
  stop();
  drawSource(text(), []);
  if (!text().trim()) return clear();
  if ($("live").checked) timer = setTimeout(translate, pause());
}

function stop() {
  clearTimeout(timer);
  request.abort();
  $("form").ariaBusy = false;
  say("");
}

async function translate() {
  stop();
  const { signal } = (request = new AbortController());
  $("form").ariaBusy = true;
  try {
    if (!served) await begin();
    if (!text().trim()) clear();
    else await (compared ? compare(signal) : translateOne(signal));
    $("key-form").hidden = true;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (!signal.aborted) refuse(error);
  }
  if (!signal.aborted) $("form").ariaBusy = false;
}

async function begin() {
  await readDomains();
  readAddress();
  drawChoice();
  await readGlossaries(served);
}

async function asked(domain, signal, alternatives) {
  const answer = await ask("v1/translate", { text: text(), domain, format: $("format").value, alternatives, glossary_id: glossary() }, signal);
  return { ...answer.translations[0], domain: answer.domain };
}

async function translateOne(signal) {
  shown = await asked(chosen, signal, Number($("alternatives").value));
  const { name, bundle } = shown.domain;
  output.show(shown, served.features.corrections);
  views.drawRoute(shown.domain, served.threshold, name);
  $("badge").textContent = name;
  $("badge").hidden = false;
  say(`Translated by ${bundle}.${summary(shown)}`);
  await refresh([shown.domain]);
}

async function compare(signal) {
  $("comparison").hidden = compared.length < 2;
  if (compared.length < 2) return say("Choose two or more.");
  const order = new Set([reference(compared), ...compared]);
  const found = await Promise.all([...order].map((name) => asked(name, signal)));
  views.drawComparison(found);
  views.drawRoute(found[0].domain, served.threshold);
  say(`${found.length} domains compared.`);
  await refresh(found.map((one) => one.domain));
}

// Show bundles that were swapped or loaded meanwhile.
async function refresh(routes) {
  const known = (route) => served.domains.some((domain) => domain.bundle === route.bundle && domain.loaded);
  if (!routes.every(known)) await readDomains().catch(() => {});
}

function clear() {
  shown = null;
  output.clear();
  $("badge").hidden = $("route").hidden = $("comparison").hidden = true;
}

function refuse({ status, message }) {
  if (status === 403) {
    $("key-text").textContent = `${message} The key stays in this tab, until you close it.`;
    $("key-form").hidden = false;
    if (document.activeElement !== $("source")) $("key").focus();
    return;
  }
  say(message, "wrong");
}

function enterKey(event) {
  event.preventDefault();
  useKey($("key").value.trim());
  served = null;
  $("key").value = "";
  $("source").focus();
  translate();
}

const take = (files) => translateFiles(files, { domain: chosen, glossary: glossary() }, served);

function drag(event) {
  if ($("files").hidden || !event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  $("files").classList.toggle("dragged", event.type === "dragover");
  if (event.type === "drop") take(event.dataTransfer.files);
}

on("form", { submit: (event) => (event.preventDefault(), translate()) });
on("key-form", { submit: enterKey });
on("chips", { change: choose });
on("compare", { click: toggleComparison });
on("format", { change: translate });
on("alternatives", { change: translate });
on("glossary", { change: translate });
on("file", { change: ({ target }) => (take(target.files), (target.value = "")) });
on("source", { input: typed });
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.preventDefault(), translate();
});
for (const kind of ["dragover", "dragleave", "drop"]) addEventListener(kind, drag);
translate();
