// Numbers as people read them. This file must not know where they come from.

const FRESH = 0.5; // how much the last look counts in a rate
const UNITS = ["", "k", "M", "G", "T", "P"];

function scaled(value, step, unit) {
	let at = 0;
	while (value >= step && at < UNITS.length - 1) {
		value /= step;
		at += 1;
	}
	const digits = at === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
	return `${value.toFixed(digits)} ${UNITS[at]}${unit}`;
}

export const bits = (value) => scaled(value, 1000, "bit/s");
export const bytes = (value) => scaled(value, 1000, "B");
export const count = (value) => Math.round(value).toLocaleString("en");

export function span(seconds) {
	const whole = Math.max(0, Math.floor(seconds));
	if (whole < 60) return `${whole} s`;
	if (whole < 3600) return `${Math.floor(whole / 60)} min`;
	if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
	return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function clock(seconds) {
	return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

export function day(seconds) {
	if (seconds === null || seconds === undefined) return "–";
	const at = new Date(seconds * 1000);
	return `${at.toLocaleDateString("en-CA")} ${at.toLocaleTimeString("en-GB").slice(0, 5)}`;
}

// "" is everything below the root, nothing at all is nothing.
export function prefixes(list) {
	return list.length ? list.map((each) => (each === "" ? "all" : each)).join(", ") : "none";
}

export const path = (text) => (text === "" ? "/" : text);

// What is cumulative as a rate, smoothed over a few looks: remembers the last value of each key.
export class Rates {
	#last = new Map();

	of(key, value, now = performance.now() / 1000) {
		const last = this.#last.get(key);
		if (last && now - last.at < 0.2) return last.rate;
		const fresh = last ? Math.max(0, value - last.value) / (now - last.at) : 0;
		const rate = last?.rate ? fresh * FRESH + last.rate * (1 - FRESH) : fresh;
		this.#last.set(key, { value, at: now, rate });
		return rate;
	}

	keep(prefix, keys) {
		const kept = new Set(keys);
		for (const key of this.#last.keys()) {
			if (key.startsWith(prefix) && !kept.has(key)) this.#last.delete(key);
		}
	}
}
