// What happens now: sessions, broadcasts, other relays, and the figures above them. The law: what
// ends somebody's session is asked twice. This file must not know how questions travel.
import * as api from "./api.js";
import { Table, byId, make, setText } from "./dom.js";
import * as format from "./format.js";
import { ask, attempt, field } from "./notice.js";

const ROWS = 200;
const NOBODY = "Nobody is connected.";
const OURS = ".internal"; // below it relays tell each other about themselves
const rates = new format.Rates();

const text = (value, kind = "mono") => make("span", { class: kind }, value);

function who(session) {
	if (session.root === null) return [text("deciding", "tag")];
	return [
		text(session.subject ?? session.jti ?? (session.credential || "nobody in particular"), ""),
		" ",
		session.is_relay ? text("relay", "tag good") : null,
	];
}

export class Live {
	constructor(refresh) {
		this.refresh = refresh;
		this.sessions = new Table(byId("sessions"), {
			label: "Sessions",
			key: (row) => row.id,
			empty: NOBODY,
			columns: [
				{ title: "Who", cell: who, mark: (row) => `${row.root}${row.subject}${row.jti}` },
				{ title: "Root", class: "mono", cell: (row) => format.path(row.root ?? "–") },
				{
					title: "May",
					cell: rights,
					mark: (row) => JSON.stringify([row.publish, row.subscribe]),
				},
				{ title: "From", class: "mono", cell: (row) => row.remote },
				{ title: "In", class: "number", cell: (row) => format.bits(8 * rates.of(`i ${row.id}`, row.bytes_in)) },
				{ title: "Out", class: "number", cell: (row) => format.bits(8 * rates.of(`o ${row.id}`, row.bytes_out)) },
				{ title: "RTT", class: "number", cell: (row) => `${row.rtt_ms.toFixed(0)} ms` },
				{ title: "For", class: "number", cell: (row) => format.span(row.seconds) },
				{ title: "Actions", class: "actions", actions: true, cell: (row) => this.actions(row), mark: (row) => row.id },
			],
		});
		this.broadcasts = new Table(byId("broadcasts"), {
			label: "Broadcasts",
			key: (row) => row.path,
			empty: "Nothing is on air.",
			columns: [
				{ title: "Path", class: "mono", cell: (row) => format.path(row.path) },
				{ title: "Tracks", cell: tracks, mark: (row) => JSON.stringify(row.tracks.map((each) => [each.name, each.latest])) },
				{ title: "Viewers", class: "number", cell: (row) => format.count(row.viewers) },
				{ title: "Rate", class: "number", cell: (row) => format.bits(sum(row.tracks, "bits_per_second")) },
				{ title: "Groups", class: "number", cell: (row) => `${groupRate(row).toFixed(1)} /s` },
				{ title: "Cached", class: "number", cell: (row) => format.bytes(sum(row.tracks, "cached_bytes")) },
				{ title: "Ways", class: "number", cell: (row) => ways(row) },
			],
		});
		this.nodes = new Table(byId("nodes"), {
			label: "Other relays",
			key: (row) => row.name,
			empty: "This relay stands alone.",
			columns: [
				{ title: "Relay", class: "mono", cell: (row) => row.name },
				{ title: "State", cell: (row) => text(row.state, row.isUp ? "tag good" : "tag bad"), mark: (row) => row.state },
				{ title: "RTT", class: "number", cell: (row) => row.rtt },
			],
		});
		byId("filter").addEventListener("input", () => refresh());
	}

	async load() {
		const tenant = byId("filter").value.trim();
		const query = tenant ? { tenant, limit: ROWS } : { limit: ROWS };
		const [sessions, broadcasts, mesh, summary] = await Promise.all([
			api.get("/sessions", query),
			api.get("/broadcasts", { limit: ROWS }),
			api.get("/nodes"),
			api.get("/summary"),
		]);
		setText(this.sessions.empty, tenant ? `Nobody of the tenant ${tenant} is connected.` : NOBODY);
		this.sessions.show(sessions.sessions);
		const onAir = broadcasts.broadcasts.filter((each) => each.path.split("/")[0] !== OURS);
		this.broadcasts.show(onAir);
		this.nodes.show(relays(mesh));
		const ids = sessions.sessions.map((each) => each.id);
		rates.keep("i ", ids.map((id) => `i ${id}`));
		rates.keep("o ", ids.map((id) => `o ${id}`));
		rates.keep("g ", onAir.flatMap((each) => each.tracks.map((track) => groupsOf(each, track))));
		setText(byId("h-sessions"), (sessions.cursor ? `Sessions, the first ${ROWS}` : "Sessions") + without(sessions));
		setText(byId("h-broadcasts"), (broadcasts.cursor ? `Broadcasts, the first ${ROWS}` : "Broadcasts") + without(broadcasts));
		this.#tiles(mesh, summary, `${onAir.length}${broadcasts.cursor ? "+" : ""}`);
		return { mesh, summary };
	}

	#tiles(mesh, summary, broadcasts) {
		const tiles = {
			sessions: format.count(mesh.own.sessions),
			broadcasts,
			in: format.bits(8 * rates.of("in", summary.bytes_in)),
			out: format.bits(8 * rates.of("out", summary.bytes_out)),
			admitted: format.count(summary.admitted),
			refused: format.count(sum(summary.refused, "count")),
			dropped: format.count(summary.groups_dropped),
			cached: format.bytes(summary.cached_bytes),
		};
		for (const [name, value] of Object.entries(tiles)) setText(byId(`tile-${name}`), value);
	}

	actions(row) {
		const named = `${row.subject ?? row.jti ?? "session"} at ${format.path(row.root ?? "")}`;
		const kick = make("button", { type: "button", class: "ends", "aria-label": `Kick ${named}`, onclick: () => this.#kick(row, named) }, "Kick");
		const by = row.jti ? ["jti", row.jti] : row.subject ? ["sub", row.subject] : null;
		if (!by) return [kick];
		const revoke = make("button", { type: "button", class: "ends", "aria-label": `Revoke ${named}`, onclick: () => this.#revoke(by, named) }, "Revoke");
		return [kick, revoke];
	}

	async #kick(row, named) {
		const said = await ask({
			title: `Kick ${named}?`,
			text: "Its session ends now; it may come again.",
			fields: [field("reason", "Reason, for the audit log", { maxlength: 200 })],
			yes: "Kick",
			isGrave: true,
		});
		if (!said) return;
		await attempt(() => api.post(`/sessions/${api.part(row.id)}/kick`, { reason: said.reason }), `Kicked ${named}.`);
		this.refresh();
	}

	async #revoke([by, value], named) {
		const said = await ask({
			title: `Revoke ${named}?`,
			text: `Whatever carries ${by} ${value} is refused from now on, on every relay of the store, and its sessions end.`,
			fields: [field("reason", "Reason, for the audit log", { maxlength: 200 })],
			yes: "Revoke",
			isGrave: true,
		});
		if (!said) return;
		await attempt(() => api.post("/revocations", { by, value, reason: said.reason }), `Revoked ${named}.`);
		this.refresh();
	}
}

const sum = (list, name) => list.reduce((total, each) => total + each[name], 0);

function rights(row) {
	if (row.root === null) return [];
	const publish = format.prefixes(row.publish);
	const watch = format.prefixes(row.subscribe);
	const right = (verb, prefixes) => make("div", {}, make("span", { class: "dim" }, `${verb} `), prefixes);
	return publish === watch ? [right("publish, watch", watch)] : [right("publish", publish), right("watch", watch)];
}

function tracks(row) {
	if (!row.tracks.length) return [make("span", { class: "dim" }, "none asked for")];
	return row.tracks.map((track) =>
		make("div", {}, text(track.name), make("span", { class: "dim" }, track.latest === null ? "" : `  group ${track.latest}`)),
	);
}

const groupsOf = (row, track) => `g ${row.path}\n${track.name}`;

function groupRate(row) {
	return sum(row.tracks.map((each) => ({ latest: rates.of(groupsOf(row, each), each.latest ?? 0) })), "latest");
}

const ways = (row) => row.routes.map((way) => (way.hops.length > 1 ? `${way.hops.length} hops` : "here")).join(", ") || "–";

// Of whose sessions nothing is known: a worker that did not answer.
const without = (page) => (page.silent.length ? `, without worker ${page.silent.join(", ")}` : "");

function relays(mesh) {
	const known = mesh.nodes.map((node) => {
		const rtts = (node.connections ?? []).map((each) => each.rtt_ms);
		return { name: String(node.node), state: "linked", isUp: true, rtt: rtts.length ? `${Math.min(...rtts).toFixed(0)} ms` : "–" };
	});
	const down = mesh.links
		.filter((link) => !link.up)
		.map((link) => ({ name: String(link.peer), state: "down", isUp: false, rtt: "–" }));
	return [...known, ...down];
}
