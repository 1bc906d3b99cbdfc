// What the agent runs in a page: finds elements, tells whether and where they can be reached, reads values.
//
// It runs in an isolated world (world.py): the page's scripts see none of it and can replace none of the functions
// it calls. What they share is the document, and a document can cover its own properties: <img name=querySelector>
// hides document.querySelector. So everything of the DOM is called by way of the prototypes.
//
// Functions take and return JSON. "Composed" below means: through open shadow roots and same-origin frames.
globalThis.driftstack = (() => {
  "use strict";

  const method = (proto, name) => {
    const found = proto[name];
    return (self, ...args) => Reflect.apply(found, self, args);
  };
  const getter = (proto, name) => {
    const found = Object.getOwnPropertyDescriptor(proto, name).get;
    return (self) => Reflect.apply(found, self, []);
  };
  const nodeType = getter(Node.prototype, "nodeType");
  const all = (root, selector) => {
    const proto = { 9: Document, 11: DocumentFragment }[nodeType(root)] ?? Element;
    return Reflect.apply(proto.prototype.querySelectorAll, root, [selector]);
  };
  const pointed = (root, x, y) => {
    const proto = nodeType(root) === 9 ? Document : ShadowRoot;
    return Reflect.apply(proto.prototype.elementFromPoint, root, [x, y]);
  };
  const activeIn = (root) => (nodeType(root) === 9 ? activeOfDocument : activeOfShadow)(root);
  const activeOfDocument = getter(Document.prototype, "activeElement");
  const activeOfShadow = getter(ShadowRoot.prototype, "activeElement");
  const shadowRoot = getter(Element.prototype, "shadowRoot");
  const host = getter(ShadowRoot.prototype, "host");
  const assignedSlot = getter(Element.prototype, "assignedSlot");
  const parentNode = getter(Node.prototype, "parentNode");
  const ownerDocument = getter(Node.prototype, "ownerDocument");
  const isConnected = getter(Node.prototype, "isConnected");
  const localName = getter(Element.prototype, "localName");
  const viewOf = getter(Document.prototype, "defaultView");
  const attribute = method(Element.prototype, "getAttribute");
  const matches = method(Element.prototype, "matches");
  const closest = method(Element.prototype, "closest");
  const clientRects = method(Element.prototype, "getClientRects");
  const boundingRect = method(Element.prototype, "getBoundingClientRect");
  const checkVisibility = method(Element.prototype, "checkVisibility");
  const scrollIntoView = method(Element.prototype, "scrollIntoView");
  const clientLeft = getter(Element.prototype, "clientLeft");
  const clientTop = getter(Element.prototype, "clientTop");
  const scrollLeft = getter(Element.prototype, "scrollLeft");
  const scrollTop = getter(Element.prototype, "scrollTop");
  const textContent = getter(Node.prototype, "textContent");
  const innerText = getter(HTMLElement.prototype, "innerText");
  const offsetWidth = getter(HTMLElement.prototype, "offsetWidth");
  const offsetHeight = getter(HTMLElement.prototype, "offsetHeight");
  const isContentEditable = getter(HTMLElement.prototype, "isContentEditable");
  const focus = method(HTMLElement.prototype, "focus");
  const controlOf = getter(HTMLLabelElement.prototype, "control");
  const readyState = getter(Document.prototype, "readyState");
  const listen = method(EventTarget.prototype, "addEventListener");
  const titleOf = getter(Document.prototype, "title");
  const valueOf = {
    input: getter(HTMLInputElement.prototype, "value"),
    textarea: getter(HTMLTextAreaElement.prototype, "value"),
    select: (select) => [...getter(HTMLSelectElement.prototype, "selectedOptions")(select)].map(textOf).join(", "),
  };
  const contentDocuments = {
    iframe: getter(HTMLIFrameElement.prototype, "contentDocument"),
    frame: getter(HTMLFrameElement.prototype, "contentDocument"),
  };

  const namespace = getter(Element.prototype, "namespaceURI");
  const isHtml = (element) => namespace(element) === "http://www.w3.org/1999/xhtml";
  const isElement = (node) => node !== null && nodeType(node) === 1;
  const htmlName = (element) => (isHtml(element) ? localName(element) : "");
  const documentIn = (element) => contentDocuments[htmlName(element)]?.(element) ?? null;

  // --- finding ---------------------------------------------------------------------------------------------------

  // The parts of `a >>> b`; a text in quotes or brackets is left alone.
  const split = (selector) => {
    const parts = [];
    let start = 0, quote = "", depth = 0;
    for (let i = 0; i < selector.length; i++) {
      const c = selector[i];
      if (c === "\\") i++;
      else if (quote) quote = c === quote ? "" : quote;
      else if (c === '"' || c === "'") quote = c;
      else if (c === "[" || c === "(") depth++;
      else if (c === "]" || c === ")") depth--;
      else if (depth === 0 && selector.startsWith(">>>", i)) {
        parts.push(selector.slice(start, i));
        start = i + 3;
        i += 2;
      }
    }
    return [...parts, selector.slice(start)];
  };

  // Every shadow root and frame document inside, at any depth, in document order.
  function* rootsIn(root) {
    for (const element of all(root, "*")) yield* rootsOf(element);
  }
  function* rootsOf(element) {
    for (const root of [shadowRoot(element), documentIn(element)]) {
      if (root !== null) {
        yield root;
        yield* rootsIn(root);
      }
    }
  }
  function* composedMatches(roots, part) {
    for (const root of roots) {
      yield* all(root, part);
      for (const inner of isElement(root) ? [...rootsOf(root), ...rootsIn(root)] : rootsIn(root)) {
        yield* all(inner, part);
      }
    }
  }
  const check = (selector) => {
    const parts = split(selector);
    for (const part of parts) all(new DocumentFragment(), part);
    return parts;
  };
  // All elements that match: those of the roots' own first, then those of what is in them. Throws SyntaxError.
  function* find(selector, roots = [document]) {
    const parts = check(selector);
    for (const part of parts.slice(0, -1)) roots = new Set(composedMatches(roots, part));
    const seen = new Set();
    for (const element of composedMatches(roots, parts.at(-1))) {
      if (!seen.has(element)) yield element;
      seen.add(element);
    }
  }
  const choose = (selector) => {
    let first = null;
    for (const element of find(selector)) {
      if (isVisible(element)) return element;
      first ??= element;
    }
    return first;
  };

  // --- seeing ----------------------------------------------------------------------------------------------------

  const boxes = (element) => [...clientRects(element)].filter((box) => box.width > 0 && box.height > 0);
  const frameOf = (element) => viewOf(ownerDocument(element))?.frameElement ?? null;
  const isVisible = (element) => {
    for (let each = element; each !== null; each = frameOf(each)) {
      if (!boxes(each).length || !checkVisibility(each, { visibilityProperty: true })) return false;
    }
    return true;
  };
  const composedParent = (node) => {
    if (nodeType(node) === 9) return viewOf(node)?.frameElement ?? null;
    if (nodeType(node) === 11) return "host" in node ? host(node) : null;
    return (isElement(node) && assignedSlot(node)) || parentNode(node);
  };
  const isWithin = (node, ancestor) => {
    for (let each = node; each !== null; each = composedParent(each)) if (each === ancestor) return true;
    return false;
  };
  const isDisabled = (element) => {
    if (matches(element, ":disabled")) return true;
    for (let each = element; each !== null; each = composedParent(each)) {
      if (isElement(each) && attribute(each, "aria-disabled") === "true") return true;
    }
    return false;
  };

  // Where a frame's content begins in the document around it, and how much it is scaled.
  const frameGeometry = (frame) => {
    const box = boundingRect(frame);
    const style = viewOf(ownerDocument(frame)).getComputedStyle(frame);
    const scaleX = box.width / (offsetWidth(frame) || 1), scaleY = box.height / (offsetHeight(frame) || 1);
    return {
      left: box.left + (clientLeft(frame) + parseFloat(style.paddingLeft)) * scaleX,
      top: box.top + (clientTop(frame) + parseFloat(style.paddingTop)) * scaleY,
      scaleX, scaleY,
    };
  };
  const outOf = (frame, box) => {
    const at = frameGeometry(frame);
    return {
      left: at.left + box.left * at.scaleX, right: at.left + box.right * at.scaleX,
      top: at.top + box.top * at.scaleY, bottom: at.top + box.bottom * at.scaleY,
    };
  };
  const clip = (box, view) => ({
    left: Math.max(box.left, 0), right: Math.min(box.right, view.innerWidth),
    top: Math.max(box.top, 0), bottom: Math.min(box.bottom, view.innerHeight),
  });
  // The part of a box that its frames show, in the page's coordinates; null if there is none.
  const visiblePart = (element, box) => {
    let part = clip(box, viewOf(ownerDocument(element)));
    for (let frame = frameOf(element); frame !== null; frame = frameOf(frame)) {
      part = clip(outOf(frame, part), viewOf(ownerDocument(frame)));
    }
    return part.right - part.left >= 1 && part.bottom - part.top >= 1 ? part : null;
  };
  const hit = (x, y) => {
    let root = document, found = null;
    for (;;) {
      const next = pointed(root, x, y);
      if (next === null || next === found) return found;
      found = next;
      if (shadowRoot(found) !== null) root = shadowRoot(found);
      else if (documentIn(found) !== null) {
        const at = frameGeometry(found);
        [root, x, y] = [documentIn(found), (x - at.left) / at.scaleX, (y - at.top) / at.scaleY];
      } else return found;
    }
  };
  const receives = (element, found) => {
    if (found === null) return false;
    if (isWithin(found, element)) return true;
    const label = closest(found, "label");
    return label !== null && isHtml(label) && controlOf(label) === element;
  };
  const SPOTS = [[0.5, 0.5], [0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]];
  // A point of the element that nothing covers, null if there is none in sight.
  const aim = (element) => {
    for (const box of boxes(element)) {
      const part = visiblePart(element, box);
      for (const [right, down] of part === null ? [] : SPOTS) {
        const x = part.left + (part.right - part.left) * right, y = part.top + (part.bottom - part.top) * down;
        if (receives(element, hit(x, y))) return { x, y };
      }
    }
    return null;
  };

  // --- reaching --------------------------------------------------------------------------------------------------

  // The next frame; a page that shows nothing has none, so not for ever.
  const frame = () => new Promise((done) => { requestAnimationFrame(done); setTimeout(done, 100); });
  const place = (element) => {
    const box = boundingRect(element);
    return [box.left, box.top, box.width, box.height].join();
  };
  const staysFor = async (element, frames) => {
    const before = place(element);
    for (let i = 0; i < frames; i++) {
      await frame();
      if (place(element) !== before) return false;
    }
    return true;
  };
  const TYPELESS = ["button", "submit", "reset", "checkbox", "radio", "file", "range", "color", "image", "hidden"];
  const SEGMENTED = ["date", "time", "month", "week", "datetime-local"];
  const takesText = (element) => {
    const name = htmlName(element);
    if (name === "input") return !TYPELESS.includes(element.type) && matches(element, ":not([readonly])");
    if (name === "textarea") return matches(element, ":not([readonly])");
    return name === "select" || (isHtml(element) && isContentEditable(element));
  };
  // What text goes to when a person types "into" the element: itself, a label's control, the field of a component.
  const fieldOf = (element) => {
    if (takesText(element)) return element;
    const control = htmlName(element) === "label" ? controlOf(element) : null;
    if (control !== null && takesText(control)) return control;
    const inside = shadowRoot(element) === null ? [] : [shadowRoot(element)];
    for (const each of find("input, textarea, [contenteditable]", inside)) if (takesText(each)) return each;
    return null;
  };
  const BLOCKS = ["center", "end", "start", "nearest"];
  let field = null;

  // How far an element is from being acted on: its state, with a point once it is "ready".
  const reach = async ({ selector, enabled, editable, attempt }) => {
    const element = choose(selector);
    if (element === null) return { state: "missing" };
    if (!isVisible(element)) return { state: "hidden" };
    if (enabled && isDisabled(element)) return { state: "disabled" };
    field = editable ? fieldOf(element) : null;
    if (editable && field === null) return { state: "not editable" };
    if (enabled && field !== null && isDisabled(field)) return { state: "disabled" };
    if (!(await staysFor(element, 2))) return { state: isConnected(element) ? "moving" : "missing" };
    let point = aim(element);
    if (point === null) {
      const block = BLOCKS[attempt % BLOCKS.length];
      scrollIntoView(element, { block, inline: block, behavior: "instant" });
      await frame();
      point = aim(element);
    }
    if (point === null) {
      const inView = boxes(element).some((box) => visiblePart(element, box));
      return { state: inView ? "covered" : "out of view" };
    }
    return { state: "ready", ...point, direct: field !== null && needsDirectFocus(field) };
  };
  // A tap would open a list, or put the focus on whichever part of a date is in the middle.
  const needsDirectFocus = (element) => htmlName(element) === "select" || SEGMENTED.includes(element.type);
  const deepActive = () => {
    for (let active = activeIn(document); ;) {
      const root = active === null ? null : shadowRoot(active) ?? documentIn(active);
      const inner = root === null ? null : activeIn(root);
      if (inner === null) return active;
      active = inner;
    }
  };
  // Whether the field that was reached has the focus; puts the caret behind what it holds.
  const focusField = ({ direct }) => {
    if (field === null || !isConnected(field)) return false;
    if (direct) focus(field);
    const active = deepActive();
    if (active === null || !isWithin(active, field) && !isWithin(field, active)) return false;
    if (!direct) viewOf(ownerDocument(field)).getSelection().modify("move", "forward", "documentboundary");
    return true;
  };
  const offsets = (x, y) => {
    const found = [];
    for (let each = hit(x, y); each !== null; each = composedParent(each)) {
      if (isElement(each)) found.push(scrollLeft(each), scrollTop(each));
    }
    return found.join();
  };
  // Returns once what is at a point scrolls no more, within half a second.
  const settle = async ({ x, y }) => {
    const until = performance.now() + 500;
    let before = "", now = offsets(x, y);
    while (before !== now && performance.now() < until) {
      before = now;
      for (let i = 0; i < 3; i++) await frame();
      now = offsets(x, y);
    }
    return true;
  };
  // Returns in a later frame: what was sent to the page before has been handled by then.
  const rest = async () => { await frame(); return true; };
  const middle = () => ({ x: innerWidth / 2, y: innerHeight / 2 });

  // --- reading ---------------------------------------------------------------------------------------------------

  const isShown = ({ selector }) => {
    for (const element of find(selector)) if (isVisible(element)) return true;
    return false;
  };
  const textOf = (element) => {
    const value = valueOf[htmlName(element)];
    return (value ? value(element) : isHtml(element) ? innerText(element) : textContent(element) ?? "").trim();
  };
  const tooLarge = (size) => Object.assign(new RangeError(), { size });

  class Budget {
    constructor(limit) {
      this.limit = limit;
      this.used = 0;
    }
    take(text) {
      if (text === null) return null;
      this.used += text.length;
      if (this.used > this.limit) throw tooLarge(this.used);
      return text.toWellFormed();
    }
  }
  const read = (element, { type, attribute: name }, budget) =>
    element === null ? null : budget.take(type === "attribute" ? attribute(element, name) : textOf(element));
  const readFields = (element, fields, budget) =>
    fields.map((field) => {
      const found = field.selector === null ? element : find(field.selector, [element]).next().value ?? null;
      return read(found, field, budget);
    });
  const extractOne = ({ selector, type, attribute: name, fields }, budget) => {
    if (type !== "list") return read(find(selector).next().value ?? null, { type, attribute: name }, budget);
    for (const field of fields ?? []) if (field.selector !== null) check(field.selector);
    const each = { type: name === null ? "text" : "attribute", attribute: name };
    const of = fields ? (element) => readFields(element, fields, budget) : (element) => read(element, each, budget);
    return [...find(selector)].map(of);
  };
  const extract = ({ extractions, limit }) => {
    const budget = new Budget(limit);
    return extractions.map((each, index) => {
      try {
        return extractOne(each, budget);
      } catch (error) {
        throw Object.assign(error, { index });
      }
    });
  };
  const stored = (budget) => {
    let storage;
    try {
      storage = localStorage;
    } catch {
      return []; // a document without an origin of its own has none
    }
    const key = method(Storage.prototype, "key"), item = method(Storage.prototype, "getItem");
    const names = Array.from({ length: getter(Storage.prototype, "length")(storage) }, (_, i) => key(storage, i));
    return names.map((name) => [budget.take(name), budget.take(item(storage, name))]);
  };
  const state = ({ limit }) => {
    const budget = new Budget(limit);
    return { title: budget.take(titleOf(document)), storage: stored(budget) };
  };
  const matchesUrl = ({ pattern, url }) => new RegExp(pattern).test(url);

  // --- the way in ------------------------------------------------------------------------------------------------

  // A document comes before what is in it. A page that replaces its document all the time is met at that moment again
  // and again, since that is when it answers: so the first look at a document is when it is parsed, or shows something.
  const content = new Promise((done) => {
    if (readyState(document) !== "loading") return done();
    listen(document, "readystatechange", done);
    frame().then(done);
  });
  const filled = (look) => async (argument) => { await content; return look(argument); };
  const functions = {
    reach: filled(reach), isShown: filled(isShown), extract: filled(extract), state: filled(state),
    focusField, settle, rest, middle, matchesUrl,
  };
  const run = async (name, argument) => {
    try {
      return { value: await functions[name](argument) };
    } catch (error) {
      const { name: kind, message, index = null, size = null } = error;
      return { error: { kind, message, index, size } };
    }
  };
  return run;
})();
