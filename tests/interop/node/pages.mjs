// Where page.mjs is loaded from, bundled once. Its job is to be an address for pages; its law is that
// nothing but the empty page and its script is there. It must not know which browser comes.
//
// As a program it prints the address, and ends when its input does.
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HTML = '<!doctype html><meta charset="utf-8"><script type="module" src="/page.js"></script>';
const SHAPE = { bundle: true, write: false, format: "esm", target: "chrome120", logLevel: "error" };

export const HERE = fileURLToPath(new URL(".", import.meta.url));
export const bundle = async (entry) => (await build({ ...entry, ...SHAPE })).outputFiles[0].text;
const script = await bundle({ entryPoints: [`${HERE}page.mjs`] });

// A page on http://localhost is a secure context, which WebTransport asks for.
export const server = createServer((request, response) => {
	const isScript = request.url === "/page.js";
	response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
	response.end(isScript ? script : HTML);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
export const address = `http://localhost:${server.address().port}/`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
	console.log(address);
	process.stdin.resume().on("end", () => server.close());
}
