// What each key does. Which key it is, the server says, since people may change or switch off theirs.

import {
  $, $$, card, changed, form, inRounds, isCovered, isPair, keys, letters, phrase, place, radios,
  rankOf, say, unranked,
} from "./form.js";
import { extreme, move, restEqual } from "./board.js";
import { reveal, toggleDifferences, toggleRaw, toggleSync } from "./reading.js";

// ---- Where one is -------------------------------------------------------------------------------

export function here() {
  const inside = document.activeElement.closest("[data-letter]");
  return inside && form().contains(inside) ? inside.dataset.letter : null;
}

export function focusOn(element) {
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: "nearest" });
}

function goTo(letter) {
  const own = radios(letter);
  const shown = own.length && !inRounds();
  const target = shown ? own.find((radio) => radio.checked) || own[0] : card(letter);
  target.focus({ preventScroll: true });
  card(letter).scrollIntoView({ block: "nearest" });
}

function goOn(letter) {
  const from = letters().indexOf(letter) + 1;
  const next = [...letters().slice(from), ...letters().slice(0, from)].find((x) => rankOf(x) === null);
  if (next) goTo(next);
  else focusOn($(".submit"));
}

// ---- Digits ---------------------------------------------------------------------------------------

function digit(number, shift) {
  if (isPair()) return compare({ 1: "a", 2: "b", 0: "equal" }[number], shift);
  const letter = here() || unranked()[0];
  if (!letter || number > letters().length || shift) return false;
  if (number === 0) place({ [letter]: null });
  else {
    place({ [letter]: number });
    goOn(letter);
  }
  return true;
}

// One step better each time the same key is pressed, or with Shift much better at once.
function compare(side, much) {
  const all = $$('[name="better"]');
  const steps = all.filter((radio) => radio.value.startsWith(side) && radio.value !== "bad");
  if (!steps.length) return false;
  steps.sort((x, y) => (x.value < y.value ? -1 : 1));
  const next = much ? steps.length - 1 : (steps.findIndex((radio) => radio.checked) + 1) % steps.length;
  steps[next].checked = true;
  changed(steps[next]);
  steps[next].focus({ preventScroll: true });
  return true;
}

// ---- What has a name --------------------------------------------------------------------------------

function press(selector) {
  const element = $(selector);
  if (element) element.click();
  return Boolean(element);
}

function open(details) {
  if (!details) return false;
  details.open = true;
  focusOn($("button, input, textarea", details));
  return true;
}

function withLetter(act) {
  const letter = here();
  if (!letter || isPair()) return false;
  act(letter);
  return true;
}

function toggleAllBad() {
  if (isPair()) return press('[name="better"][value="bad"]');
  const boxes = $$('[name="unacceptable"]');
  const on = !boxes.every((box) => box.checked);
  for (const box of boxes) box.checked = on;
  changed();
  say(phrase(on ? "allBad" : "notAllBad"));
  return true;
}

const actions = {
  best: () => withLetter((letter) => extreme(letter, "best")),
  worst: () => withLetter((letter) => extreme(letter, "worst")),
  up: () => withLetter((letter) => move(letter, -1)),
  down: () => withLetter((letter) => move(letter, 1)),
  rest: () => !isPair() && (restEqual(), true),
  unacceptable: () => here() && press(`[name="unacceptable"][value="${here()}"]`),
  all_bad: toggleAllBad,
  reveal: () => !document.activeElement.matches("button, a, summary, input") && reveal(here()),
  sync: () => isPair() && (toggleSync($("[data-does=sync]")), true),
  diff: () => (toggleDifferences($("[data-does=diff]"), here()), true),
  raw: () => (toggleRaw($("[data-does=raw]")), true),
  flag: () => open($(".remarks", here() ? card(here()) : $(".conversation"))),
  note: () => open($("#why")),
  skip: () => open($("#skip")),
  guidelines: () => press("[data-key=guidelines]"),
  help: () => ($("#keys").showModal(), true),
};

const always = ["reveal", "skip", "guidelines", "help", "undo"];
const bound = Object.entries(keys).filter(([, key]) => key);
const named = new Map(bound.map(([name, key]) => [key === "Space" ? " " : key, name]));

// Whether the key meant something.
export function pressed(event, undo) {
  if (!named.size || !form()) return false;
  const action = named.get(event.key);
  if (isCovered() && action && !always.includes(action)) {
    say(phrase("covered"));
    return true;
  }
  if (action === "undo") return undo();
  if (action) return actions[action]();
  if (isCovered()) return false;
  const onDigit = /^(?:Digit|Numpad)([0-8])$/.exec(event.code);
  if (onDigit) return digit(Number(onDigit[1]), event.shiftKey && event.code.startsWith("Digit"));
  if (/^[A-H]$/.test(event.key) && card(event.key.toLowerCase())) {
    goTo(event.key.toLowerCase());
    return true;
  }
  return arrow(event);
}

// ← and → point at a side; inside a row of choices the browser moves along it.
function arrow(event) {
  const sides = { ArrowLeft: "a", ArrowRight: "b" };
  if (!isPair() || !(event.key in sides)) return false;
  if (document.activeElement.matches("input, summary") || document.activeElement.tabIndex >= 0) return false;
  const mirrored = getComputedStyle(document.documentElement).direction === "rtl";
  return compare(mirrored ? { a: "b", b: "a" }[sides[event.key]] : sides[event.key], false);
}
