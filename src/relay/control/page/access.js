// Who may: API tokens, revocations, signing keys. The law: a new token's secret is shown once and
// kept nowhere by this page. This file must not know how questions travel.
import * as api from "./api.js";
import { Table, byId, fill, make, setText } from "./dom.js";
import * as format from "./format.js";
import { ask, attempt, choice, field, tell } from "./notice.js";
import { setToken } from "./tryit.js";

const ROWS = 200;
const LIVES = [["3600", "an hour"], ["86400", "a day"], ["2592000", "30 days"], ["31536000", "a year"], ["", "until it is revoked"]];
const KINDS = [["sub", "subject (sub)"], ["jti", "token id (jti)"], ["kid", "key id (kid)"], ["tenant", "tenant"]];

const tag = (text, kind) => make("span", { class: `tag ${kind}` }, text);

// "" is all of it; an empty field is nothing. A comma-separated list otherwise.
const list = (text) => {
	const parts = text.split(",").map((each) => each.trim()).filter(Boolean);
	return parts.includes("*") ? [""] : parts;
};

export class Access {
	constructor(refresh) {
		this.refresh = refresh;
		this.#tables();
		byId("mint").addEventListener("click", () => this.#mint());
		byId("revoke").addEventListener("click", () => this.#revoke());
		byId("rotate").addEventListener("click", () => this.#rotate());
	}

	#tables() {
		this.tokens = new Table(byId("tokens"), {
			label: "API tokens",
			key: (row) => row.prefix,
			empty: "The store holds no API tokens.",
			columns: [
				{ title: "Name", cell: (row) => row.name },
				{ title: "Prefix", class: "mono", cell: (row) => row.prefix },
				{ title: "Root", class: "mono", cell: (row) => format.path(row.root) },
				{ title: "Publish", class: "mono", cell: (row) => format.prefixes(row.publish) },
				{ title: "Watch", class: "mono", cell: (row) => format.prefixes(row.subscribe) },
				{ title: "Ends", class: "fixed", cell: (row) => format.day(row.expires) },
				{ title: "Last used", class: "fixed", cell: (row) => format.day(row.last_used) },
				{ title: "State", cell: state, mark: (row) => `${row.revoked} ${isOver(row)}` },
				{ title: "Actions", class: "actions", actions: true, cell: (row) => this.#tokenActions(row), mark: (row) => String(row.revoked) },
			],
		});
		this.revocations = new Table(byId("revocations"), {
			label: "Revocations",
			key: (row) => row.number,
			empty: "Nobody is revoked.",
			columns: [
				{ title: "No.", class: "fixed", cell: (row) => row.number },
				{ title: "By", class: "fixed", cell: (row) => row.by },
				{ title: "Value", class: "mono", cell: (row) => row.value || "everybody" },
				{ title: "Issued before", class: "fixed", cell: (row) => format.day(row.issued_before) },
				{ title: "Ends", class: "fixed", cell: (row) => format.day(row.expires) },
				{ title: "Since", class: "fixed", cell: (row) => format.day(row.created) },
				{ title: "Reason", cell: (row) => row.reason || "–" },
				{ title: "Actions", class: "actions", actions: true, cell: (row) => this.#withdrawal(row), mark: (row) => String(row.number) },
			],
		});
		this.keys = new Table(byId("keys"), {
			label: "Signing keys",
			key: (row) => row.kid,
			empty: "This relay signs no tokens (issuer.enabled).",
			columns: [
				{ title: "Key", class: "mono", cell: (row) => row.kid },
				{ title: "State", cell: (row) => tag(row.compromised ? `${row.state}, compromised` : row.state, row.compromised ? "bad" : row.state === "active" ? "good" : ""), mark: (row) => `${row.state} ${row.compromised}` },
				{ title: "Algorithm", cell: (row) => row.algorithm },
				{ title: "Made", class: "fixed", cell: (row) => format.day(row.created) },
				{ title: "Signs since", class: "fixed", cell: (row) => format.day(row.activated) },
				{ title: "Ends", class: "fixed", cell: (row) => format.day(row.ends) },
			],
		});
	}

	async load() {
		const [tokens, revocations, keys] = await Promise.all([
			api.get("/tokens", { limit: ROWS }),
			api.get("/revocations", { limit: ROWS }),
			this.#signingKeys(),
		]);
		this.tokens.show(tokens.tokens);
		this.revocations.show(revocations.revocations);
		setText(byId("h-tokens"), tokens.cursor ? `API tokens, the first ${ROWS}` : "API tokens");
		setText(byId("h-revocations"), revocations.cursor ? `Revocations, the first ${ROWS}` : "Revocations");
		this.keys.show(keys.keys);
		this.signing = keys.keys.find((key) => key.state === "active")?.kid;
		byId("rotate").hidden = keys.keys.length === 0;
	}

	// Whether a relay signs tokens is not changed while it runs, so it is not asked twice.
	async #signingKeys() {
		if (this.signs === false) return { keys: [] };
		try {
			return await api.get("/keys");
		} catch (error) {
			if (error.status !== 404) throw error;
			this.signs = false;
			return { keys: [] };
		}
	}

	#tokenActions(row) {
		if (row.revoked !== null) return [];
		return [make("button", { type: "button", class: "ends", "aria-label": `Revoke token ${row.name}`, onclick: () => this.#revokeToken(row) }, "Revoke")];
	}

	#withdrawal(row) {
		return [make("button", { type: "button", "aria-label": `Withdraw revocation ${row.number}`, onclick: () => this.#withdraw(row) }, "Withdraw")];
	}

	async #mint() {
		const given = await ask({
			title: "Mint a token",
			fields: [
				field("name", "Name", { required: true, maxlength: 200, autofocus: true }),
				field("root", "Root", { placeholder: "the very top" }),
				field("publish", "May publish below", { value: "*" }, "Prefixes below the root, with commas between; * is all of it, nothing is none."),
				field("subscribe", "May watch below", { value: "*" }),
				choice("life", "Lives for", LIVES),
			],
			yes: "Mint",
		});
		if (!given) return;
		const made = await attempt(
			() =>
				api.post("/tokens", {
					name: given.name,
					root: given.root,
					publish: list(given.publish),
					subscribe: list(given.subscribe),
					expires: given.life ? Math.floor(Date.now() / 1000) + Number(given.life) : null,
				}),
			"Minted. It is shown this once.",
		);
		if (made) this.#showMinted(made);
		this.refresh();
	}

	#showMinted(made) {
		const place = byId("minted");
		const close = () => {
			fill(place);
			place.hidden = true;
			byId("mint").focus();
		};
		fill(
			place,
			make("strong", {}, `${made.name}: copy it now, it is not kept`),
			make("code", { class: "mono", id: "minted-token" }, made.token),
			make(
				"div",
				{ class: "choices" },
				make("button", { type: "button", onclick: () => copy(made.token) }, "Copy"),
				make(
					"button",
					{
						type: "button",
						onclick: () => {
							setToken(made.root, made.token);
							close();
							location.hash = "#try";
						},
					},
					"Use in Try it",
				),
				make("button", { type: "button", class: "quiet", onclick: close }, "Done"),
			),
		);
		place.hidden = false;
	}

	async #revokeToken(row) {
		if (!(await ask({ title: `Revoke ${row.name}?`, text: "It is refused from now on, as is whatever was made from it, and its sessions end everywhere. A token cannot be made good again.", yes: "Revoke", isGrave: true }))) return;
		await attempt(() => api.remove(`/tokens/${api.part(row.prefix)}`), `Revoked ${row.name}.`);
		this.refresh();
	}

	async #revoke() {
		const given = await ask({
			title: "Revoke",
			text: "Refused from now on by every relay of the store, whatever the credential; running sessions end.",
			fields: [choice("by", "By", KINDS), field("value", "Value", { required: true }), field("reason", "Reason", { maxlength: 200 })],
			yes: "Revoke",
			isGrave: true,
		});
		if (!given) return;
		await attempt(() => api.post("/revocations", given), `Revoked ${given.by} ${given.value}.`);
		this.refresh();
	}

	async #withdraw(row) {
		if (!(await ask({ title: `Withdraw revocation ${row.number}?`, text: `Whoever has ${row.by} ${row.value} may come in again.`, yes: "Withdraw" }))) return;
		await attempt(() => api.remove(`/revocations/${row.number}`), `Withdrew revocation ${row.number}.`);
		this.refresh();
	}

	async #rotate() {
		const kid = this.signing; // the one that was seen: somebody else may rotate meanwhile
		const said = await ask({
			title: "Rotate the signing keys?",
			text: "The next key signs from now on. Tokens of the one that signed still hold for a day.",
			fields: [choice("compromised", "The key that signed", [["", "retires after a day"], ["yes", "is compromised: refuse it at once"]])],
			yes: "Rotate",
			isGrave: true,
		});
		if (!said) return;
		const query = new URLSearchParams({ kid, ...(said.compromised && { compromised: "true" }) });
		await attempt(() => api.ask("POST", `/keys/rotate?${query}`), "Rotated.");
		this.refresh();
	}
}

const isOver = (row) => row.expires !== null && row.expires * 1000 < Date.now();

function state(row) {
	if (row.revoked !== null) return tag("revoked", "bad");
	return isOver(row) ? tag("ended", "") : tag("good", "good");
}

async function copy(text) {
	try {
		await navigator.clipboard.writeText(text);
		tell("Copied.");
	} catch {
		tell("The browser did not allow it: select the token and copy it.", true);
	}
}
