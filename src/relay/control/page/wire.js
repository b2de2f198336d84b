// moq-lite as bytes: variable-length integers (RFC 9000, 16), texts, and reading them from a
// stream. The law: a length that nobody should believe ends the reading. This file must not know
// what the messages mean.

const MAX_MESSAGE = 1 << 16; // bytes of a control message
const MAX_FRAME = 1 << 24; // bytes of a frame
const TEXT = new TextEncoder();

export function varint(value) {
	const bytes =
		value < 2 ** 6 ? 1 : value < 2 ** 14 ? 2 : value < 2 ** 30 ? 4 : 8;
	const out = new DataView(new ArrayBuffer(bytes));
	if (bytes === 1) out.setUint8(0, value);
	else if (bytes === 2) out.setUint16(0, value | 0x4000);
	else if (bytes === 4) out.setUint32(0, (value | 0x80000000) >>> 0);
	else out.setBigUint64(0, BigInt(value) | 0xc000000000000000n);
	return new Uint8Array(out.buffer);
}

// Signed, small ones short; exact for what a number can hold exactly.
export const zigzag = (value) => varint(value < 0 ? -2 * value - 1 : 2 * value);
export const unzigzag = (value) => (value % 2 ? -(value + 1) / 2 : value / 2);

export function join(...parts) {
	const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
	let at = 0;
	for (const part of parts) {
		out.set(part, at);
		at += part.length;
	}
	return out;
}

export function text(value) {
	const bytes = TEXT.encode(value);
	return join(varint(bytes.length), bytes);
}

export const byte = (value) => Uint8Array.of(value);

// A control message: its length, then its body.
export function message(...parts) {
	const body = join(...parts);
	return join(varint(body.length), body);
}

// Reads from a stream, as much as is asked for, waiting where it has to.
export class Reader {
	#source;
	#held = new Uint8Array(0);

	constructor(stream) {
		this.#source = stream.getReader();
	}

	// Whether more comes: false at the stream's end.
	async more() {
		while (!this.#held.length) {
			const { value, done } = await this.#source.read();
			if (done) return false;
			this.#held = value;
		}
		return true;
	}

	async take(size) {
		const parts = [];
		let missing = size;
		while (missing) {
			if (!(await this.more())) throw new Error("the stream ended inside a message");
			const part = this.#held.subarray(0, missing);
			this.#held = this.#held.subarray(part.length);
			missing -= part.length;
			parts.push(part);
		}
		return parts.length === 1 ? parts[0] : join(...parts);
	}

	async varint() {
		const first = (await this.take(1))[0];
		const rest = await this.take((1 << (first >> 6)) - 1);
		return rest.reduce((value, next) => value * 256 + next, first & 0x3f);
	}

	async message() {
		const size = await this.varint();
		if (size > MAX_MESSAGE) throw new Error("a message too large to believe");
		return new Fields(await this.take(size));
	}

	async frame() {
		const size = await this.varint();
		if (size > MAX_FRAME) throw new Error("a frame too large to believe");
		return this.take(size);
	}

	cancel() {
		return this.#source.cancel().catch(() => {});
	}
}

// The fields of one message that is there in full.
export class Fields {
	#bytes;
	#at = 0;

	constructor(bytes) {
		this.#bytes = bytes;
	}

	byte() {
		if (this.#at >= this.#bytes.length) throw new Error("a message shorter than its fields");
		return this.#bytes[this.#at++];
	}

	varint() {
		const first = this.byte();
		let value = first & 0x3f;
		for (let left = (1 << (first >> 6)) - 1; left; left--) value = value * 256 + this.byte();
		return value;
	}

	text() {
		const size = this.varint();
		const bytes = this.#bytes.subarray(this.#at, this.#at + size);
		if (bytes.length < size) throw new Error("a message shorter than its fields");
		this.#at += size;
		return new TextDecoder().decode(bytes);
	}
}
