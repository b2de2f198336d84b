// Elements from data. The law: what comes over the network becomes text, never markup, and reads as
// what it is; whoever wants an element gets it from here. This file must not know what is shown.

// make("td", {class: "x", onclick: f, "aria-label": "…"}, "text", child, …): children are elements
// or become text; null is left out.
export function make(name, attributes = {}, ...children) {
	const element = document.createElement(name);
	for (const [key, value] of Object.entries(attributes)) {
		if (value === null || value === undefined || value === false) continue;
		if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
		else element.setAttribute(key, value === true ? "" : value);
	}
	fill(element, ...children);
	return element;
}

// Control and format characters, with which a name could be read as another, percent-encoded as
// /announced writes them; not the joiners, without which scripts and emoji fall apart.
const UNSEEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const legible = (text) => String(text).replace(UNSEEN, encodeURIComponent);

export function fill(element, ...children) {
	element.replaceChildren(
		...children
			.flat()
			.filter((child) => child !== null && child !== undefined)
			.map((child) => (child instanceof Node ? child : legible(child))),
	);
}

export const byId = (id) => document.getElementById(id);

// Only when it differs, so that nothing is read aloud or selected away for no reason.
export function setText(element, text) {
	const seen = legible(text);
	if (element.textContent !== seen) element.textContent = seen;
}

// A table that keeps its rows: each has a key, and cells are redrawn only when they changed, so
// that focus stays on a button while numbers around it move.
//
// columns: [{title, cell(row) -> text | element | [elements], mark(row), class, actions}]. A column
// of elements says by its mark when a cell has to be made anew; without one that is every time.
export class Table {
	constructor(host, { label, columns, key, empty }) {
		this.columns = columns;
		this.key = key;
		this.rows = new Map();
		this.body = make("tbody");
		const head = columns.map((column) =>
			make(
				"th",
				{ scope: "col", class: column.class },
				column.actions ? make("span", { class: "unseen" }, column.title) : column.title,
			),
		);
		this.table = make("table", { "aria-label": label, tabindex: -1 }, make("thead", {}, make("tr", {}, head)), this.body);
		this.empty = make("p", { class: "empty", tabindex: -1 }, empty);
		fill(host, this.table, this.empty);
		this.show([]);
	}

	show(data) {
		const gone = new Set(this.rows.keys());
		let hadFocus = false;
		let place = this.body.firstChild;
		for (const datum of data) {
			const key = String(this.key(datum));
			gone.delete(key);
			let row = this.rows.get(key);
			if (!row) this.rows.set(key, (row = this.#makeRow()));
			this.#draw(row, datum);
			if (row.element === place) place = place.nextSibling;
			else this.body.insertBefore(row.element, place);
		}
		for (const key of gone) {
			const { element } = this.rows.get(key);
			hadFocus ||= element.contains(document.activeElement);
			element.remove();
			this.rows.delete(key);
		}
		this.table.hidden = data.length === 0;
		this.empty.hidden = data.length > 0;
		// Whoever came to a row by the keyboard goes on from where it was.
		if (hadFocus) (data.length ? this.table : this.empty).focus();
	}

	#makeRow() {
		const cells = this.columns.map((column) =>
			make("td", { class: column.class, "data-label": column.actions ? null : column.title }),
		);
		return { element: make("tr", {}, cells), cells, marks: [] };
	}

	#draw(row, datum) {
		this.columns.forEach((column, at) => {
			const mark = column.mark ? column.mark(datum) : null;
			if (mark !== null && mark === row.marks[at]) return;
			row.marks[at] = mark;
			const shown = column.cell(datum);
			if (shown instanceof Node || Array.isArray(shown)) fill(row.cells[at], shown);
			else setText(row.cells[at], shown ?? "–");
		});
	}
}
