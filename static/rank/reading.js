// Reading: covers, folds, the question in sight, both sides together, what differs, as written.

import { $, $$, card, form, isCovered, isPair, letters, phrase, say, upper } from "./form.js";
import { differing } from "./differences.js";

const FOLD_PX = 460;
const PINNED_CHARS = 240;
let watcher = null;

export function beginReading() {
  if (watcher) watcher.disconnect();
  marked = [];
  compared = [];
  if (!form()) return;
  watcher = new IntersectionObserver(noticeEnds, { rootMargin: "0px 0px -80px 0px" });
  for (const letter of letters()) {
    const text = textOf(letter);
    const end = document.createElement("span");
    end.className = "end";
    text.append(end);
    watcher.observe(end);
  }
  fold();
  pin();
}

const textOf = (letter) => $(".response-text", card(letter));

// ---- Covers and folds ---------------------------------------------------------------------------

export function reveal(letter) {
  const cover = $(".cover:not([open])");
  if (cover) {
    cover.open = true;
    say(phrase("uncovered"));
    return true;
  }
  const folded = letter && card(letter).classList.contains("folded");
  if (folded) unfold(card(letter));
  return Boolean(folded);
}

export function unfold(one) {
  one.classList.remove("folded");
  $(".unfold", one).hidden = true;
}

// A text is folded when it is much longer than the fold; nothing covered can be measured.
function fold() {
  if (isCovered()) {
    $(".cover").addEventListener("toggle", fold, { once: true });
    return;
  }
  // What scrolls sideways within its frame can be reached by keys.
  for (const table of $$("#ranking .prose table")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
  }
  for (const one of $$(".response.long:not(.folded)")) {
    if ($(".response-text", one).scrollHeight < FOLD_PX * 1.4) continue;
    one.classList.add("folded");
    $(".unfold", one).hidden = false;
  }
}

// ---- The end was in sight -----------------------------------------------------------------------

function noticeEnds(entries) {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    const one = entry.target.closest(".response");
    one.classList.add("read");
    if (one.classList.contains("long")) $(".seen", one).hidden = false;
    watcher.unobserve(entry.target);
  }
}

export function unreadHint() {
  const unread = letters().filter((letter) => !card(letter).classList.contains("read"));
  return unread.length ? phrase("unread", { letters: upper(unread) }) : "";
}

// ---- The question stays in sight -----------------------------------------------------------------

function pin() {
  const pinned = $(".pinned");
  const asked = $(".conversation > .turn:last-of-type");
  const prose = $(".prose", asked);
  $(".pinned-line").textContent = prose.textContent.trim().slice(0, PINNED_CHARS);
  $(".pinned-text").replaceChildren(...Array.from(prose.childNodes, (node) => node.cloneNode(true)));
  const above = new IntersectionObserver(([entry]) => {
    if (!document.contains(asked)) return above.disconnect();
    pinned.hidden = entry.isIntersecting || entry.boundingClientRect.top > 0;
    if (pinned.hidden) $("details", pinned).open = false;
  });
  above.observe(asked);
}

// ---- Both sides together -------------------------------------------------------------------------

export function toggleSync(button) {
  if (!isPair()) return;
  const on = $(".responses").classList.toggle("panes");
  for (const letter of letters()) {
    unfold(card(letter));
    const text = textOf(letter);
    if (on) text.tabIndex = 0;
    else text.removeAttribute("tabindex");
    text.setAttribute("aria-labelledby", `name-${letter}`);
  }
  press(button, on);
  say(phrase(on ? "together" : "apart"));
}

document.addEventListener(
  "scroll",
  (event) => {
    const pane = event.target;
    if (!(pane instanceof Element) || !pane.matches(".panes .response-text")) return;
    for (const other of $$(".panes .response-text")) {
      if (other === pane) continue;
      const reach = pane.scrollHeight - pane.clientHeight;
      const share = reach ? pane.scrollTop / reach : 0;
      const top = share * (other.scrollHeight - other.clientHeight);
      if (Math.abs(other.scrollTop - top) > 2) other.scrollTop = top;
    }
  },
  true, // scrolling does not bubble
);

// ---- What differs ---------------------------------------------------------------------------------

let compared = []; // the letters chosen for comparison
let marked = [];

export function toggleDifferences(button, letter) {
  if (marked.length) {
    unmark();
    compared = [];
    press(button, false);
    return say(phrase("plain"));
  }
  if (isPair()) compared = letters();
  else {
    const one = letter || letters().find((other) => !compared.includes(other));
    if (!compared.includes(one)) compared.push(one);
    if (compared.length < 2) return say(phrase("compareWith", { letter: one.toUpperCase() }), true);
  }
  press(button, true);
  for (const one of compared) unfold(card(one));
  const [first, second] = compared.map(textOf);
  const names = { letters: upper(compared) };
  const found = differing(first, second);
  if (found === null) {
    say(phrase("tooDifferent", names));
    return;
  }
  for (const range of found.first) wrap(range, "del");
  for (const range of found.second) wrap(range, "ins");
  const n = found.first.length + found.second.length;
  say(n ? phrase("differences", { ...names, n }) : phrase("same", names));
}

function wrap(range, tag) {
  const mark = document.createElement(tag);
  range.surroundContents(mark);
  marked.push(mark);
}

function unmark() {
  const texts = new Set(marked.map((mark) => mark.closest(".response-text")));
  for (const mark of marked) mark.replaceWith(...mark.childNodes);
  for (const text of texts) text.normalize();
  marked = [];
}

// ---- As written ------------------------------------------------------------------------------------

export function toggleRaw(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  for (const one of $$(".response:has(.raw)")) {
    one.classList.toggle("shows-raw", on);
    $(".raw", one).open = on;
    if (on) unfold(one);
  }
  press(button, on);
  say(phrase(on ? "raw" : "rendered"));
}

function press(button, on) {
  if (button) button.setAttribute("aria-pressed", String(on));
}
