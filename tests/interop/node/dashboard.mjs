// The dashboard in a real Chromium, driven by JSON lines as browser.mjs is: a request per line on
// stdin, a reply per line on stdout. Its job is to carry an operator's hands and eyes into a page;
// its law is one reply for every request. It must not know what the page is about.
//
//   {"id": 1, "op": "open", "url": "...", "width": 1440, "height": 900, "scheme": "light"}
//   {"id": 2, "op": "click", "page": 1, "selector": "#login button"}
//
// A reply may be {"id", "error": text} instead. The first line out is {"ready": browser version}.
// End of input closes the browser and ends the program.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PATIENCE = 25_000; // milliseconds for one thing to come true
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
const pages = [];

// Past the page's policy, which forbids to evaluate text, as it should.
async function evaluate({ console }, expression) {
	const { result, exceptionDetails } = await console.send("Runtime.evaluate", { expression, returnByValue: true });
	if (exceptionDetails) throw new Error(exceptionDetails.exception.description);
	return result.value;
}

const operations = {
	async open({ url, width, height, scheme }) {
		const context = await browser.newContext({
			viewport: { width, height },
			colorScheme: scheme,
			reducedMotion: "reduce",
		});
		const page = await context.newPage();
		page.setDefaultTimeout(PATIENCE);
		const seen = { page, complaints: [], foreign: [], console: await context.newCDPSession(page) };
		const number = pages.push(seen) - 1;
		page.on("console", (message) => {
			console.error(`page ${number}: ${message.text()}`);
			if (message.type() === "error") seen.complaints.push(message.text());
		});
		page.on("pageerror", (error) => seen.complaints.push(`uncaught ${error.message}`));
		page.on("request", (request) => {
			if (new URL(request.url()).host !== new URL(url).host) seen.foreign.push(request.url());
		});
		await page.goto(url);
		return number;
	},
	goto: ({ page, url }) => pages[page].page.goto(url).then(() => null),
	click: ({ page, selector }) => pages[page].page.locator(selector).first().click(),
	fill: ({ page, selector, text }) => pages[page].page.locator(selector).first().fill(text),
	choose: ({ page, selector, text }) => pages[page].page.locator(selector).selectOption(text).then(() => null),
	press: ({ page, keys }) => keys.reduce((done, key) => done.then(() => pages[page].page.keyboard.press(key)), Promise.resolve()),
	type: ({ page, text }) => pages[page].page.keyboard.type(text),
	see: ({ page, selector, text }) =>
		pages[page].page.locator(selector, text === undefined ? {} : { hasText: text }).first().waitFor(),
	gone: ({ page, selector, text }) =>
		pages[page].page.locator(selector, text === undefined ? {} : { hasText: text }).first().waitFor({ state: "hidden" }),
	text: ({ page, selector }) => pages[page].page.locator(selector).first().innerText(),
	evaluate: ({ page, code }) => evaluate(pages[page], code),
	async until({ page, code }) {
		const end = Date.now() + PATIENCE;
		while (!(await evaluate(pages[page], code))) {
			if (Date.now() > end) throw new Error(`never became true: ${code}`);
			await new Promise((resolve) => setTimeout(resolve, 50));
		}
	},
	shot: async ({ page, file, full }) => {
		await pages[page].page.screenshot({ path: file, fullPage: full });
	},
	complaints: ({ page }) => pages[page].complaints,
	foreign: ({ page }) => pages[page].foreign,
	close: ({ page }) => pages[page].page.context().close(),
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
