// One Chromium, many pages, driven by JSON lines: a request per line on stdin, a reply per line on
// stdout. Its job is to carry calls into pages; its law is one reply for every request, whatever
// happens in the page. It must not know MoQ: that is page.mjs.
//
//   {"id": 1, "op": "open"}                                          -> {"id": 1, "result": page}
//   {"id": 2, "op": "call", "page": 1, "name": "watch", "args": []}  -> {"id": 2, "result": ...}
//   {"id": 3, "op": "close", "page": 1}                              -> {"id": 3, "result": null}
//   {"id": 4, "op": "example", "code": "...", "timeout": 9000}       -> {"id": 4, "result": "..."}
//
// A reply may be {"id", "error": text} instead. The first line out is {"ready": browser version}.
// End of input closes the browser and ends the program.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { address, bundle, HERE, server } from "./pages.mjs";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
	"--headless",
	"--no-sandbox",
	"--disable-gpu",
	"--no-first-run",
	"--disable-background-networking",
	"--disable-component-update",
	"--disable-sync",
];
const browser = await chromium.launch({ executablePath: EXECUTABLE, args: FLAGS });
const context = await browser.newContext();
const pages = [];
const idle = []; // numbers of pages that nobody uses: a fresh one costs half a second

// Loading the document anew ends whatever session the last one had.
const load = (page) => page.goto(address);

const operations = {
	async open() {
		const waiting = idle.pop();
		if (waiting !== undefined) return waiting;
		const page = await context.newPage();
		const number = pages.push(page) - 1;
		page.on("console", (message) => console.error(`page ${number}: ${message.text()}`));
		page.on("pageerror", (error) => console.error(`page ${number}: uncaught ${error.message}`));
		await load(page);
		return number;
	},
	async call({ page, name, args }) {
		const outcome = await pages[page].evaluate(([name, args]) => window.rig(name, args), [name, args]);
		if ("error" in outcome) throw new Error(outcome.error);
		return outcome.result;
	},
	// A page of its own for somebody's code: the first line that it logs.
	async example({ code, timeout }) {
		const content = await bundle({ stdin: { contents: code, resolveDir: HERE } });
		const page = await context.newPage();
		const logged = new Promise((resolve, reject) => {
			page.on("console", (message) => message.type() === "log" && resolve(message.text()));
			page.on("pageerror", reject);
			setTimeout(() => reject(new Error(`timeout after ${timeout} ms`)), timeout);
		});
		const begun = page.goto(address).then(() => page.addScriptTag({ content, type: "module" }));
		try {
			return (await Promise.all([logged, begun]))[0];
		} finally {
			await page.close();
		}
	},
	async close({ page }) {
		await load(pages[page]);
		idle.push(page);
	},
};

function reply(message) {
	process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function answer(request) {
	try {
		reply({ id: request.id, result: (await operations[request.op](request)) ?? null });
	} catch (error) {
		reply({ id: request.id, error: error.message });
	}
}

reply({ ready: browser.version() });
for await (const line of createInterface({ input: process.stdin })) {
	void answer(JSON.parse(line));
}
await browser.close();
server.close();
