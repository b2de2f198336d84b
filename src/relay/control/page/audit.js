// The audit log, the latest first. This file must not know how questions travel.
import * as api from "./api.js";
import { Table, byId, make } from "./dom.js";
import * as format from "./format.js";

const PAGE = 100;
const GRAVE = /deny|revoke|kick|breach|compromised/;

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
				{ title: "Reason", cell: (row) => [row.reason, row.detail].filter(Boolean).join(" · ") || "–" },
				{ title: "Hash", class: "mono", cell: (row) => row.hash.slice(0, 10) },
			],
		});
		byId("action").addEventListener("change", () => refresh());
	}

	async load() {
		const action = byId("action").value.trim();
		const page = await api.get("/audit", action ? { action, limit: PAGE } : { limit: PAGE });
		this.table.show(page.entries);
	}
}
