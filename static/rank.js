// Makes ranking quicker where scripts run; without them the form works as it is.
//
// Keys and a spoken summary, how long the page was looked at, more time while it is looked at, and
// a word when the server did not answer. The form is swapped by htmx after each ranking, so every
// listener sits on the document and looks for the form afresh.

(function () {
  "use strict";

  const BEAT_MS = 120000;
  const $ = (selector) => document.querySelector(selector);
  const $$ = (selector) => Array.from(document.querySelectorAll(selector));
  const form = () => $("#ranking");
  const isPair = () => Boolean($(".pair-choice"));

  document.documentElement.classList.add("js");

  // ---- What is chosen -----------------------------------------------------------------------

  function radios(letter) {
    return isPair() ? $$('[name="better"]') : $$(`[name="rank-${letter}"]`);
  }

  function rankOf(letter) {
    const chosen = radios(letter).find((radio) => radio.checked);
    return chosen ? Number(chosen.value) : null;
  }

  function letters() {
    return $$(".response").map((card) => card.dataset.letter);
  }

  // "B › A = C": letters by rank, equal ones joined.
  function order() {
    if (isPair()) {
      const chosen = radios().find((radio) => radio.checked);
      return chosen ? { a: "A › B", equal: "A = B", b: "B › A" }[chosen.value] : "";
    }
    const ranked = letters().filter(rankOf);
    const ranks = [...new Set(ranked.map(rankOf))].sort((a, b) => a - b);
    const tier = (rank) => ranked.filter((letter) => rankOf(letter) === rank);
    return ranks.map((rank) => tier(rank).join(" = ").toUpperCase()).join(" › ");
  }

  function say(text) {
    const status = $("#status");
    if (status) status.textContent = text;
  }

  function showOrder() {
    const shown = $(".order");
    if (shown) shown.textContent = order();
  }

  // ---- Moving between responses -------------------------------------------------------------

  function current() {
    const card = document.activeElement.closest(".response");
    return card ? card.dataset.letter : null;
  }

  function focusOn(element) {
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest" });
  }

  function goTo(letter) {
    const card = $(`.response[data-letter="${letter}"]`);
    if (!card) return;
    const own = radios(letter);
    const first = isPair() ? card.querySelector("[name=unacceptable]") : own.find((r) => r.checked) || own[0];
    first.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  }

  function nextUnranked(letter) {
    const all = letters();
    const from = all.indexOf(letter) + 1;
    return [...all.slice(from), ...all.slice(0, from)].find((other) => rankOf(other) === null);
  }

  function choose(radio) {
    radio.checked = true;
    radio.dispatchEvent(new Event("change", { bubbles: true }));
  }

  function rankByKey(digit) {
    if (isPair()) {
      const radio = $(`[name="better"][value="${{ 1: "a", 2: "b", 0: "equal" }[digit]}"]`);
      if (!radio) return false;
      choose(radio);
      focusOn(radio);
      return true;
    }
    const letter = current() || nextUnranked("");
    const radio = letter && radios(letter).find((one) => one.value === digit);
    if (!radio) return false;
    choose(radio);
    const next = nextUnranked(letter);
    if (next) goTo(next);
    else focusOn($(".submit"));
    return true;
  }

  function markUnacceptable() {
    const box = current() && $(`.response[data-letter="${current()}"] [name="unacceptable"]`);
    if (box) box.click();
    return Boolean(box);
  }

  // ---- Keys ---------------------------------------------------------------------------------

  const KEYS_OFF = "prefloop.single-keys-off";

  function openSkip() {
    const skip = $("#skip");
    if (!skip) return false;
    skip.open = true;
    focusOn(skip.querySelector("button"));
    return true;
  }

  function press(element) {
    if (element) element.click();
    return Boolean(element);
  }

  function handled(key) {
    if (/^[0-9]$/.test(key)) return rankByKey(key);
    if (letters().includes(key)) return goTo(key) || true;
    if (key === "x") return markUnacceptable();
    if (key === "s") return openSkip();
    if (key === "u") return press($(".undo button"));
    return false;
  }

  document.addEventListener("keydown", (event) => {
    if ($("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && form()) {
      event.preventDefault();
      form().requestSubmit($(".submit"));
      return;
    }
    const typing = event.target.matches("textarea, input:not([type=radio], [type=checkbox]), select");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (localStorage.getItem(KEYS_OFF)) return;
    if (event.key === "?") $("#keys").showModal();
    else if (!handled(event.key)) return;
    event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-opens]");
    if (opener) document.getElementById(opener.dataset.opens).showModal();
  });

  // ---- Effort: looked at how long, changed how often ----------------------------------------

  let visibleMs = 0;
  let visibleSince = document.hidden ? null : performance.now();
  let changes = 0;

  function lookedAt() {
    return visibleMs + (visibleSince === null ? 0 : performance.now() - visibleSince);
  }

  function beginTask() {
    visibleMs = 0;
    visibleSince = document.hidden ? null : performance.now();
    changes = 0;
    showOrder();
  }

  function widthClass() {
    return window.innerWidth < 640 ? "narrow" : window.innerWidth < 1100 ? "medium" : "wide";
  }

  document.addEventListener("visibilitychange", () => {
    visibleMs = lookedAt();
    visibleSince = document.hidden ? null : performance.now();
    if (!document.hidden) beat();
  });

  document.addEventListener("change", (event) => {
    if (event.target.id === "single-keys") {
      if (event.target.checked) localStorage.removeItem(KEYS_OFF);
      else localStorage.setItem(KEYS_OFF, "1");
      return;
    }
    if (!form() || !form().contains(event.target)) return;
    changes += 1;
    showOrder();
    const card = event.target.closest(".missing");
    if (card) card.classList.remove("missing");
    if (event.target.type === "radio") say(order());
  });

  document.addEventListener(
    "submit",
    (event) => {
      if (event.target !== form()) return;
      form().elements.dwell_ms.value = Math.round(lookedAt());
      form().elements.n_changes.value = changes;
      form().elements.width.value = widthClass();
    },
    true, // before htmx reads the form
  );

  // ---- The lease, and what the server says --------------------------------------------------

  function beat() {
    const alive = $("#alive[hx-post]");
    if (alive && window.htmx) window.htmx.trigger(alive, "alive");
  }

  window.setInterval(() => {
    if (!document.hidden) beat();
  }, BEAT_MS);

  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id !== "work") return;
    beginTask();
    const title = $("#work h1");
    say([event.target.dataset.announce, title ? title.textContent : ""].join(" ").trim());
  });

  function complain(text) {
    const place = $("#draft-state");
    if (!place) return;
    const line = document.createElement("p");
    line.className = "draft-state conflict";
    line.setAttribute("role", "alert");
    line.textContent = text;
    place.querySelectorAll("p").forEach((old) => old.remove());
    place.append(line);
  }

  const words = document.currentScript.dataset;
  document.addEventListener("htmx:sendError", () => complain(words.offline));
  document.addEventListener("htmx:timeout", () => complain(words.offline));
  document.addEventListener("htmx:responseError", () => complain(words.refused));

  document.addEventListener("DOMContentLoaded", () => {
    const box = $("#single-keys");
    if (box) box.checked = !localStorage.getItem(KEYS_OFF);
    beginTask();
  });
})();
