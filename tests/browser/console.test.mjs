// What people see of the console in a browser: every page in light and dark, wide and narrow, with a script and without, by keyboard.
//
//   node --test tests/browser/console.test.mjs     BINARY=target/debug/policyhub SHOTS=1 for pictures in target/console-shots

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { TestHub } from "./hub.mjs";
import { ROOT, Visitor, openBrowser } from "./visitor.mjs";

/** The largest page, with everything that it loads, in bytes. */
const PAGE_MAX_BYTES = 100 * 1024;
/** Text that is markup, a template of scripts, and text that runs the other way. */
const HOSTILE = "<img src=x onerror=alert(1)> {{7*7}} \u202etxt.exe";
/** Runtimes that follow an activation, and how long the slowest may take on a busy machine. */
const RUNTIMES = 50;
const CONVERGENCE_TIMEOUT_MS = 90_000;
const NAMESPACE = "/namespaces/default";
const POLICY = `${NAMESPACE}/policies/pricing`;

/** Every page by the name of its picture. */
const PAGES = [
  ["namespaces", "/"],
  ["namespace", NAMESPACE],
  ["search", `${NAMESPACE}?q=tokens`],
  ["policy", POLICY],
  ["version", `${POLICY}/versions/2`],
  ["diff", `${POLICY}/diff?base=1&other=2`],
  ["draft", `${POLICY}/draft`],
  ["log", `${NAMESPACE}/log`],
  ["active", `${NAMESPACE}/active`],
  ["fleet", `${NAMESPACE}/fleet`],
  ["activation", `${NAMESPACE}/activations/4`],
  ["approvals", `${NAMESPACE}/approvals`],
  ["runs", `${NAMESPACE}/runs`],
  ["guardrails", `${NAMESPACE}/guardrails`],
  ["schedules", `${NAMESPACE}/schedules`],
  ["roles", `${NAMESPACE}/roles`],
  ["keys", "/keys"],
];

/** A word that does not break, as in a note of digits or the name of a member. */
const LONG_WORD = "0123456789".repeat(8);
/** Pages with such a word. */
const PAGES_OF_LONG_WORDS = [
  ["policy-long", `${NAMESPACE}/policies/long`],
  ["version-long", `${NAMESPACE}/policies/long/versions/1`],
  ["approvals-long", `${NAMESPACE}/approvals`],
  ["log-long", `${NAMESPACE}/log`],
];

const BINARY = process.env.BINARY ?? `${ROOT}target/debug/policyhub`;
let hub;
let browser;

before(async () => {
  hub = await TestHub.start(BINARY);
  browser = await openBrowser();
  await hub.publish("pricing", "tokens: 1000\nregion: eu\n", "--label", "1.0.0", "--note", "the first");
  await hub.policyhub("activate", "pricing@1", "--reason", "new season");
  await hub.publish("pricing", "tokens: 5000\nregion: eu\nmode: strict\n", "--label", "1.1.0", "--note", "raise the cap");
  await hub.publish("limits", `note: ${JSON.stringify(HOSTILE)}\n`, "--note", HOSTILE);
  await hub.policyhub("draft", "limits", await hub.file("limits.yaml", "max: 3\n"));
  await hub.policyhub("draft", "long", await hub.file("long.yaml", `a: "${LONG_WORD}"\n`), "--create", "--note", LONG_WORD);
  await hub.policyhub("stage", "long@1");
  await hub.policyhub("role", "grant", "viewer", `local:${LONG_WORD.slice(0, 60)}`, "--reason", LONG_WORD);
  await hub.runtimes(2);
});

after(async () => {
  await browser?.close();
  await hub?.end();
});

/** Runs a test as a visitor who is signed in, and fails when the browser complained. */
function visit(name, options, body) {
  test(name, async () => {
    const visitor = await Visitor.open(browser, hub, options);
    try {
      await visitor.signIn();
      await body(visitor);
      assert.deepEqual(visitor.complaints, []);
    } finally {
      await visitor.close();
    }
  });
}

test("a stranger sees the form to sign in, and is sent on to where they wanted to go", async () => {
  const visitor = await Visitor.open(browser, hub);
  assert.equal(await visitor.open(POLICY), 401);
  assert.deepEqual(await visitor.faults(), []);
  await visitor.shoot("sign-in-light");
  await visitor.page.getByLabel("Access token").fill(await hub.adminToken());
  await visitor.page.getByRole("button", { name: "Sign in" }).click();
  await visitor.page.getByRole("heading", { name: "pricing" }).waitFor();
  assert.equal(new URL(visitor.page.url()).pathname, POLICY);
  await visitor.page.getByRole("button", { name: "Sign out" }).click();
  await visitor.page.getByLabel("Access token").waitFor();
  assert.equal(await visitor.open(POLICY), 401);
  await visitor.close();
});

for (const isDark of [false, true]) {
  const colours = isDark ? "dark" : "light";
  visit(`every page is accessible in ${colours}`, { isDark }, async (visitor) => {
    for (const [name, path] of PAGES) {
      assert.equal(await visitor.open(path), 200, path);
      assert.deepEqual(await visitor.faults(), []);
      await visitor.shoot(`${name}-${colours}`);
    }
  });
}

visit("every page fits a window of 320 pixels", { isNarrow: true }, async (visitor) => {
  for (const [name, path] of [...PAGES, ...PAGES_OF_LONG_WORDS]) {
    await visitor.open(path);
    assert.equal(await visitor.overflow(), 0, path);
    await visitor.shoot(`${name}-narrow`);
  }
});

visit("a page is small, and comes with one request besides what is kept", {}, async (visitor) => {
  for (const [, path] of PAGES) {
    await visitor.open(path);
    const loaded = await visitor.loaded();
    const bytes = loaded.reduce((sum, each) => sum + each.bytes, 0);
    assert.ok(bytes <= PAGE_MAX_BYTES, `${path} has ${bytes} bytes`);
    await visitor.page.reload();
    const again = (await visitor.loaded()).filter((each) => !each.isKept);
    assert.deepEqual(again.map((each) => each.name), [hub.console + path]);
  }
});

visit("hostile text is shown, and does nothing", {}, async (visitor) => {
  await visitor.open(`${NAMESPACE}/policies/limits`);
  const text = await visitor.page.locator("main").innerText();
  assert.ok(text.includes("<img src=x onerror=alert(1)> {{7*7}}"), text);
  assert.ok(!text.includes("\u202e"), "a character that turns the text around is shown by its name");
  assert.equal(await visitor.page.locator("main img").count(), 0);
});

visit("every page says the same without a script", { hasScript: false }, async (visitor) => {
  await visitor.open(NAMESPACE);
  await visitor.page.getByRole("link", { name: "pricing" }).click();
  await visitor.page.getByRole("link", { name: /^2 \(1\.1\.0\)/ }).click();
  assert.ok((await visitor.page.locator("pre.content").innerText()).includes("tokens: 5000"));
});

visit("what is found in a content leads to its line", { hasScript: false }, async (visitor) => {
  await visitor.open(NAMESPACE);
  await visitor.page.getByRole("searchbox").fill("TOKENS: 1");
  await visitor.page.getByRole("button", { name: "Search" }).click();
  const row = visitor.page.locator("table.matches tr", { hasText: "pricing" });
  assert.equal(await row.locator("mark").innerText(), "tokens: 1");
  await row.getByRole("link").last().click();
  const url = new URL(visitor.page.url());
  assert.equal(url.pathname + url.hash, `${POLICY}/versions/1#L1`);
});

visit("the rail and the search are reached by keys", {}, async (visitor) => {
  await visitor.open(NAMESPACE);
  await visitor.page.keyboard.press("/");
  await visitor.page.keyboard.type("pric");
  await visitor.page.keyboard.press("Enter");
  await visitor.page.waitForURL((url) => url.searchParams.get("q") === "pric");
  await visitor.page.getByRole("link", { name: "limits" }).waitFor({ state: "detached" });
  await visitor.open(POLICY);
  await visitor.page.keyboard.press("j");
  await visitor.page.keyboard.press("j");
  await visitor.page.keyboard.press("Enter");
  await visitor.page.getByRole("heading", { name: "pricing 1 (1.0.0)" }).waitFor();
});

for (const hasScript of [true, false]) {
  const policy = hasScript ? "shop" : "shop-without-script";
  const how = hasScript ? "with a script" : "without one";
  visit(`a version is staged, published, activated and rolled back ${how}`, { hasScript }, async (visitor) => {
    const { page } = visitor;
    const press = async (button) => {
      const form = page.locator("form.action", { has: page.getByRole("button", { name: button, exact: true }) });
      const why = form.getByLabel("Why");
      if (await why.count()) await why.fill("the browser says so");
      await form.getByRole("button", { name: button, exact: true }).click();
    };
    await hub.publish(policy, "tokens: 1\n");
    await hub.policyhub("activate", `${policy}@1`, "--reason", "first");
    await hub.policyhub("draft", policy, await hub.file(`${policy}.yaml`, "tokens: 2\n"));
    const version = `${NAMESPACE}/policies/${policy}/versions/2`;
    await visitor.open(version);
    if (hasScript) await visitor.shoot("version-draft");
    const saysDone = (what) => page.getByRole("status").filter({ hasText: `${policy}@2 was ${what}` }).waitFor();
    await press("Stage");
    await saysDone("staged");
    const stale = page.url();
    await press("Publish");
    await saysDone("published");
    if (hasScript) await visitor.shoot("version-published");
    await page.getByText(`${policy}: 1 → 2`).waitFor();
    await page.goto(stale);
    assert.equal(await page.getByText("was staged").count(), 0, "an address alone says nothing of what was done");
    await press("Activate");
    await page.waitForURL((url) => url.pathname.startsWith(`${NAMESPACE}/activations/`));
    assert.match(await page.locator("main").innerText(), /local:admin[^]*the browser says so/);
    await visitor.open(`${NAMESPACE}/policies/${policy}/versions/1`);
    await press("Roll back to this version");
    await page.waitForURL((url) => url.pathname.startsWith(`${NAMESPACE}/activations/`));
    await visitor.open(`${NAMESPACE}/policies/${policy}`);
    await page.getByText("Version 1 is active").waitFor();
  });
}

visit("the bar of an activation fills while it is watched; who rejects it is named, and it is rolled back", {}, async (visitor) => {
  const { page } = visitor;
  await hub.publish("fleet-wide", "cap: 1\n");
  await hub.policyhub("activate", "fleet-wide@1", "--reason", "first");
  await hub.runtimes(RUNTIMES - 1);
  // It rejects the second version, and says why.
  await hub.runtimes(1, 'if grep -rq "cap: 2" "$POLICYHUB_SET"; then echo "cap 2 is over the limit here" >&2; exit 1; fi');
  await hub.publish("fleet-wide", "cap: 2\n");
  const count = (what) => page.locator(`dt:has-text("${what}") + dd`).innerText();
  const until = async (what, wanted) => {
    const term = page.locator(`dt:has-text("${what}") + dd`);
    await term.filter({ hasText: new RegExp(`^${wanted}$`) }).waitFor({ timeout: CONVERGENCE_TIMEOUT_MS });
  };
  const first = (await hub.policyhub("events", "fleet-wide", "--kind", "activate")).match(/1:(\d+)/)[1];
  await visitor.open(`${NAMESPACE}/activations/${first}`);
  // The runtimes of the other tests are among them.
  await until("Applied", `(${RUNTIMES + 2}) of \\1`);
  await visitor.open(`${NAMESPACE}/policies/fleet-wide/versions/2`);
  await page.getByLabel("Why").fill("more for everybody");
  await page.getByRole("button", { name: "Activate", exact: true }).click();
  await page.waitForURL((url) => url.pathname.startsWith(`${NAMESPACE}/activations/`));
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  await until("Applied", `${RUNTIMES + 1} of ${RUNTIMES + 2}`);
  assert.equal(await count("Rejected"), "1");
  await page.getByText("cap 2 is over the limit here").waitFor();
  assert.ok(!requests.includes(page.url()), "the page was not loaded again");
  await visitor.shoot("activation-rejected");
  await page.getByRole("link", { name: "Roll back" }).click();
  await page.getByRole("link", { name: "1", exact: true }).first().click();
  await page.getByLabel("Why").fill("one can't take it");
  await page.getByRole("button", { name: "Roll back to this version" }).click();
  await until("Applied", `(${RUNTIMES + 2}) of \\1`);
});

test("a live page whose server is gone says that it may be old", async () => {
  const gone = await TestHub.start(BINARY);
  const visitor = await Visitor.open(browser, gone);
  try {
    await visitor.signIn();
    await visitor.open(NAMESPACE);
    await gone.end();
    await visitor.page.getByRole("status").filter({ hasText: "Not connected since" }).waitFor();
  } finally {
    await visitor.close();
  }
});
