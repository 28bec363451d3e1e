// A visitor of the console in a real browser: signs in, opens pages, looks for faults of accessibility, and takes pictures.

import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

export const ROOT = new URL("../..", import.meta.url).pathname;
const require = createRequire(join(ROOT, "target/tools/browser/"));
const { chromium } = require("playwright-core");
const AXE = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
/** Where pictures are put. */
export const SHOTS = join(ROOT, "target/console-shots");
const PATIENCE_MS = 15_000;
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 320, height: 640 };
/** Impacts of axe that fail a test. */
const SERIOUS = new Set(["serious", "critical"]);

/** Starts the browser. Chromium refuses its sandbox to root. */
export async function openBrowser() {
  const isRoot = process.getuid?.() === 0;
  return chromium.launch({ executablePath: "/usr/bin/chromium", args: isRoot ? ["--no-sandbox"] : [] });
}

/** A browser context of its own: cookies, colours, size, with or without JavaScript. */
export class Visitor {
  constructor(context, page, hub) {
    this.context = context;
    this.page = page;
    this.hub = hub;
    /** What the browser complained of: errors of scripts, and what the policy of content refused. */
    this.complaints = [];
    page.on("pageerror", (error) => this.complaints.push(`${page.url()}: ${error}`));
    page.on("console", (said) => {
      if (said.type() === "error" && !/status of 4\d\d/.test(said.text())) this.complaints.push(`${page.url()}: ${said.text()}`);
    });
  }

  /** Opens a context. */
  static async open(browser, hub, { isDark = false, isNarrow = false, hasScript = true } = {}) {
    const context = await browser.newContext({
      colorScheme: isDark ? "dark" : "light",
      viewport: isNarrow ? NARROW : WIDE,
      javaScriptEnabled: hasScript,
      // A test of a moving bar must not wait for its animation.
      reducedMotion: "reduce",
    });
    context.setDefaultTimeout(PATIENCE_MS);
    return new Visitor(context, await context.newPage(), hub);
  }

  /** Signs in by the address that `policyhub console` prints. */
  async signIn() {
    const said = await this.hub.policyhub("console", "--console", this.hub.console);
    const address = said.match(/http:\/\/\S+/)?.[0];
    if (!address) throw new Error(`policyhub console prints no address: ${said}`);
    await this.page.goto(address);
    await this.page.getByRole("button", { name: /^Sign in/ }).click();
    await this.page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));
  }

  /** Opens a page of the console, and returns the status of the answer. */
  async open(path) {
    const answer = await this.page.goto(this.hub.console + path);
    return answer.status();
  }

  /** Returns the serious faults of accessibility of the page, as lines. */
  async faults() {
    // The page refuses scripts that are not its own; a debugger may still run one.
    await this.page.evaluate(AXE);
    const { violations } = await this.page.evaluate(() => globalThis.axe.run());
    const serious = violations.filter((found) => SERIOUS.has(found.impact));
    return serious.map((found) => `${this.page.url()}: ${found.id}: ${found.nodes.map((node) => node.html).join(" | ")}`);
  }

  /** Returns how far the page is wider than the window, in CSS pixels. */
  async overflow() {
    return this.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  }

  /** Returns what the page loaded, itself the first: address, bytes, and whether the browser had kept it. */
  async loaded() {
    return this.page.evaluate(() =>
      [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].map((each) => ({
        name: each.name,
        bytes: each.encodedBodySize,
        isKept: each.transferSize === 0,
      })),
    );
  }

  /** Takes a picture of the whole page, if pictures are wanted. */
  async shoot(name) {
    if (!process.env.SHOTS) return;
    await mkdir(SHOTS, { recursive: true });
    await this.page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
  }

  /** Ends the context. */
  async close() {
    await this.context.close();
  }
}
