// One moq-lite session over WebTransport: enough to publish one track and to watch one. The law:
// whatever the peer asks that is not offered is refused on its own stream and costs nothing else.
// This file must not know what frames hold, nor the page.
import { FIVE, TWO } from "./versions.js";
import { Reader, join, message, text, varint } from "./wire.js";

const CONNECT_MS = 8000;
const ANNOUNCE_MS = 5000; // what this relay lets be heard it announces at once
const LATE = `No answer over UDP within ${CONNECT_MS / 1000} s. After a refusal Chromium waits longer before each further try.`;

const STRANGE = `This browser did not agree with the relay on ${FIVE.name}, nor on ${TWO.name}.`;

const BIDI = { announce: 1, subscribe: 2, track: 6, offer: 0x20, agreement: 0x21 };
const UNI = { group: 0, setup: 1 };

// The SHA-256 by which a browser may believe a certificate that no authority signed; null: none.
async function pinned(signal) {
	try {
		const response = await fetch("/certificate.sha256", { cache: "no-store", signal });
		const hex = (await response.text()).trim();
		if (!response.ok || !/^[0-9a-f]{64}$/.test(hex)) return null;
		return Uint8Array.from(hex.match(/../g), (pair) => Number.parseInt(pair, 16));
	} catch {
		return null;
	}
}

async function open(url, hash) {
	const transport = new WebTransport(url, {
		protocols: [FIVE.name],
		congestionControl: "low-latency",
		...(hash ? { serverCertificateHashes: [{ algorithm: "sha-256", value: hash }] } : {}),
	});
	transport.closed.catch(() => {}); // told by `ready`, or by the streams
	let isLate = false;
	const timer = setTimeout(() => {
		isLate = true;
		transport.close();
	}, CONNECT_MS);
	try {
		await transport.ready;
		if (transport.protocol === FIVE.name) return new Session(transport, FIVE);
		return new Session(transport, TWO, await agree(transport));
	} catch (error) {
		throw isLate ? new Error(LATE) : error;
	} finally {
		clearTimeout(timer);
	}
}

// A browser that cannot name versions while it connects does so in the first stream, which stays.
async function agree(transport) {
	try {
		const stream = await transport.createBidirectionalStream();
		const body = join(varint(1), varint(TWO.code), varint(0));
		await write(stream, join(varint(BIDI.offer), Uint8Array.of(0, body.length), body));
		const reader = new Reader(stream.readable);
		if ((await reader.varint()) === BIDI.agreement) {
			await reader.take(2); // the length
			if ((await reader.varint()) === TWO.code) return [stream, reader];
		}
	} catch {
		// the relay ended the session, or the stream
	}
	transport.close();
	throw new Error(STRANGE);
}

// Nobody may hear of the broadcast, or may not yet.
export class Unheard extends Error {}

// A session at `url`. Believes the relay's own certificate by its hash, one of an authority without.
export async function connect(url) {
	const hash = await pinned(AbortSignal.timeout(CONNECT_MS));
	try {
		return await open(url, hash);
	} catch (error) {
		// A long-lived certificate cannot be believed by its hash, but perhaps by its authority.
		if (!hash || location.protocol !== "https:") throw error;
		return await open(url, null);
	}
}

class Session {
	closed;
	#transport;
	#version;
	#first;
	#offered = null;
	#watches = new Map();
	#nextId = 0;

	constructor(transport, version, first) {
		this.#transport = transport;
		this.#version = version;
		this.#first = first; // which would end if nobody held it
		this.closed = transport.closed.then(
			(info) => info.reason || "closed",
			(error) => error.message,
		);
		const hop = Math.floor(Math.random() * 2 ** 52) + 1;
		const setup = version.setup(hop);
		if (setup) this.#say(join(varint(UNI.setup), setup));
		this.#each(transport.incomingUnidirectionalStreams, (stream) => this.#heard(stream));
		this.#each(transport.incomingBidirectionalStreams, (stream) => this.#asked(stream));
		this.hop = hop;
	}

	close() {
		try {
			this.#transport.close({ closeCode: 0, reason: "" });
		} catch {
			// it was closed already
		}
	}

	// Offer one broadcast with one track; answers where its groups are written.
	publish(broadcast, track) {
		this.#offered = new Offer(this.#version, broadcast, track, () => this.#transport.createUnidirectionalStream());
		return this.#offered;
	}

	// Wait until the broadcast is announced, then watch its track: `onFrame({group, at, bytes})` for
	// every frame, at microseconds; `onGroup(sequence)` before the first of each group.
	async watch(broadcast, track, onGroup, onFrame) {
		await this.#announced(broadcast);
		const scale = this.#version.hasTracks ? await this.#scale(broadcast, track) : 1;
		const id = this.#nextId++;
		this.#watches.set(id, { onGroup, onFrame, scale });
		const stream = await this.#transport.createBidirectionalStream();
		await write(stream, join(varint(BIDI.subscribe), this.#version.subscribe(id, broadcast, track)));
		const reader = new Reader(stream.readable);
		const over = (async () => {
			while (await reader.more()) await this.#version.skipReply(reader);
		})();
		return { over };
	}

	async #scale(broadcast, track) {
		const stream = await this.#transport.createBidirectionalStream();
		await write(stream, join(varint(BIDI.track), message(text(broadcast), text(track))));
		return this.#version.scale(await new Reader(stream.readable).message());
	}

	// Throws Unheard where that does not happen: nobody says that an announcement was not heard.
	async #announced(broadcast) {
		const stream = await this.#transport.createBidirectionalStream();
		await write(stream, join(varint(BIDI.announce), this.#version.askForBroadcasts(broadcast, this.hop)));
		let timer;
		const late = new Promise((_, reject) => {
			timer = setTimeout(() => reject(new Unheard()), ANNOUNCE_MS);
		});
		try {
			await Promise.race([this.#heardOf(new Reader(stream.readable)), late]);
		} finally {
			clearTimeout(timer);
		}
	}

	async #heardOf(reader) {
		if (this.#version.isNamed(await reader.message())) return;
		for (;;) {
			const fields = await reader.message();
			const isActive = fields.byte() !== 0;
			if (isActive && fields.text() === "") return;
		}
	}

	async #say(bytes) {
		const writer = (await this.#transport.createUnidirectionalStream()).getWriter();
		await writer.write(bytes);
		await writer.close();
	}

	async #each(streams, answer) {
		const reader = streams.getReader();
		try {
			for (;;) {
				const { value, done } = await reader.read();
				if (done) return;
				answer(value).catch(() => {});
			}
		} catch {
			// the session is over; `closed` says why
		}
	}

	async #heard(stream) {
		const reader = new Reader(stream);
		if ((await reader.varint()) !== UNI.group) return reader.cancel();
		const head = await reader.message();
		const watch = this.#watches.get(head.varint());
		if (!watch) return reader.cancel();
		const group = head.varint();
		watch.onGroup(group);
		let at = 0;
		while (await reader.more()) {
			const frame = await this.#version.readFrame(reader, at);
			at = frame.at;
			watch.onFrame({ group, at: at / watch.scale, bytes: frame.bytes });
		}
	}

	async #asked(stream) {
		const reader = new Reader(stream.readable);
		const kind = await reader.varint();
		const offer = this.#offered;
		if (kind === BIDI.announce) return this.#announce(stream, reader);
		if (kind === BIDI.track && offer) {
			const asked = await reader.message();
			if (offer.is(asked.text(), asked.text())) return write(stream, this.#version.track(), true);
		}
		if (kind === BIDI.subscribe && offer) {
			const asked = await reader.message();
			const id = asked.varint();
			if (offer.is(asked.text(), asked.text())) return offer.serve(id, stream, reader);
		}
		await Promise.allSettled([stream.writable.abort(), reader.cancel()]);
	}

	// What is offered, to a peer that asks what there is below a prefix; nothing more ever comes.
	async #announce(stream, reader) {
		const prefix = (await reader.message()).text();
		const suffix = this.#offered?.below(prefix) ?? null;
		await write(stream, this.#version.broadcasts(suffix === null ? [] : [suffix], this.hop));
		while (await reader.more()) await reader.message();
	}
}

// One broadcast with one track, and whoever subscribes to it.
class Offer {
	#version;
	#broadcast;
	#track;
	#openStream;
	#readers = new Map();
	#next = 0;
	#group = [];

	constructor(version, broadcast, track, openStream) {
		this.#version = version;
		this.#broadcast = broadcast;
		this.#track = track;
		this.#openStream = openStream;
	}

	is(broadcast, track) {
		return broadcast === this.#broadcast && track === this.#track;
	}

	below(prefix) {
		if (prefix === this.#broadcast) return "";
		const start = prefix === "" ? "" : `${prefix}/`;
		return this.#broadcast.startsWith(start) ? this.#broadcast.slice(start.length) : null;
	}

	async serve(id, stream, reader) {
		this.#readers.set(id, stream);
		await write(stream, this.#version.accept(this.#next));
		try {
			while (await reader.more()) await reader.message();
			await write(stream, new Uint8Array(0), true);
		} finally {
			this.#readers.delete(id);
		}
	}

	get viewers() {
		return this.#readers.size;
	}

	// Frames from here on belong to a new group; the one before it is complete.
	startGroup() {
		for (const line of this.#group) line.close();
		const sequence = this.#next++;
		this.#group = [...this.#readers.keys()].map((id) => new Line(this.#version, this.#openStream, id, sequence));
	}

	write(at, bytes) {
		for (const line of this.#group) line.write(at, bytes);
	}
}

// One group on its way to one subscriber.
class Line {
	#version;
	#writer;
	#last = 0;

	constructor(version, openStream, id, sequence) {
		this.#version = version;
		const head = join(varint(UNI.group), message(varint(id), varint(sequence)));
		this.#writer = openStream().then((stream) => {
			const writer = stream.getWriter();
			writer.write(head).catch(() => {});
			return writer;
		});
		this.#writer.catch(() => {});
	}

	write(at, bytes) {
		const frame = this.#version.frame(at, this.#last, bytes);
		this.#last = at;
		this.#writer.then((writer) => writer.write(frame)).catch(() => {});
	}

	close() {
		this.#writer.then((writer) => writer.close()).catch(() => {});
	}
}

async function write(stream, bytes, isLast = false) {
	const writer = stream.writable.getWriter();
	if (bytes.length) await writer.write(bytes);
	if (isLast) await writer.close();
	else writer.releaseLock();
}
