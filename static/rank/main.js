// Makes ranking quicker where scripts run; without them the form works as it is.
//
// The form is swapped by htmx after each ranking, so every listener sits on the document.

import {
  $, $$, changed, fill, form, inRounds, isPair, keys, missing, order, phrase, say, spoken, values,
} from "./form.js";
import { answerRound, draw, dropAt, extreme, forget, pick, restEqual, roundTitle } from "./board.js";
import { focusOn, here, pressed } from "./keys.js";
import { beginReading, toggleDifferences, toggleRaw, toggleSync, unfold, unreadHint } from "./reading.js";
import { beginSaving, keepMine, loadStored, note, save } from "./saving.js";

const BEAT_MS = 120000;

document.documentElement.classList.add("js");

// ---- Changes, and undoing them ------------------------------------------------------------------

let past = [];
let now = [];
let changes = 0;

document.addEventListener("change", (event) => {
  if (!form() || !form().contains(event.target)) return;
  const before = now;
  now = values();
  past.push(before);
  changes += 1;
  draw();
  note();
  hint(missing() ? "" : unreadHint());
  const said = spoken(before, now);
  const rest = roundTitle() || (said && !missing() && !isPair() ? phrase("complete") : "");
  say([said, rest].filter(Boolean).join(". "));
});

document.addEventListener("input", (event) => {
  if (event.target.matches("#ranking textarea")) note();
});

// The last change; where there is none, the last ranking is opened again.
function undo() {
  if (!past.length) {
    const button = $(".undo button");
    if (button) button.click();
    return Boolean(button);
  }
  fill(past.pop());
  now = values();
  changes += 1;
  draw();
  note();
  say(`${phrase("undone")} ${order()}`.trim());
  return true;
}

function hint(text) {
  const place = $(".hint-line");
  if (place) place.textContent = text;
}

// ---- Clicks ---------------------------------------------------------------------------------------

const does = {
  token: pick,
  tier: (button) => dropAt(button.closest(".tier")),
  round: answerRound,
  rest: restEqual,
  best: (button) => extreme(button.closest(".response").dataset.letter, "best"),
  worst: (button) => extreme(button.closest(".response").dataset.letter, "worst"),
  board: (button) => {
    const shown = $(".dock").classList.toggle("shows-board");
    button.setAttribute("aria-expanded", String(shown));
  },
  unfold: (button) => unfold(button.closest(".response")),
  sync: toggleSync,
  diff: (button) => toggleDifferences(button, here()),
  raw: toggleRaw,
  load: loadStored,
  "keep-mine": keepMine,
};

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    event.preventDefault();
    document.getElementById(opener.dataset.opens).showModal();
  }
  const control = event.target.closest("[data-does]");
  if (control) does[control.dataset.does](control);
  else if (event.target.closest(".tier") && $(".token[aria-pressed=true]")) {
    dropAt(event.target.closest(".tier"));
  }
});

// ---- Taking an answer back --------------------------------------------------------------------------

// Nobody must say how sure he is, or rate: who clicks or taps what he chose, or presses Space on it,
// has said nothing. While the event is on its way, `now` is what was chosen before it.
const isChosenAnswer = (input) =>
  input.matches('#ranking .toggle [type="radio"]:not([value=""])') &&
  now.some(([name, value]) => name === input.name && value === input.value);

function takeBack(event) {
  const input = event.target;
  event.preventDefault(); // the browser then checks again what was checked before the click
  window.setTimeout(() => {
    input.checked = false;
    changed(input);
  });
}

document.addEventListener("click", (event) => {
  if (isChosenAnswer(event.target)) takeBack(event);
});

// ---- Keys -----------------------------------------------------------------------------------------

const submitButton = () => $(".submit");

document.addEventListener("keydown", (event) => {
  if ($("dialog[open]") || !form()) return;
  const typing = event.target.matches("textarea, select, input:not([type=radio], [type=checkbox])");
  const alt = event.altKey && !event.getModifierState("AltGraph");
  if ((event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph")) {
    if (event.key === "Enter") form().requestSubmit(submitButton());
    else if (event.key === "s") save();
    else if (event.key === "z" && !typing && !event.shiftKey) undo();
    else return;
    event.preventDefault();
  } else if (!typing && !alt && !event.repeat && pressed(event, undo)) event.preventDefault();
});

// Not every browser makes a click of Space on what is checked already.
let spaceWentDown = null;

document.addEventListener("keydown", (event) => {
  if (event.key === " ") spaceWentDown = event.defaultPrevented ? null : event.target;
});

document.addEventListener("keyup", (event) => {
  const onSame = event.key === " " && event.target === spaceWentDown;
  if (onSame && isChosenAnswer(event.target)) takeBack(event);
});

// ---- Effort: looked at how long, changed how often -------------------------------------------------

let visibleMs = 0;
let visibleSince = document.hidden ? null : performance.now();

function lookedAt() {
  return visibleMs + (visibleSince === null ? 0 : performance.now() - visibleSince);
}

function widthClass() {
  return window.innerWidth < 640 ? "narrow" : window.innerWidth < 1100 ? "medium" : "wide";
}

document.addEventListener("visibilitychange", () => {
  visibleMs = lookedAt();
  visibleSince = document.hidden ? null : performance.now();
  if (!document.hidden) beat();
});

document.addEventListener(
  "submit",
  (event) => {
    if (event.target !== form()) return;
    const incomplete = missing();
    const ranks = !event.submitter || event.submitter === submitButton();
    if (ranks && incomplete) {
      event.preventDefault();
      event.stopPropagation();
      complain(incomplete);
      return;
    }
    form().elements.dwell_ms.value = Math.round(lookedAt());
    form().elements.n_changes.value = changes;
    form().elements.width.value = widthClass();
  },
  true, // before htmx reads the form
);

function complain(text) {
  hint(text);
  say(text);
  const empty = isPair() ? $('[name="better"]') : $(".response:not(.ranked)");
  if (!isPair()) for (const one of $$(".response:not(.ranked)")) one.classList.add("missing");
  if (empty) focusOn(isPair() || inRounds() ? empty : $(".chips input", empty));
}

// ---- The lease --------------------------------------------------------------------------------------

function beat() {
  const alive = $("#alive[hx-post]");
  if (alive && window.htmx) window.htmx.trigger(alive, "alive");
}

window.setInterval(() => {
  if (!document.hidden) beat();
}, BEAT_MS);

// ---- A task begins ------------------------------------------------------------------------------------

function beginTask() {
  visibleMs = 0;
  visibleSince = document.hidden ? null : performance.now();
  [past, changes] = [[], 0];
  forget();
  if (form()) {
    now = values();
    draw();
    nameHelpKey();
  }
  beginReading();
  beginSaving();
}

function nameHelpKey() {
  const shown = $(".keys-button kbd");
  shown.textContent = keys.help || "";
  shown.hidden = !keys.help;
}

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id === "edit") {
    now = values();
    note();
  }
  if (event.target.id !== "work") return;
  beginTask();
  const title = $("#work h1");
  const begins = [event.target.dataset.announce, event.target.dataset.task, title && title.textContent];
  say(begins.filter(Boolean).join(" "));
});

beginTask();
