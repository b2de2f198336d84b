// Who was turned away and why, and what tenants may use and do use. This file must not know how
// questions travel.
import * as api from "./api.js";
import { id, reason } from "./audit.js";
import { Table, byId, fill, make, setText } from "./dom.js";
import * as format from "./format.js";
import { ask, attempt, choice, field } from "./notice.js";

const LATEST = 6;
const NEAR = 0.8; // of a limit, from where a bar warns

const NAMES = {
	sessions: "Sessions",
	publishers: "Publishers",
	subscribers: "Subscribers",
	broadcasts: "Broadcasts",
	tracks: "Subscriptions",
	ingress_bits: "In",
	egress_bits: "Out",
	cached_bytes: "Cached",
	announces_per_second: "Announcements a second",
	sessions_per_second: "New sessions a second",
};
const FROM = { ingress_bits: "ingress_bytes", egress_bits: "egress_bytes" };

const rates = new format.Rates();
const shown = (name, value) =>
	name.endsWith("_bits") ? format.bits(value) : name.endsWith("_bytes") ? format.bytes(value) : format.count(value);

// Bars that stay where they are while their figures move: one for each key.
class Bars {
	constructor(host, kind = "") {
		this.host = host;
		this.kind = kind;
		this.bars = new Map();
	}

	show(rows) {
		const keys = rows.map((row) => row.key);
		for (const row of rows) {
			let bar = this.bars.get(row.key);
			if (!bar) this.bars.set(row.key, (bar = this.#make(row.name)));
			setText(bar.value, row.text);
			bar.track.hidden = !row.limit;
			bar.element.classList.toggle("open", !row.limit);
			const part = row.limit ? Math.min(1, row.value / row.limit) : 0;
			bar.fill.style.width = `${part * 100}%`;
			bar.fill.classList.toggle("warn", part >= NEAR && part < 1);
			bar.fill.classList.toggle("full", part >= 1);
			bar.track.setAttribute("aria-valuenow", row.value);
			bar.track.setAttribute("aria-valuemax", row.limit);
			bar.track.setAttribute("aria-valuetext", row.text);
		}
		for (const key of [...this.bars.keys()]) if (!keys.includes(key)) this.bars.delete(key);
		const wanted = keys.map((key) => this.bars.get(key).element);
		if (wanted.some((element, at) => this.host.children[at] !== element) || this.host.children.length !== wanted.length) {
			fill(this.host, wanted);
		}
	}

	#make(name) {
		const value = make("span");
		const inner = make("i");
		const track = make("div", { class: "track", role: "meter", "aria-label": name, "aria-valuemin": 0 }, inner);
		const element = make("div", { class: `bar ${this.kind}` }, make("div", { class: "line" }, make("span", {}, name), value), track);
		return { element, value, fill: inner, track };
	}
}

// The reason, and the id under which the stranger may ask for it.
const why = (row) => [
	make("div", {}, reason(row, row.detail.replace(/^over \w+(, |$)/, "")) || "refused"),
	make("div", { class: "dim" }, [row.target, id(row) && `id ${id(row)}`].filter(Boolean).join(" · ")),
];

export class Denials {
	constructor() {
		const host = make("div", { class: "bars" });
		this.none = make("p", { class: "empty" }, "Nobody was turned away since the start.");
		fill(byId("reasons"), host, this.none);
		this.bars = new Bars(host, "denial");
		this.table = new Table(byId("denials"), {
			label: "Latest denials",
			key: (row) => row.number,
			empty: "None in the audit log.",
			columns: [
				{ title: "At", class: "fixed", cell: (row) => format.clock(row.at) },
				{ title: "Why", cell: why, mark: (row) => row.number },
				{ title: "From", class: "mono", cell: (row) => row.address },
			],
		});
	}

	async load(summary) {
		const most = Math.max(1, ...summary.refused.map((each) => each.count));
		this.bars.show(
			summary.refused.map((each) => ({
				key: each.name,
				name: each.name.replaceAll("_", " "),
				value: each.count,
				limit: most,
				text: format.count(each.count),
			})),
		);
		this.none.hidden = summary.refused.length > 0;
		const page = await api.get("/audit", { action: "deny", limit: LATEST });
		this.table.show(page.entries);
	}
}

export class Quotas {
	constructor(refresh) {
		this.refresh = refresh;
		this.host = byId("quotas");
		this.tenants = new Map();
		byId("set-quota").addEventListener("click", () => this.#set(""));
	}

	async load() {
		const { tenants, others } = await api.get("/quotas");
		this.others = others;
		const names = tenants.map((each) => each.tenant);
		for (const each of tenants) this.#show(each);
		for (const name of [...this.tenants.keys()]) if (!names.includes(name)) this.tenants.delete(name);
		const wanted = names.map((name) => this.tenants.get(name).element);
		rates.keep("", names.flatMap((name) => Object.keys(FROM).map((each) => `${name}\n${each}`)));
		if (!wanted.length) fill(this.host, make("p", { class: "empty" }, "No tenant is here."));
		else if (wanted.some((element, at) => this.host.children[at] !== element) || this.host.children.length !== wanted.length) {
			fill(this.host, wanted);
		}
	}

	#show({ tenant, limits, said, usage }) {
		let part = this.tenants.get(tenant);
		if (!part) this.tenants.set(tenant, (part = this.#make(tenant)));
		part.said.hidden = said === null;
		part.reset.hidden = said === null;
		const rows = Object.keys(NAMES).map((name) => this.#row(tenant, name, limits[name], usage));
		const told = rows.filter((row) => row !== null);
		part.bars.show([...told.filter((row) => row.limit), ...told.filter((row) => !row.limit)]);
	}

	// Limits that hold have a bar; what is unlimited is told when there is any of it.
	#row(tenant, name, limit, usage) {
		const from = FROM[name] ?? name;
		if (!(from in usage)) return limit ? { key: name, name: NAMES[name], value: 0, limit, text: `up to ${shown(name, limit)}` } : null;
		const value = name in FROM ? 8 * rates.of(`${tenant}\n${name}`, usage[from]) : usage[from];
		if (!limit && !value) return null;
		return { key: name, name: NAMES[name], value, limit, text: limit ? `${shown(name, value)} of ${shown(name, limit)}` : shown(name, value) };
	}

	#make(tenant) {
		const named = tenant || "the very top";
		const said = make("span", { class: "tag" }, "set here");
		const edit = tenant
			? make("button", { type: "button", class: "quiet", "aria-label": `Set quota of ${named}`, onclick: () => this.#set(tenant) }, "Set")
			: null;
		const reset = make("button", { type: "button", class: "quiet", "aria-label": `Reset quota of ${named}`, onclick: () => this.#reset(tenant) }, "Reset");
		const bars = make("div", { class: "bars" });
		const element = make("div", { class: "tenant", "data-tenant": tenant }, make("div", { class: "line" }, make("strong", {}, named), said, edit, reset), bars);
		return { element, said, reset, bars: new Bars(bars) };
	}

	async #set(tenant) {
		const given = await ask({
			title: tenant ? `Quota of ${tenant}` : "Quota of a tenant",
			text: "In force at once on every relay of the store, for running sessions too. 0 is unlimited.",
			fields: [
				tenant ? null : field("tenant", "Tenant", { required: true }),
				choice("name", "What", Object.entries(NAMES).map(([value, title]) => [value, value.endsWith("_bits") ? `${title}, bit/s` : value.endsWith("_bytes") ? `${title}, bytes` : title])),
				field("limit", "Limit", { type: "number", min: 0, max: 2 ** 53, step: 1, required: true, value: 0 }),
			].filter(Boolean),
			yes: "Set",
		});
		if (!given) return;
		const name = tenant || given.tenant.trim();
		const place = `/quotas/${api.part(name)}`;
		await attempt(async () => {
			const { said } = await api.get(place); // what was said of it before stays said
			await api.put(place, { ...said, [given.name]: Number(given.limit) });
		}, `${name}: ${NAMES[given.name].toLowerCase()} limited to ${shown(given.name, Number(given.limit))}.`);
		this.refresh();
	}

	async #reset(tenant) {
		if (!(await ask({ title: `Reset the quota of ${tenant}?`, text: "It is as the settings say again.", yes: "Reset" }))) return;
		await attempt(() => api.remove(`/quotas/${api.part(tenant)}`), `${tenant}: as the settings say.`);
		this.refresh();
	}
}
