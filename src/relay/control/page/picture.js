// A picture that moves, as frames and back: VP8 where the browser has an encoder, else one WebP after
// the other. The law: a frame's first byte says what it is; a group begins with a frame that stands
// on its own. This file must not know how frames travel.

const KEY = 1;
const DELTA = 2;
const STILL = 3;
export const WIDTH = 480;
export const HEIGHT = 270;
export const FPS = 24;
export const GROUP_SECONDS = 1;

const CODEC = { codec: "vp8", width: WIDTH, height: HEIGHT, bitrate: 900_000, framerate: FPS, latencyMode: "realtime" };

// As a canvas has them: the stream itself does not say.
const COLORS = { primaries: "bt709", transfer: "iec61966-2-1", matrix: "bt709", fullRange: true };

export async function hasVideo() {
	if (typeof VideoEncoder === "undefined" || typeof VideoDecoder === "undefined") return false;
	try {
		return (await VideoEncoder.isConfigSupported(CODEC)).supported === true;
	} catch {
		return false;
	}
}

// Draws what is sent: rings that wander, and the time, so that a picture that stands still shows.
export function draw(canvas, seconds) {
	const paint = canvas.getContext("2d", { alpha: false });
	const turn = seconds * 0.7;
	const ground = paint.createLinearGradient(0, 0, WIDTH, HEIGHT);
	ground.addColorStop(0, "#0e2f33");
	ground.addColorStop(1, "#1f6f6b");
	paint.fillStyle = ground;
	paint.fillRect(0, 0, WIDTH, HEIGHT);
	for (let at = 0; at < 6; at++) {
		const x = WIDTH / 2 + Math.cos(turn + at * 1.05) * (70 + at * 22);
		const y = HEIGHT / 2 + Math.sin(turn * 1.3 + at * 0.8) * (38 + at * 11);
		paint.beginPath();
		paint.arc(x, y, 12 + at * 4, 0, 2 * Math.PI);
		paint.strokeStyle = `hsl(${(seconds * 24 + at * 42) % 360} 80% 72%)`;
		paint.lineWidth = 5;
		paint.stroke();
	}
	paint.fillStyle = "#fff";
	paint.font = "600 22px system-ui, sans-serif";
	paint.fillText(new Date().toISOString().slice(11, 22), 16, HEIGHT - 18);
}

const tagged = (kind, bytes) => {
	const out = new Uint8Array(bytes.byteLength + 1);
	out[0] = kind;
	out.set(bytes, 1);
	return out;
};

// encode(canvas, at, isFirst): `onFrame(at, bytes, isFirst)` follows, at microseconds.
export class VideoSource {
	#encoder;

	constructor(onFrame, onError) {
		this.#encoder = new VideoEncoder({
			error: onError,
			output(chunk) {
				const bytes = new Uint8Array(chunk.byteLength);
				chunk.copyTo(bytes);
				const isKey = chunk.type === "key";
				onFrame(chunk.timestamp, tagged(isKey ? KEY : DELTA, bytes), isKey);
			},
		});
		this.#encoder.configure(CODEC);
	}

	encode(canvas, at, isFirst) {
		if (this.#encoder.state !== "configured" || this.#encoder.encodeQueueSize > 4) return;
		const frame = new VideoFrame(canvas, { timestamp: at });
		this.#encoder.encode(frame, { keyFrame: isFirst });
		frame.close();
	}

	close() {
		if (this.#encoder.state !== "closed") this.#encoder.close();
	}
}

export class StillSource {
	#onFrame;
	#isBusy = false;
	#isFirst = false;
	#isOver = false;

	constructor(onFrame) {
		this.#onFrame = onFrame;
	}

	encode(canvas, at, isFirst) {
		this.#isFirst ||= isFirst;
		if (this.#isBusy) return;
		this.#isBusy = true;
		const first = this.#isFirst;
		this.#isFirst = false;
		canvas.toBlob(
			async (blob) => {
				this.#isBusy = false;
				if (!blob || this.#isOver) return;
				this.#onFrame(at, tagged(STILL, new Uint8Array(await blob.arrayBuffer())), first);
			},
			"image/webp",
			0.6,
		);
	}

	close() {
		this.#isOver = true;
	}
}

// show({group, at, bytes}): paints frames of either kind; `onShown(at)` when one is to be seen.
export class Screen {
	#paint;
	#onShown;
	#decoder = null;
	#group = -1;

	constructor(canvas, onShown) {
		this.#paint = canvas.getContext("2d", { alpha: false });
		this.#onShown = onShown;
	}

	show({ group, at, bytes }) {
		if (group < this.#group) return; // a late group would run the picture backwards
		const kind = bytes[0];
		if (kind === STILL) {
			this.#group = group;
			this.#still(at, bytes.subarray(1));
		} else if (kind === KEY || group === this.#group) {
			this.#group = group;
			this.#video(kind, at, bytes.subarray(1));
		}
	}

	async #still(at, bytes) {
		const picture = await createImageBitmap(new Blob([bytes], { type: "image/webp" }));
		this.#shown(picture, at);
	}

	#video(kind, at, bytes) {
		if (!this.#decoder || this.#decoder.state === "closed") {
			if (kind !== KEY) return;
			this.#decoder = new VideoDecoder({
				output: (frame) => this.#shown(frame, frame.timestamp),
				error: () => {}, // the next group begins anew
			});
			this.#decoder.configure({ codec: "vp8", optimizeForLatency: true, colorSpace: COLORS });
		}
		const type = kind === KEY ? "key" : "delta";
		this.#decoder.decode(new EncodedVideoChunk({ type, timestamp: at, data: bytes }));
	}

	#shown(picture, at) {
		this.#paint.drawImage(picture, 0, 0, WIDTH, HEIGHT);
		picture.close();
		this.#onShown(at);
	}

	close() {
		if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
	}
}
