// The page: the door, the views, and the look every second at whatever is seen. The law: nothing is
// asked while nobody looks, and one look ends before the next begins.
import { Access } from "./access.js";
import * as api from "./api.js";
import { Audit } from "./audit.js";
import { byId, setText } from "./dom.js";
import * as format from "./format.js";
import { Denials, Quotas } from "./limits.js";
import { Live } from "./live.js";
import { tell } from "./notice.js";
import * as tryit from "./tryit.js";

const EVERY = 1000; // milliseconds between looks
const SLOW = 3; // looks between those at what seldom changes
const VIEWS = ["live", "access", "audit", "try"];
const LOCAL = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

const live = new Live(refresh);
const denials = new Denials();
const quotas = new Quotas(refresh);
const access = new Access(refresh);
const audit = new Audit(refresh);

let timer = null;
let looks = 0;
let isLooking = false;
let wantsAnother = false;

const view = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : VIEWS[0]);

function refresh() {
	looks = 0;
	if (isLooking) wantsAnother = true;
	else look();
}

async function look() {
	clearTimeout(timer);
	isLooking = true;
	try {
		await loads();
		setPulse("", false);
	} catch (error) {
		if (error.status === 401) return leave("That is not the operator's key.");
		if (!(error instanceof api.Problem)) console.error(error);
		setPulse(error.message, true);
	} finally {
		isLooking = false;
	}
	if (!api.hasKey()) return;
	const soon = wantsAnother;
	wantsAnother = false;
	timer = setTimeout(look, soon ? 0 : EVERY);
}

let uptime = "";

async function loads() {
	if (document.hidden) return;
	const isSlow = looks++ % SLOW === 0;
	const { mesh, summary } = await live.load();
	setText(byId("node"), mesh.own.node || "Relay");
	uptime = `${mesh.own.draining ? "draining" : "up"} ${format.span(mesh.own.seconds)} · ${mesh.own.version}`;
	tryit.setPort(summary.quic_port);
	if (view() === "live") await Promise.all([quotas.load(), isSlow ? denials.load(summary) : null]);
	if (view() === "access" && isSlow) await access.load();
	if (view() === "audit") await audit.load();
}

function setPulse(text, isLost) {
	if (isLost && !byId("pulse").classList.contains("lost")) tell(text, true);
	byId("pulse").classList.toggle("lost", isLost);
	setText(byId("pulse-text"), isLost ? text : uptime);
}

function showView() {
	const now = view();
	for (const name of VIEWS) {
		byId(`view-${name}`).hidden = name !== now;
		const link = document.querySelector(`nav a[href="#${name}"]`);
		if (name === now) link.setAttribute("aria-current", "page");
		else link.removeAttribute("aria-current");
	}
}

function enter() {
	byId("door").hidden = true;
	byId("house").hidden = false;
	showView();
	refresh();
}

function leave(why = "") {
	clearTimeout(timer);
	api.forgetKey();
	tryit.stopAll();
	byId("house").hidden = true;
	byId("door").hidden = false;
	setText(byId("refused"), why);
	byId("key").focus();
	byId("key").select(); // whoever types again means another one
}

byId("login").addEventListener("submit", async (event) => {
	event.preventDefault();
	setText(byId("refused"), "");
	api.setKey(byId("key").value.trim());
	try {
		await api.get("/nodes");
	} catch (error) {
		return leave(error.status === 401 ? "That is not the operator's key." : error.message);
	}
	byId("key").value = "";
	enter();
	byId("main").focus();
});
byId("leave").addEventListener("click", () => {
	api.forgetKey();
	location.reload(); // with it goes whatever was shown
});
window.addEventListener("hashchange", () => {
	if (!api.hasKey()) return;
	showView();
	refresh();
});
document.querySelector(".skip").addEventListener("click", (event) => {
	event.preventDefault(); // the address says which view is shown
	byId("main").focus();
});
document.addEventListener("visibilitychange", () => {
	if (!document.hidden && api.hasKey()) refresh();
});

byId("plain").hidden = location.protocol === "https:" || LOCAL.test(location.hostname);
tryit.setUp();
if (api.hasKey()) enter();
else leave();
