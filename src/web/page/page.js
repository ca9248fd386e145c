// Fetches the page again at an interval and while the user types, and updates only what changed. Open details, focus, selection and
// scroll position stay. Without this script the page works with links and a form.
"use strict";
(() => {
  const REQUEST_TIMEOUT_MS = 10_000;
  const TYPING_DELAY_MS = 250;

  // `removed` holds elements that left a list; they may move to another list.
  const state = { request: null, timer: null, asOf: document.querySelector("#as-of time").textContent, removed: new DocumentFragment() };

  const refreshSeconds = () => Number(document.documentElement.dataset.refresh || 0);

  /** Updates the document to `page`. Restores the focus and the selection if moving an element lost them. */
  function update(page) {
    const focused = document.activeElement;
    const selection = getSelection();
    const { anchorNode, anchorOffset, focusNode, focusOffset, isCollapsed } = selection;
    const clamp = (node, offset) => Math.min(offset, (node.data ?? node.childNodes).length);
    state.removed.replaceChildren();
    for (const part of ["#as-of", "#main", "footer"]) morph(document.querySelector(part), page.querySelector(part));
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    const lost = selection.anchorNode !== anchorNode || selection.focusNode !== focusNode;
    if (!isCollapsed && lost && anchorNode.isConnected && focusNode.isConnected)
      selection.setBaseAndExtent(anchorNode, clamp(anchorNode, anchorOffset), focusNode, clamp(focusNode, focusOffset));
  }

  /** Changes `current` to equal `target`, element by element. Matches elements with an id by their id. */
  function morph(current, target) {
    if (current.isEqualNode(target)) return;
    copyAttributes(current, target);
    const positions = new Map([...target.children].map((child, position) => [child.id, position]).filter(([id]) => id));
    const kept = new Map();
    for (const child of [...current.children].filter((child) => child.id)) {
      if (positions.has(child.id)) {
        kept.set(child.id, child);
      } else {
        // Removed first, so that the following elements need not move. Another list may take it.
        state.removed.append(child);
      }
    }
    const unmoved = longestOrdered([...kept.values()], positions);
    let next = current.firstChild;
    for (const wanted of [...target.childNodes]) {
      const same = wanted.id ? (kept.get(wanted.id) ?? fromOtherList(wanted)) : isReusable(next, wanted) ? next : null;
      if (!same) {
        const created = current.insertBefore(document.importNode(wanted), next);
        if (created.nodeType === Node.ELEMENT_NODE) morph(created, wanted);
        continue;
      }
      // Elements with an id before `same` are moved later, in their own iteration.
      while (unmoved.has(same) && next !== same) {
        const following = next.nextSibling;
        if (!next.id) next.remove();
        next = following;
      }
      if (same === next) next = next.nextSibling;
      else current.insertBefore(same, next);
      if (wanted.nodeType === Node.ELEMENT_NODE) morph(same, wanted);
      else if (same.nodeValue !== wanted.nodeValue) same.nodeValue = wanted.nodeValue;
    }
    while (next) {
      const following = next.nextSibling;
      next.remove();
      next = following;
    }
  }

  /** Returns the longest subsequence of `children` in the order of `positions`. It need not move: moving loses focus and selection. */
  function longestOrdered(children, positions) {
    const runs = [];
    for (const child of children) {
      let best = [];
      for (const run of runs) if (run.length > best.length && positions.get(run.at(-1).id) < positions.get(child.id)) best = run;
      runs.push([...best, child]);
    }
    return new Set(runs.reduce((longest, run) => (run.length > longest.length ? run : longest), []));
  }

  /** Returns the element with this id if it was in another list. */
  function fromOtherList(wanted) {
    const found = state.removed.getElementById(wanted.id) ?? document.getElementById(wanted.id);
    return found?.nodeName === wanted.nodeName ? found : null;
  }

  function isReusable(node, wanted) {
    return node !== null && node.nodeName === wanted.nodeName && !node.id && !wanted.id;
  }

  function copyAttributes(current, target) {
    // The user controls which details are open and what the search field contains.
    const kept = current.nodeName === "DETAILS" ? "open" : current.id === "q" ? "value" : null;
    for (const { name } of [...current.attributes])
      if (name !== kept && !target.hasAttribute(name)) current.removeAttribute(name);
    for (const { name, value } of target.attributes)
      if (name !== kept && current.getAttribute(name) !== value) current.setAttribute(name, value);
  }

  /** Returns the URL for the content of the form. `first` selects the first page of each list. */
  function formUrl(first) {
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
    state.request?.abort();
    const request = (state.request = new AbortController());
    const timeout = setTimeout(() => request.abort("timeout"), REQUEST_TIMEOUT_MS);
    try {
      const url = formUrl(first);
      const response = await fetch(url, { signal: request.signal, credentials: "same-origin" });
      const html = await response.text();
      // A response with status 400 is a page that names the invalid parameter.
      if (!response.ok && response.status !== 400) throw new Error(`status ${response.status}`);
      const page = new DOMParser().parseFromString(html, "text/html");
      if (!page.querySelector("#as-of time")) throw new Error("not this page");
      if (page.documentElement.dataset.version !== document.documentElement.dataset.version) {
        location.reload();
        return;
      }
      if (url.search !== location.search) history.replaceState(null, "", url.search || "./");
      document.title = page.title;
      copyAttributes(document.documentElement, page.documentElement);
      document.querySelector("link[rel=icon]").href = page.querySelector("link[rel=icon]").getAttribute("href");
      update(page);
      state.asOf = page.querySelector("#as-of time").textContent;
      document.querySelector("#lost").hidden = true;
    } catch (error) {
      // A newer request replaced this one.
      if (state.request !== request) return;
      document.querySelector("#lost-since").textContent = state.asOf;
      document.querySelector("#lost").hidden = false;
    } finally {
      clearTimeout(timeout);
      if (state.request === request) {
        state.request = null;
        schedule();
      }
    }
  }

  function schedule() {
    clearTimeout(state.timer);
    if (refreshSeconds() && !document.hidden) state.timer = setTimeout(refresh, refreshSeconds() * 1000);
  }

  document.addEventListener("visibilitychange", () => {
    // A page that becomes visible again must not show old data.
    if (!document.hidden && refreshSeconds()) refresh();
    else clearTimeout(state.timer);
  });
  let typing = null;
  document.addEventListener("input", (event) => {
    if (event.target.id !== "q") return;
    clearTimeout(typing);
    typing = setTimeout(() => refresh(true), TYPING_DELAY_MS);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "filter") return;
    event.preventDefault();
    clearTimeout(typing);
    refresh(true);
  });
  schedule();
})();
