// The sentences of a translation: what is marked in them, and what is said of each.

import { $, make, marked } from "./views.js";
import { cut, placed } from "./words.js";

const HINT = $("sentence").textContent;
// From these estimates on, a sentence is shaded, and shaded more.
const DOUBTFUL = [0.5, 0.8];

const percent = (share) => `${Math.round(share * 100)} %`;
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const doubt = ({ needs_editing = 0 }) => DOUBTFUL.filter((least) => needs_editing >= least).length;
const lost = ({ terms = [] }) => terms.filter(([, target]) => !target);
const inSource = ({ source, terms = [] }) => cut(source, terms.map(([at]) => at));
const inTranslation = ({ translation, terms = [] }) => cut(translation, terms.flatMap(([, at]) => (at ? [at] : [])));

export const drawSource = (text, sentences) =>
  $("mirror").replaceChildren(...spans(text, sentences.map(inSource), (part, index, place) => {
    const [, target] = sentences[index].terms[place];
    return make("span", { className: target ? "term" : "lost" }, part);
  }), "\n");

export function drawTranslation({ text, alternatives, sentences }) {
  $("output").replaceChildren(...spans(text, sentences.map(inTranslation), (part) => make("span", { className: "term" }, part)));
  $("sentence").textContent = HINT;
  [...$("output").children].forEach((span, at) => {
    span.tabIndex = at ? -1 : 0;
    span.setAttribute("aria-describedby", "sentence");
    if (!doubt(sentences[span.dataset.index])) return;
    span.dataset.doubt = doubt(sentences[span.dataset.index]);
    span.setAttribute("role", "mark");
  });
  const others = alternatives.map((other) => make("li", {}, ...marked(text, other)[1]));
  $("more").replaceChildren(...(others.length ? [make("h3", {}, "Alternatives"), make("ol", {}, ...others)] : []));
  drawLegend(sentences);
}

// Only of what is marked.
function drawLegend(sentences) {
  const terms = sentences.flatMap(({ terms = [] }) => terms);
  const shown = [
    [terms.some(([, target]) => target), { className: "term" }, "term of the glossary"],
    [terms.some(([, target]) => !target), { className: "lost" }, "term that the translation lacks"],
    [sentences.some(doubt), { className: "doubtful" }, "probably needs editing"],
  ];
  const parts = shown.flatMap(([there, kind, words]) => (there ? [make("span", kind, words)] : []));
  $("legend").replaceChildren(...parts);
  $("legend").hidden = !parts.length;
}

export function drawSentence(sentence) {
  const { source, log_probability, needs_editing, terms = [], corrected } = sentence;
  const said = [];
  const pieces = inSource(sentence), letters = [...sentence.translation];
  const pairs = terms.map(([, at], place) => `${pieces[2 * place + 1]} → ${at ? letters.slice(...at).join("") : "not in the translation"}`);
  if (pairs.length) said.push(`Terms: ${pairs.join("; ")}.`);
  if (corrected) said.push(`Corrected by you: ${corrected}`);
  else {
    if (needs_editing !== undefined) said.push(`Needs editing: ${percent(needs_editing)} likely, by an estimate${doubt(sentence) ? ". Doubtful." : "."}`);
    const number = log_probability?.toFixed(2).replace("-", "−");
    if (number) said.push(`Log-probability ${number} per token: how likely the model held its own words, not how good they are.`);
  }
  $("sentence").replaceChildren(make("q", {}, source), ...said.map((line) => make("span", {}, line)));
}

// What is marked, in words.
export function summary({ sentences }) {
  const doubtful = sentences.filter(doubt).length, lacking = sentences.flatMap(lost).length;
  const terms = sentences.flatMap(({ terms = [] }) => terms).length;
  return (doubtful ? ` ${doubtful} of ${count(sentences.length, "sentence")} probably need${doubtful === 1 ? "s" : ""} editing.` : "")
    + (terms ? ` ${count(terms, "term")} of the glossary${lacking ? `, ${lacking} not in the translation` : ""}.` : "");
}

// The text, which has no tags, with another translation of a sentence.
export function replaced({ text, sentences }, index, translation) {
  const parts = placed(text, sentences.map((sentence) => sentence.translation));
  return parts.map((part) => (part.index === index ? translation : part.text)).join("");
}

// `pieces`: of each sentence, every second of which `drawn` makes something of.
function spans(text, pieces, drawn) {
  const isMarkup = $("format").value === "html";
  return placed(text, pieces.map((parts) => parts.join("")), isMarkup).map(({ text, index }) => {
    if (index === undefined) return text;
    const span = make("span", { className: "sentence" });
    span.dataset.index = index;
    span.append(...placed(text, pieces[index], isMarkup).map((part) =>
      part.index % 2 ? drawn(part.text, index, (part.index - 1) / 2) : part.text));
    return span;
  });
}
