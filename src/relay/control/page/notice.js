// What the operator is told in passing, and asked before something cannot be undone. The law: news
// is said once, politely, also to those who listen instead of look. This file must not know why.
import { byId, fill, make, setText } from "./dom.js";

const STAY = 6000; // milliseconds

let timer;

export function tell(text, isBad = false) {
	const place = byId("notice");
	place.classList.toggle("bad", isBad);
	place.classList.add("seen");
	setText(place, text);
	clearTimeout(timer);
	timer = setTimeout(() => {
		place.classList.remove("seen");
		setText(place, "");
	}, STAY);
}

// One dialog: `fields` are elements with a name; answers their values, or null when it was left.
// <dialog> keeps the focus inside and gives it back.
export function ask({ title, text, fields = [], yes, isGrave = false }) {
	const dialog = make("dialog", { "aria-labelledby": "asked-title" });
	const form = make("form", { method: "dialog" });
	fill(
		form,
		make("h2", { id: "asked-title" }, title),
		text ? make("p", {}, text) : null,
		fields,
		make(
			"div",
			{ class: "choices" },
			make("button", { type: "button", class: "quiet", onclick: () => dialog.close("") }, "Cancel"),
			make("button", { type: "submit", class: isGrave ? "grave" : "main", value: "yes" }, yes),
		),
	);
	dialog.append(form);
	document.body.append(dialog);
	return new Promise((resolve) => {
		form.addEventListener("submit", (event) => {
			event.preventDefault(); // no form goes anywhere: the policy forbids it, rightly
			dialog.close("yes");
		});
		dialog.addEventListener("close", () => {
			const said = dialog.returnValue === "yes" ? Object.fromEntries(new FormData(form)) : null;
			dialog.remove();
			resolve(said);
		});
		dialog.showModal();
	});
}

export function field(name, label, attributes = {}, hint = null) {
	const id = `asked-${name}`;
	return make(
		"p",
		{ class: "field" },
		make("label", { for: id }, label),
		make("input", { id, name, autocomplete: "off", spellcheck: "false", ...attributes }),
		hint ? make("small", {}, hint) : null,
	);
}

export function choice(name, label, options) {
	const id = `asked-${name}`;
	return make(
		"p",
		{ class: "field" },
		make("label", { for: id }, label),
		make("select", { id, name }, options.map(([value, text]) => make("option", { value }, text))),
	);
}

// Does something on the operator's behalf and says how it went.
export async function attempt(work, done) {
	try {
		const answer = await work();
		tell(typeof done === "function" ? done(answer) : done);
		return answer;
	} catch (error) {
		tell(error.message, true);
		return null;
	}
}
