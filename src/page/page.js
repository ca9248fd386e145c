// Asks for the page again now and then, and as something is typed, and puts in what has changed: nothing flickers, and what is open,
// focused, selected or scrolled to stays. Without it the page works by links and its form.
"use strict";
(() => {
  // Of a request; a page that is late is as good as none.
  const PATIENCE = 10_000;
  const TYPING = 250;

  // `gone` has what one list has lost and another may want.
  const state = { asking: null, timer: null, answered: document.querySelector("#as-of time").textContent, gone: new DocumentFragment() };

  const seconds = () => Number(document.documentElement.dataset.refresh || 0);

  /** Puts in what has changed. Whatever had to be moved for it is focused and selected again if it was. */
  function renew(page) {
    const focused = document.activeElement;
    const selection = getSelection();
    const { anchorNode, anchorOffset, focusNode, focusOffset, isCollapsed } = selection;
    const within = (node, offset) => Math.min(offset, (node.data ?? node.childNodes).length);
    state.gone.replaceChildren();
    for (const part of ["#as-of", "#main", "footer"]) change(document.querySelector(part), page.querySelector(part));
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    const lost = selection.anchorNode !== anchorNode || selection.focusNode !== focusNode;
    if (!isCollapsed && lost && anchorNode.isConnected && focusNode.isConnected)
      selection.setBaseAndExtent(anchorNode, within(anchorNode, anchorOffset), focusNode, within(focusNode, focusOffset));
  }

  /** Makes `before` like `after`, element by element, those with an id by their ids. */
  function change(before, after) {
    if (before.isEqualNode(after)) return;
    attributes(before, after);
    const places = new Map([...after.children].map((child, place) => [child.id, place]).filter(([id]) => id));
    const known = new Map();
    for (const child of [...before.children].filter((child) => child.id)) {
      if (places.has(child.id)) {
        known.set(child.id, child);
      } else {
        // Out of the way of those behind it: they need not move. It may be wanted in another list.
        state.gone.append(child);
      }
    }
    const still = unmoved([...known.values()], places);
    let here = before.firstChild;
    for (const wanted of [...after.childNodes]) {
      const same = wanted.id ? (known.get(wanted.id) ?? elsewhere(wanted)) : fits(here, wanted) ? here : null;
      if (!same) {
        const made = before.insertBefore(document.importNode(wanted), here);
        if (made.nodeType === Node.ELEMENT_NODE) change(made, wanted);
        continue;
      }
      // What has an id and stands before it moves when it is its turn.
      while (still.has(same) && here !== same) {
        const next = here.nextSibling;
        if (!here.id) here.remove();
        here = next;
      }
      if (same === here) here = here.nextSibling;
      else before.insertBefore(same, here);
      if (wanted.nodeType === Node.ELEMENT_NODE) change(same, wanted);
      else if (same.nodeValue !== wanted.nodeValue) same.nodeValue = wanted.nodeValue;
    }
    while (here) {
      const next = here.nextSibling;
      here.remove();
      here = next;
    }
  }

  /** The most of `children` that stand in the order of `places` already: what is moved loses focus and selection. */
  function unmoved(children, places) {
    const runs = [];
    for (const child of children) {
      let before = [];
      for (const run of runs) if (run.length > before.length && places.get(run.at(-1).id) < places.get(child.id)) before = run;
      runs.push([...before, child]);
    }
    return new Set(runs.reduce((longest, run) => (run.length > longest.length ? run : longest), []));
  }

  /** A row that was in another list. */
  function elsewhere(wanted) {
    const found = state.gone.getElementById(wanted.id) ?? document.getElementById(wanted.id);
    return found?.nodeName === wanted.nodeName ? found : null;
  }

  function fits(here, wanted) {
    return here !== null && here.nodeName === wanted.nodeName && !here.id && !wanted.id;
  }

  function attributes(before, after) {
    // What the reader has opened and typed is the reader's.
    const kept = before.nodeName === "DETAILS" ? "open" : before.id === "q" ? "value" : null;
    for (const { name } of [...before.attributes])
      if (name !== kept && !after.hasAttribute(name)) before.removeAttribute(name);
    for (const { name, value } of after.attributes)
      if (name !== kept && before.getAttribute(name) !== value) before.setAttribute(name, value);
  }

  /** The page that the form asks for; `first` goes back to the first rows. */
  function wanted(first) {
    const url = new URL(location.href);
    const words = document.querySelector("#q").value;
    url.hash = "";
    if (words) url.searchParams.set("q", words);
    else url.searchParams.delete("q");
    if (first) for (const name of ["page", "scopes"]) url.searchParams.delete(name);
    return url;
  }

  async function refresh(first = false) {
    clearTimeout(state.timer);
    state.asking?.abort();
    const asking = (state.asking = new AbortController());
    const patience = setTimeout(() => asking.abort("late"), PATIENCE);
    try {
      const url = wanted(first);
      const response = await fetch(url, { signal: asking.signal, credentials: "same-origin" });
      const html = await response.text();
      // A mistake in the address is told by the page itself.
      if (!response.ok && response.status !== 400) throw new Error(`status ${response.status}`);
      const page = new DOMParser().parseFromString(html, "text/html");
      if (!page.querySelector("#as-of time")) throw new Error("not this page");
      if (page.documentElement.dataset.version !== document.documentElement.dataset.version) {
        location.reload();
        return;
      }
      if (url.search !== location.search) history.replaceState(null, "", url.search || "./");
      document.title = page.title;
      attributes(document.documentElement, page.documentElement);
      document.querySelector("link[rel=icon]").href = page.querySelector("link[rel=icon]").getAttribute("href");
      renew(page);
      state.answered = page.querySelector("#as-of time").textContent;
      document.querySelector("#lost").hidden = true;
    } catch (error) {
      // Another request has taken its place.
      if (state.asking !== asking) return;
      document.querySelector("#lost-since").textContent = state.answered;
      document.querySelector("#lost").hidden = false;
    } finally {
      clearTimeout(patience);
      if (state.asking === asking) {
        state.asking = null;
        plan();
      }
    }
  }

  function plan() {
    clearTimeout(state.timer);
    if (seconds() && !document.hidden) state.timer = setTimeout(refresh, seconds() * 1000);
  }

  document.addEventListener("visibilitychange", () => {
    // Whoever comes back sees what is, not what was.
    if (!document.hidden && seconds()) refresh();
    else clearTimeout(state.timer);
  });
  let typing = null;
  document.addEventListener("input", (event) => {
    if (event.target.id !== "q") return;
    clearTimeout(typing);
    typing = setTimeout(() => refresh(true), TYPING);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "filter") return;
    event.preventDefault();
    clearTimeout(typing);
    refresh(true);
  });
  plan();
})();
