// Does with @moq/token what one line of JSON on standard input asks, and answers with another.
//
//   {"do": "generate", "algorithm": "ES256", "id": "k1"}            -> the key (JWK text)
//   {"do": "public", "key": "<JWK text>"}                           -> its public half (JWK text)
//   {"do": "sign", "key": "<JWK text>", "claims": {...}}            -> a token
//   {"do": "verify", "key": "<JWK text>", "token": "…", "root": ""} -> the claims
//
// The answer is {"value": …} or {"error": "…"}.

import { generate, load, loadPublic, sign, toPublicKey, verify } from "@moq/token";
import { createInterface } from "node:readline";

function loadAny(text) {
	try {
		return loadPublic(text);
	} catch {
		return load(text);
	}
}

const verbs = {
	generate: async ({ algorithm, id }) => JSON.stringify(await generate(algorithm, id)),
	public: async ({ key }) => JSON.stringify(toPublicKey(load(key))),
	sign: ({ key, claims }) => sign(load(key), claims),
	verify: ({ key, token, root }) => verify(loadAny(key), token, root),
};

for await (const line of createInterface({ input: process.stdin })) {
	const request = JSON.parse(line);
	let answer;
	try {
		answer = { value: await verbs[request.do](request) };
	} catch (error) {
		answer = { error: String(error?.message ?? error) };
	}
	process.stdout.write(`${JSON.stringify(answer)}\n`);
}
