"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 24;
const form = document.getElementById("filter");
const cards = document.getElementById("cards");
const told = document.getElementById("told");
const more = document.getElementById("more");
const benchmarks = [...new Set(data.rows.map(row => row.b))];
let chosen = [];
let shown = 0;

function make(tag, text, name) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
}

function options(select, names, all) {
  select.replaceChildren(new Option(all, ""), ...names.map(name => new Option(name, name)));
}

function verdict(answer) {
  const score = answer[2];
  return answer[3] || score === null ? "unscored" : score >= 1 ? "right" : score <= 0 ? "wrong" : "partly";
}

function fits(row, want) {
  if (want.benchmark && row.b !== want.benchmark) return false;
  if (want.part && !row.p.includes(want.part)) return false;
  const verdicts = row.a.map(verdict);
  if (want.show === "wrong" && !verdicts.some(own => own === "wrong" || own === "partly")) return false;
  if (want.show === "unscored" && !verdicts.includes("unscored")) return false;
  if (want.show === "disagree" && new Set(row.a.map(own => own[2]).filter(score => score !== null)).size < 2) return false;
  if (!want.words) return true;
  return [row.q, row.t, row.i, ...row.a.map(own => own[1] || "")].some(text => text.toLowerCase().includes(want.words));
}

function medium([kind, place]) {
  if (place < 0) return make("p", `(${kind}, not in this page)`, "soft");
  const [type, content] = data.media[place];
  const node = document.createElement(type.startsWith("audio") ? "audio" : "img");
  node.src = `data:${type};base64,${content}`;
  if (node.tagName === "AUDIO") node.controls = true;
  else node.alt = kind;
  return node;
}

function card(row) {
  const node = make("article", undefined, "card panel");
  node.append(...row.m.map(medium), make("p", row.q, "question"));
  if (row.t) {
    const truth = make("p", undefined, "truth");
    truth.append(make("span", "truth ", "soft"), make("bdi", row.t));
    node.append(truth);
  }
  for (const answer of row.a) {
    const name = verdict(answer);
    const said = make("div", undefined, `said ${name}`);
    said.append(make("span", name === "partly" ? answer[2].toFixed(2) : name, "verdict"));
    said.append(make("span", data.models[answer[0]], "soft"), make("p", answer[1] === null ? "(no answer)" : answer[1] || "(nothing)", "answer"));
    if (answer[3]) said.append(make("p", answer[3], "soft"));
    node.append(said);
  }
  node.append(make("p", [row.b, ...row.p, row.i].join(" · "), "soft"));
  return node;
}

function next() {
  cards.append(...chosen.slice(shown, shown + PAGE).map(card));
  shown = Math.min(shown + PAGE, chosen.length);
  more.hidden = shown >= chosen.length;
  more.textContent = `Show more (${(chosen.length - shown).toLocaleString("en")} left)`;
}

function choose() {
  const want = Object.fromEntries(new FormData(form));
  want.words = want.words.trim().toLowerCase();
  chosen = data.rows.filter(row => fits(row, want));
  told.textContent = `${chosen.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} samples`;
  cards.replaceChildren();
  shown = 0;
  next();
}

function parts() {
  const own = data.rows.filter(row => !form.benchmark.value || row.b === form.benchmark.value);
  options(form.part, [...new Set(own.flatMap(row => row.p))].sort(), "all categories");
}

options(form.benchmark, benchmarks, "all benchmarks");
parts();
form.benchmark.addEventListener("change", parts);
form.addEventListener("input", choose);
form.addEventListener("submit", event => event.preventDefault());
more.addEventListener("click", next);
choose();
