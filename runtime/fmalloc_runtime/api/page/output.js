// The translation on the page: looked at sentence by sentence, corrected, copied.

import * as correction from "./correction.js";
import * as sentences from "./sentences.js";
import { Refusal } from "./server.js";
import { $, on, say } from "./views.js";

let shown = null; // the translation
let looked = null; // the sentence that was looked at last, by its number

// `corrects`: whether the server takes corrections.
export function show(translation, corrects) {
  shown = translation;
  draw();
  $("copy").hidden = false;
  $("correct").hidden = !corrects || !$("output").children.length;
}

export function clear() {
  shown = looked = null;
  correction.close();
  sentences.drawTranslation({ text: "", alternatives: [], sentences: [] });
  $("copy").hidden = $("correct").hidden = true;
}

function draw() {
  looked = null;
  correction.close();
  sentences.drawSource($("source").value, shown.sentences);
  sentences.drawTranslation(shown);
}

function highlight(index) {
  for (const span of document.querySelectorAll(".sentence")) span.classList.toggle("on", span.dataset.index === index);
  if (index ?? looked) sentences.drawSentence(shown.sentences[index ?? looked]);
}

// The text area lies over its mirror.
const sentenceUnder = (event) =>
  document.elementsFromPoint(event.clientX, event.clientY).find((found) => found.matches(".sentence"))?.dataset.index;

function look({ target }) {
  looked = target.dataset.index;
  for (const span of $("output").children) span.tabIndex = span === target ? 0 : -1;
  highlight(looked);
  if (correction.isEditing()) correction.edit(shown.sentences[looked]);
}

// The sentence that Tab stops at.
const stop = () => $("output").querySelector("[tabindex='0']");

function press(event) {
  if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && !$("correct").hidden) {
    event.preventDefault();
    return startCorrection();
  }
  const all = [...$("output").children];
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const next = all[all.indexOf(document.activeElement) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

function startCorrection() {
  looked = stop().dataset.index;
  highlight(looked);
  correction.edit(shown.sentences[looked]);
  $("corrected").focus();
}

function stopCorrection() {
  correction.close();
  stop().focus();
}

async function sendCorrection() {
  $("send").disabled = true;
  try {
    const { said, before, after } = await correction.send(shown.domain.name);
    const index = shown ? shown.sentences.indexOf(before) : -1;
    if (after && index >= 0) take(index, after);
    say(said, after ? "" : "wrong");
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(error.message, "wrong");
  } finally {
    $("send").disabled = false;
  }
}

// HTML stays as it is: a correction has no tags.
function take(index, sentence) {
  if ($("format").value !== "html") {
    shown.text = sentences.replaced(shown, index, sentence.corrected);
    sentence.translation = sentence.corrected;
  }
  shown.sentences[index] = sentence;
  draw();
  ($("output").querySelector(`[data-index='${index}']`) || stop() || $("source")).focus();
}

async function copy() {
  try {
    await navigator.clipboard.writeText(shown.text);
  } catch {
    // Browsers keep the clipboard from pages that come without TLS, but let them copy what is selected.
    getSelection().selectAllChildren($("output"));
    if (!document.execCommand("copy")) return say("The translation is selected: press Ctrl + C.");
  }
  say("Copied.");
}

function pressInCorrection(event) {
  if (event.key === "Escape") return stopCorrection();
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  event.stopPropagation();
  if (!$("send").disabled) sendCorrection();
}

const pointing = { pointermove: (event) => highlight(sentenceUnder(event)), pointerleave: () => highlight() };
on("source", pointing);
on("output", { keydown: press, focusin: look, focusout: () => highlight(), ...pointing });
on("copy", { click: copy });
on("correct", { click: startCorrection });
on("correction", { keydown: pressInCorrection });
on("send", { click: sendCorrection });
on("cancel", { click: stopCorrection });
