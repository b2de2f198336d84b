// The two versions of moq-lite that the page speaks, where they differ: 05, and 02 for browsers that
// cannot name a version while they connect, as Firefox. The law: nobody else asks which of them it
// is. This file must not know streams, nor what frames hold.
import { Fields, byte, join, message, text, unzigzag, varint, zigzag } from "./wire.js";

const KEEP_MS = 1000; // how long a group that is behind is still wanted
const TIMESCALE = 1_000_000; // timestamps are microseconds
const SETUP_HOP = 5;
const NONE = varint(0);

export const FIVE = {
	name: "moq-lite-05",
	setup(hop) {
		const value = varint(hop);
		return message(varint(1), varint(SETUP_HOP), varint(value.length), value);
	},
	askForBroadcasts: (prefix, hop) => message(text(prefix), varint(hop)),
	// The first answer to that: how many lines follow. Whether it names the prefix itself is not yet said.
	isNamed: () => false,
	broadcasts: (suffixes, hop) =>
		join(
			message(varint(hop), varint(suffixes.length)),
			...suffixes.map((suffix) => message(byte(1), text(suffix), NONE)),
		),
	hasTracks: true,
	track: () => message(byte(128), byte(0), varint(KEEP_MS), varint(TIMESCALE)),
	scale(fields) {
		fields.byte(), fields.byte(), fields.varint();
		return fields.varint() / TIMESCALE;
	},
	subscribe: (id, broadcast, track) =>
		message(varint(id), text(broadcast), text(track), byte(128), byte(0), varint(KEEP_MS), NONE, NONE),
	accept: (next) => join(NONE, message(varint(next))),
	async skipReply(reader) {
		await reader.varint();
		await reader.message();
	},
	frame: (at, last, bytes) => join(zigzag(at - last), varint(bytes.length), bytes),
	async readFrame(reader, last) {
		return { at: last + unzigzag(await reader.varint()), bytes: await reader.frame() };
	},
};

export const TWO = {
	name: "moq-lite-02",
	code: 0xff0dad02, // in the handshake
	setup: () => null,
	askForBroadcasts: (prefix) => message(text(prefix)),
	// The first answer to that: all there are.
	isNamed(fields) {
		for (let left = fields.varint(); left; left--) if (fields.text() === "") return true;
		return false;
	},
	broadcasts: (suffixes) => message(varint(suffixes.length), ...suffixes.map(text)),
	hasTracks: false,
	subscribe: (id, broadcast, track) => message(varint(id), text(broadcast), text(track), byte(128)),
	accept: () => message(),
	skipReply: (reader) => reader.message(),
	// It has no timestamps: they stand in front of what the frame holds.
	frame(at, last, bytes) {
		const stamp = varint(at);
		return join(varint(stamp.length + bytes.length), stamp, bytes);
	},
	async readFrame(reader) {
		const bytes = await reader.frame();
		return { at: new Fields(bytes).varint(), bytes: bytes.subarray(1 << (bytes[0] >> 6)) };
	},
};
