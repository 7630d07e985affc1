// Owns what the page does: tables that sort and filter, everything unfolded on paper.
"use strict";
(() => {
  const number = new Intl.Collator(undefined, { numeric: true });

  // Numbers before words; cells without a value last, whichever way the column is sorted.
  const compare = (a, b, sign) => {
    const [x, y] = [a.textContent, b.textContent];
    if (x === "" || y === "") return (x === "") - (y === "");
    const [m, n] = [a.dataset.number, b.dataset.number];
    if (m !== undefined && n !== undefined) return sign * (Number(m) - Number(n));
    if (m !== undefined || n !== undefined) return m !== undefined ? -1 : 1;
    return sign * number.compare(x, y);
  };

  const sortable = (table, rows) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", next);
        const sign = next === "descending" ? -1 : 1;
        const by = (a, b) => compare(a.cells[column], b.cells[column], sign);
        table.tBodies[0].append(...(next === "none" ? rows : [...rows].sort(by)));
      });
    });
  };

  const filterable = (data, rows) => {
    const words = data.querySelector("input");
    const choices = [...data.querySelectorAll("select")];
    const count = data.querySelector(".count");
    const texts = rows.map(row => [...row.cells].map(cell => cell.textContent.toLowerCase()).join(" "));
    const show = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, place) => {
        const chosen = choices.every(c => c.value === "*" || row.getAttribute(`data-${c.dataset.filter}`) === c.value);
        row.hidden = !(chosen && wanted.every(word => texts[place].includes(word)));
        shown += !row.hidden;
      });
      count.textContent = `${shown} of ${rows.length} rows`;
    };
    words.addEventListener("input", show);
    for (const choice of choices) choice.addEventListener("change", show);
    data.querySelector(".clear").addEventListener("click", () => {
      words.value = "";
      for (const choice of choices) choice.value = "*";
      show();
    });
    data.querySelector(".tools").hidden = rows.length < 2;
    show();
  };

  for (const data of document.querySelectorAll(".data")) {
    const table = data.querySelector("table");
    const rows = [...table.tBodies[0].rows];
    sortable(table, rows);
    filterable(data, rows);
  }

  // Paper has no way to unfold.
  const paper = window.matchMedia("print");
  let folded = [];
  const unfold = printing => {
    if (printing) folded = [...document.querySelectorAll("details:not([open])")];
    for (const details of folded) details.open = printing;
  };
  paper.addEventListener("change", () => unfold(paper.matches));
  unfold(paper.matches);
})();
