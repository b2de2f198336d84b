// The operator's counter. The law: the key stays in this tab, in sessionStorage, and leaves it in
// the Authorization header of requests to this relay, nowhere else. This file must not know the page.

const PLACE = "/admin/v1";
const KEPT = "relay-operator-key";
const PATIENCE = 10_000; // milliseconds for one answer

export class Problem extends Error {
	constructor(status, text) {
		super(text);
		this.status = status;
	}
}

let key = sessionStorage.getItem(KEPT);

export const hasKey = () => key !== null;

export function setKey(text) {
	key = text;
	sessionStorage.setItem(KEPT, text);
}

export function forgetKey() {
	key = null;
	sessionStorage.removeItem(KEPT);
}

// What no header can carry is nobody's key, and is not sent.
function credentials() {
	try {
		return new Headers({ authorization: `Bearer ${key}` });
	} catch {
		throw new Problem(401, "Unauthorized");
	}
}

// The answer to one question, as it is. Throws Problem; status 0 means that nobody answered.
export async function ask(method, place, body) {
	const headers = credentials();
	if (body !== undefined) headers.set("content-type", "application/json");
	let response;
	try {
		response = await fetch(PLACE + place, {
			method,
			headers,
			body: body === undefined ? undefined : JSON.stringify(body),
			cache: "no-store",
			credentials: "omit",
			redirect: "error",
			referrerPolicy: "no-referrer",
			signal: AbortSignal.timeout(PATIENCE),
		});
	} catch {
		throw new Problem(0, "The relay does not answer.");
	}
	let answer;
	try {
		answer = await response.json();
	} catch {
		answer = {};
	}
	if (!response.ok) {
		const wait = response.headers.get("retry-after");
		const text = answer.detail ?? answer.title ?? `status ${response.status}`;
		throw new Problem(response.status, wait ? `${text}; again in ${wait} s` : text);
	}
	return answer;
}

export const get = (place, query = {}) => {
	const said = new URLSearchParams(query).toString();
	return ask("GET", said ? `${place}?${said}` : place);
};
export const post = (place, body = {}) => ask("POST", place, body);
export const put = (place, body) => ask("PUT", place, body);
export const remove = (place) => ask("DELETE", place);
export const part = (text) => encodeURIComponent(text);
