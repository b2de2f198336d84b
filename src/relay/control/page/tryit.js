// "Try it": two sessions of this browser, one publishes a moving picture and one watches it through
// the relay. The law: whatever was started ends when the operator says so or signs out. This file must not know bytes.
import { byId, setText } from "./dom.js";
import * as format from "./format.js";
import { Unheard, connect } from "./moq.js";
import { FPS, GROUP_SECONDS, HEIGHT, Screen, StillSource, VideoSource, WIDTH, draw, hasVideo } from "./picture.js";

const TRACK = "picture";
const WINDOW = 2; // seconds that the figures look back
const GRACE_MS = 1000;

let running = null;
let quicPort = location.port || "443";

export const setPort = (port) => (quicPort = port);

export function setToken(root, token) {
	byId("try-root").value = root;
	byId("try-token").value = token;
}

export async function setUp() {
	const form = byId("try-form");
	form.addEventListener("submit", (event) => {
		event.preventDefault();
		if (running) stop("Stopped.");
		else start();
	});
	for (const id of ["try-sent", "try-seen"]) {
		byId(id).width = WIDTH;
		byId(id).height = HEIGHT;
	}
	if (typeof WebTransport === "undefined") {
		byId("try-start").disabled = true;
		say("WebTransport needs a secure page: open this one over https, or on localhost.", true);
	}
	const video = byId("try-kind").querySelector('[value="video"]');
	if (!(await hasVideo())) {
		video.disabled = true;
		byId("try-kind").value = "still";
	}
}

function say(text, isBad = false) {
	byId("try-state").classList.toggle("bad", isBad);
	setText(byId("try-state"), text);
}

function address() {
	const url = new URL(`https://${location.hostname}:${quicPort}/`);
	const root = byId("try-root").value.trim().replace(/^\/+/, "");
	url.pathname = `/${root}`;
	const token = byId("try-token").value.trim();
	if (token) url.searchParams.set("jwt", token);
	return url.href;
}

// As the relay will call it: slashes join segments, and say nothing more.
function broadcast() {
	return byId("try-name").value.trim().split("/").filter(Boolean).join("/") || "picture";
}

async function start() {
	const run = new Run(broadcast(), byId("try-kind").value === "video");
	running = run;
	setText(byId("try-start"), "Stop");
	say("Connecting…");
	try {
		await run.begin(address());
		say("On air: published by this page, watched by it through the relay.");
	} catch (error) {
		if (running === run) stop(refusal(error), true);
		return;
	}
	const why = await run.over;
	if (running === run) stop(why, true);
}

// A browser does not say what status it was refused with, so neither can this.
// What is refused within a session has a code.
function refusal(error) {
	if (error instanceof Unheard) {
		return "Let in, but the relay does not announce the broadcast: whoever tries has to be allowed to publish and to watch it, within the tenant's quotas.";
	}
	if (error.name !== "WebTransportError") return error.message;
	return error.source === "stream"
		? `Let in, but not to watch the broadcast: the relay refused it with code ${error.streamErrorCode}.`
		: "Refused, or not reachable over UDP. Why stands under Denials.";
}

const ended = (why) => `The relay ended the session: ${why}`;

function stop(text, isBad = false) {
	running?.end();
	running = null;
	setText(byId("try-start"), "Start");
	say(text, isBad);
}

export const stopAll = () => running && stop("Stopped.");

class Run {
	#name;
	#isVideo;
	#sessions = [];
	#timers = [];
	#source = null;
	#screen = null;
	#seen = [];
	#bytes = 0;
	#groups = 0;
	#frames = 0;

	constructor(name, isVideo) {
		this.#name = name;
		this.#isVideo = isVideo;
	}

	async begin(url) {
		const publisher = await this.#open(url);
		const offer = publisher.publish(this.#name, TRACK);
		this.#send(offer);
		const viewer = await this.#open(url);
		this.#screen = new Screen(byId("try-seen"), (at) => this.#shown(at));
		const { over } = await viewer.watch(
			this.#name,
			TRACK,
			() => (this.#groups += 1),
			(frame) => {
				this.#bytes += frame.bytes.length;
				this.#screen.show(frame);
			},
		);
		// With a session its streams end, and why is what the session says.
		const later = (text) => new Promise((resolve) => setTimeout(resolve, GRACE_MS, text));
		this.over = Promise.race([
			publisher.closed.then(ended),
			viewer.closed.then(ended),
			over.then(
				() => later("The relay ended the track."),
				(error) => later(refusal(error)),
			),
		]);
		this.#timers.push(setInterval(() => this.#figures(offer), 500));
	}

	async #open(url) {
		const session = await connect(url);
		this.#sessions.push(session);
		return session;
	}

	#send(offer) {
		const canvas = byId("try-sent");
		const sink = (at, bytes, isFirst) => {
			if (isFirst) offer.startGroup();
			offer.write(Math.round(at), bytes);
		};
		this.#source = this.#isVideo
			? new VideoSource(sink, (error) => stop(error.message, true))
			: new StillSource(sink);
		let count = 0;
		this.#timers.push(
			setInterval(() => {
				const now = performance.now();
				draw(canvas, now / 1000);
				this.#source.encode(canvas, Math.round(now * 1000), count % (FPS * GROUP_SECONDS) === 0);
				count += 1;
			}, 1000 / FPS),
		);
	}

	#shown(at) {
		const now = performance.now();
		this.#frames += 1;
		this.#seen.push({ now, late: now - at / 1000 });
	}

	#figures(offer) {
		const since = performance.now() - WINDOW * 1000;
		this.#seen = this.#seen.filter((each) => each.now >= since);
		const late = this.#seen.map((each) => each.late).sort((a, b) => a - b);
		setText(byId("try-fps"), (late.length / WINDOW).toFixed(1));
		setText(byId("try-latency"), late.length ? `${late[late.length >> 1].toFixed(0)} ms` : "–");
		setText(byId("try-bytes"), format.bytes(this.#bytes));
		setText(byId("try-groups"), format.count(this.#groups));
		setText(byId("try-frames"), format.count(this.#frames));
		setText(byId("try-viewers"), offer.viewers);
	}

	end() {
		for (const timer of this.#timers) clearInterval(timer);
		for (const session of this.#sessions) session.close();
		this.#source?.close();
		this.#screen?.close();
	}
}
