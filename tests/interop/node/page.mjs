// What runs inside a page: one MoQ session of @moq/net, its publications and what it watches.
// Its job is to report exactly what the library delivered; its law is that a call either answers or
// fails within its own deadline, never hangs. It must not know tests, nor which relay it talks to.
import { Broadcast, Connection, Path, Time } from "@moq/net";

const KEEP_MS = 120_000; // how old a group may grow before anybody may skip it: longer than any test

let connection;
let ended; // text, once the session is over

// The library does not pass on why a session was closed; the browser knows.
window.WebTransport = class extends window.WebTransport {
	constructor(...args) {
		super(...args);
		this.closed.then(
			({ closeCode, reason }) => (ended = `closed with code ${closeCode}: ${reason}`),
			(error) => (ended = describe(error)),
		);
	}
};

const publications = [];
const watches = [];
const listenings = [];

const toBytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

function toBase64(bytes) {
	let text = "";
	for (let at = 0; at < bytes.length; at += 0x8000) {
		text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
	}
	return btoa(text);
}

// An error with everything it was made of: AggregateError hides the interesting ones.
function describe(error) {
	const causes = [...(error?.errors ?? []), ...(error?.cause ? [error.cause] : [])].map(describe);
	const code = error?.code === undefined ? "" : ` (code ${error.code})`;
	const own = `${error?.name ?? typeof error}: ${error?.message ?? error}${code}`;
	return causes.length ? `${own} [${causes.join("; ")}]` : own;
}

// A condition that others re-check after every change.
class Changes {
	#waiting = new Set();

	notify() {
		for (const wake of this.#waiting) wake();
	}

	async until(check, timeout, describeState) {
		const deadline = performance.now() + timeout;
		while (!check()) {
			const left = deadline - performance.now();
			if (left <= 0) throw new Error(`timeout after ${timeout} ms: ${describeState()}`);
			let wake;
			let timer;
			await new Promise((resolve) => {
				wake = resolve;
				this.#waiting.add(wake);
				timer = setTimeout(resolve, left);
			});
			clearTimeout(timer);
			this.#waiting.delete(wake);
		}
	}
}

class Watch {
	#changes = new Changes();
	#groups = new Map(); // sequence -> {frames, complete}
	#failure; // of the track as a whole
	#finished = false;
	#subscriber;
	#broadcast;

	constructor(broadcast, track, keep) {
		this.#broadcast = connection.consume(Path.from(broadcast));
		this.#subscriber = this.#broadcast.track(track).subscribe({ latencyMax: keep });
		void this.#run();
	}

	async #run() {
		try {
			for (;;) {
				const group = await this.#subscriber.recvGroup();
				if (!group) break;
				void this.#read(group);
			}
			this.#finished = true;
		} catch (error) {
			this.#failure = describe(error);
		}
		this.#changes.notify();
	}

	async #read(group) {
		const entry = { frames: [], complete: false };
		this.#groups.set(group.sequence, entry);
		try {
			for (;;) {
				const frame = await group.readFrameSequence();
				if (!frame) break;
				const timestamp = Math.round(frame.timestamp.asMicros());
				entry.frames.push([group.sequence, frame.sequence, timestamp, toBase64(frame.payload)]);
				this.#changes.notify();
			}
			entry.complete = true;
		} catch (error) {
			entry.failure = describe(error);
		}
		this.#changes.notify();
	}

	#state() {
		const groups = [...this.#groups].map(
			([sequence, entry]) => `${sequence}:${entry.frames.length}${entry.complete ? "" : "+"}${entry.failure ?? ""}`,
		);
		return `groups ${groups.join(" ") || "none"}, ${this.#failure ?? (this.#finished ? "finished" : "open")}`;
	}

	async collect({ groups = 0, frames = 0, timeout }) {
		const complete = () => [...this.#groups.values()].filter((entry) => entry.complete).length;
		const arrived = () => [...this.#groups.values()].reduce((sum, entry) => sum + entry.frames.length, 0);
		const enough = () => complete() >= groups && arrived() >= frames;
		await this.#changes.until(() => enough() || this.#failure, timeout, () => this.#state());
		if (!enough()) throw new Error(`refused: ${this.#state()}`);
		const sequences = [...this.#groups.keys()].sort((a, b) => a - b);
		return sequences.flatMap((sequence) => this.#groups.get(sequence).frames);
	}

	async over({ timeout }) {
		const isOver = () => this.#failure !== undefined || this.#finished;
		await this.#changes.until(isOver, timeout, () => this.#state());
		return this.#failure ?? "finished";
	}

	close() {
		this.#subscriber.close();
		this.#broadcast.close();
	}
}

class Listening {
	#changes = new Changes();
	#heard = [];
	#over;

	constructor(prefix) {
		void this.#run(connection.announced(Path.from(prefix)));
	}

	async #run(announced) {
		try {
			for (;;) {
				const event = await announced.next();
				if (!event) break;
				this.#heard.push([event.path, event.active]);
				this.#changes.notify();
			}
			this.#over = "ended";
		} catch (error) {
			this.#over = describe(error);
		}
		this.#changes.notify();
	}

	async until({ path, active, timeout }) {
		const met = () => (this.#heard.findLast(([heard]) => heard === path)?.[1] ?? false) === active;
		const state = () => `heard ${JSON.stringify(this.#heard)}, ${this.#over ?? "open"}`;
		await this.#changes.until(met, timeout, state);
		return this.#heard;
	}

	heard() {
		return this.#heard;
	}
}

const calls = {
	async connect(url, { fingerprint, protocols, timeout }) {
		const webtransport = {
			...(fingerprint ? { serverCertificateHashes: [{ value: fingerprint }] } : {}),
			...(protocols ? { protocols } : {}),
		};
		const isSocket = url.startsWith("ws:");
		if (isSocket) window.WebTransport = undefined; // as in a browser that has none
		connection = await Connection.connect(new URL(url), {
			webtransport,
			websocket: { enabled: isSocket },
			signal: AbortSignal.timeout(timeout),
		});
		if (isSocket) {
			connection.closed.then(
				() => (ended = "closed"),
				(error) => (ended = describe(error)),
			);
		}
		return connection.version;
	},

	async ended({ timeout }) {
		const timer = new Promise((resolve) => setTimeout(resolve, timeout));
		await Promise.race([connection.closed.catch(() => {}), timer]);
		return ended ?? null;
	},

	publish(path, track) {
		const broadcast = new Broadcast.Producer();
		const info = { timescale: Time.Timescale.MICRO, latencyMax: KEEP_MS };
		publications.push({ broadcast, track: broadcast.createTrack(track, info), group: undefined });
		connection.publish(Path.from(path), broadcast);
		return publications.length - 1;
	},

	write(index, frames, end) {
		const publication = publications[index];
		publication.group ??= publication.track.appendGroup();
		for (const [timestamp, payload] of frames) {
			publication.group.writeFrame({
				payload: toBytes(payload),
				timestamp: Time.Timestamp.fromMicros(timestamp),
			});
		}
		if (!end) return;
		publication.group.close();
		publication.group = undefined;
	},

	finish(index) {
		publications[index].track.close();
	},

	unpublish(index) {
		publications[index].track.close();
		publications[index].broadcast.close();
	},

	watch(broadcast, track, keep) {
		return watches.push(new Watch(broadcast, track, keep)) - 1;
	},
	collect: (index, wanted) => watches[index].collect(wanted),
	over: (index, wanted) => watches[index].over(wanted),
	unwatch: (index) => watches[index].close(),

	listen(prefix) {
		return listenings.push(new Listening(prefix)) - 1;
	},
	until: (index, wanted) => listenings[index].until(wanted),
	heard: (index) => listenings[index].heard(),

	disconnect() {
		connection?.close();
	},
};

window.rig = async (name, args) => {
	try {
		return { result: (await calls[name](...args)) ?? null };
	} catch (error) {
		return { error: describe(error) };
	}
};
