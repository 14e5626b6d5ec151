// What a page shows, in lines, and its elements by number; runs in a world of its own, apart from the page's scripts.
(() => {
  const CONTROLS = ["input", "textarea", "select", "option", "button", "a"];
  const HIDDEN = "#query, #reward-display, #click-canvas, #sync-task-cover, script, style";
  const tidy = (text) => text.replace(/\s+/g, " ").trim();
  const quoted = (text) => JSON.stringify(text.length > 60 ? text.slice(0, 60) + "..." : text);
  const tag = (element) => element.tagName.toLowerCase();
  const isShown = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(element).visibility === "visible";
  };
  const ownText = (element) => tidy([...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join(" "));
  const named = (element) => element.closest("label") && element.matches("input") ? ownText(element.closest("label")) : ownText(element);

  const describe = (element) => {
    const type = element.matches("input") && element.type !== "text" ? "." + element.type : "";
    let text = named(element);
    if (element.matches("input[type=submit], input[type=button]")) text = element.value;
    let line = tag(element) + type + (text || !CONTROLS.includes(tag(element)) ? " " + quoted(text) : "");
    if (element.matches("input[type=checkbox], input[type=radio]")) line += element.checked ? " on" : " off";
    else if (element.matches("input, textarea") && element.value && !type.match(/submit|button/)) line += " = " + quoted(element.value);
    else if (element.matches("option") && element.selected) line += " on";
    return line;
  };

  let elements = [];
  const walk = (element) => {
    if (element.matches(HIDDEN)) return;
    const isOption = element.matches("option");
    if (isOption || isShown(element)) {
      const isNameOfControl = element.matches("label") && element.querySelector("input");
      if (!isNameOfControl && (CONTROLS.includes(tag(element)) || ownText(element))) elements.push(element);
    }
    for (const child of element.children) walk(child);
  };

  globalThis.list = (most) => {
    elements = [];
    walk(document.body);
    elements = elements.slice(0, most);
    return elements.map((element, at) => `${at + 1} ${describe(element)}`).join("\n");
  };

  // Where to click on an element: [x, y], or a reason in words why not, or null where that has been done.
  globalThis.aim = (number) => {
    const element = elements[number - 1];
    if (!element || !element.isConnected) return "there is no such element";
    if (element.matches("option")) {
      if (!element.selected) {
        element.selected = true;
        for (const name of ["input", "change"]) element.closest("select").dispatchEvent(new Event(name, { bubbles: true }));
      }
      return null;
    }
    element.scrollIntoView({ block: "nearest" });
    const box = element.getClientRects()[0];
    if (!box) return "it cannot be seen";
    const x = box.left + box.width / 2, y = box.top + box.height / 2;
    const hit = document.elementFromPoint(x, y);
    return hit && (element.contains(hit) || hit.contains(element)) ? [x, y] : "something covers it";
  };

  // Puts the cursor into an element, all of its text chosen: a reason in words why not, or null.
  globalThis.enter = (number) => {
    const element = elements[number - 1];
    if (!element || !element.isConnected) return "there is no such element";
    if (!element.matches("textarea, input:not([type=checkbox], [type=radio], [type=button], [type=submit], [type=range], [type=color], [type=file])"))
      return "it takes no text";
    if (element.disabled || element.readOnly) return "it takes no text";
    element.focus();
    if (document.activeElement === element) element.select();
    return null;
  };
})();
