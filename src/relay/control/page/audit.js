// The audit log, the latest first. This file must not know how questions travel.
import * as api from "./api.js";
import { Table, byId, make } from "./dom.js";
import * as format from "./format.js";

const PAGE = 100;
const FILTERS = ["action", "reason"];
const GRAVE = /deny|revoke|kick|breach|compromised/;

// Entries of the first format have the id where the others have a word, and the word among details.
export const id = (row) => (row.format > 1 ? row.id : row.reason);
export const reason = (row, detail) => [row.format > 1 ? row.reason : "", detail].filter(Boolean).join(" · ");

export class Audit {
	constructor(refresh) {
		this.table = new Table(byId("entries"), {
			label: "Audit log",
			key: (row) => row.number,
			empty: "Nothing is written yet.",
			columns: [
				{ title: "No.", class: "number", cell: (row) => row.number },
				{ title: "At", class: "fixed", cell: (row) => `${format.day(row.at).slice(0, 10)} ${format.clock(row.at)}` },
				{ title: "Action", cell: (row) => make("span", { class: GRAVE.test(row.action) ? "tag bad" : "tag" }, row.action), mark: (row) => row.action },
				{ title: "Actor", cell: (row) => row.actor || "–" },
				{ title: "Target", class: "mono", cell: (row) => row.target || "–" },
				{ title: "From", class: "mono", cell: (row) => row.address || "–" },
				{ title: "Tenant", cell: (row) => row.tenant || "–" },
				{ title: "Reason", cell: (row) => reason(row, row.detail) || "–" },
				{ title: "Id", class: "mono fixed", cell: (row) => id(row) || "–" },
				{ title: "Hash", class: "mono fixed", cell: (row) => row.hash.slice(0, 10) },
			],
		});
		for (const name of FILTERS) byId(name).addEventListener("change", () => refresh());
	}

	async load() {
		const asked = { limit: PAGE };
		for (const name of FILTERS) {
			const said = byId(name).value.trim();
			if (said) asked[name] = said;
		}
		const page = await api.get("/audit", asked);
		this.table.show(page.entries);
	}
}
