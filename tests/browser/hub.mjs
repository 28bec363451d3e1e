// A server of a test with everything around it: its directory, its command line, and runtimes that subscribe.

import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const runFile = promisify(execFile);
const START_TIMEOUT_MS = 30_000;
/** Most bytes of output of a command: a content of 1 MiB is printed whole. */
const OUTPUT_MAX_BYTES = 16 * 1024 * 1024;

/** Returns the environment of a command: none of the caller's settings may select another server. */
function environment(more) {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("POLICYHUB_"));
  return { ...Object.fromEntries(own), ...more };
}

export class TestHub {
  #binary;
  #directory;
  #server;
  #agents = [];

  constructor(binary, directory) {
    this.#binary = binary;
    this.#directory = directory;
  }

  /** Starts a server on free ports of loopback, with a database of its own. */
  static async start(binary) {
    const hub = new TestHub(binary, await mkdtemp(join(tmpdir(), "policyhub-browser-")));
    const ports = ["--grpc-addr", "--http-addr", "--console-addr"].flatMap((name) => [name, "127.0.0.1:0"]);
    const data = ["--data-dir", join(hub.#directory, "data")];
    hub.#server = spawn(binary, ["serve", ...ports, ...data], {
      cwd: hub.#directory,
      env: environment({ NO_COLOR: "1" }),
      stdio: ["ignore", "ignore", "pipe"],
    });
    const addresses = await hub.#addresses();
    hub.grpc = `http://${addresses.grpc_addr}`;
    hub.console = `http://${addresses.console_addr}`;
    return hub;
  }

  /** Reads the log until the server serves, and returns the addresses that it says. What follows is kept for a failure. */
  #addresses() {
    this.log = [];
    return new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${why}\n${this.log.join("\n")}`));
      const timer = setTimeout(() => fail("the server does not start"), START_TIMEOUT_MS);
      this.#server.once("exit", (code) => fail(`the server ended with ${code}`));
      createInterface({ input: this.#server.stderr }).on("line", (line) => {
        this.log.push(line);
        const said = Object.fromEntries([...line.matchAll(/\b(\w+_addr)="?([0-9.]+:\d+)"?/g)].map((found) => found.slice(1)));
        if (said.grpc_addr && said.console_addr) {
          clearTimeout(timer);
          resolve(said);
        }
      });
    });
  }

  #options() {
    const token = join(this.#directory, "data", "admin.token");
    const settings = { POLICYHUB_SERVER: this.grpc, POLICYHUB_TOKEN_FILE: token, POLICYHUB_DATA_DIR: join(this.#directory, "data") };
    return { cwd: this.#directory, env: environment({ ...settings, HOME: this.#directory }), maxBuffer: OUTPUT_MAX_BYTES };
  }

  /** Runs a command and returns what it prints. */
  async policyhub(...words) {
    const { stdout } = await runFile(this.#binary, words, this.#options());
    return stdout;
  }

  /** Returns the token of the administrator of this machine. */
  async adminToken() {
    return (await readFile(join(this.#directory, "data", "admin.token"), "utf8")).trim();
  }

  /** Writes a file, and returns its path. */
  async file(name, text) {
    const path = join(this.#directory, name);
    await writeFile(path, text);
    return path;
  }

  /** Drafts, stages and publishes a version. */
  async publish(policy, text, ...words) {
    const file = await this.file(`${policy}.yaml`, text);
    await this.policyhub("draft", policy, file, "--create", ...words);
    await this.policyhub("stage", policy);
    await this.policyhub("publish", policy);
  }

  /** Starts runtimes that hold the active set. `check` is the command that accepts or rejects a set. */
  async runtimes(count, check = "true") {
    const first = this.#agents.length;
    for (let number = first; number < first + count; number += 1) {
      const folder = join(this.#directory, `agent-${number}`);
      await mkdir(folder);
      const words = ["agent", "--dir", folder, "--subscriber-id", `runtime-${number}`, "--check", check];
      const agent = spawn(this.#binary, words, { ...this.#options(), stdio: "ignore" });
      this.#agents.push(agent);
    }
  }

  /** Ends everything, and removes the directory. */
  async end() {
    const running = [...this.#agents, this.#server].filter((child) => child.exitCode === null && child.signalCode === null);
    const ended = running.map((child) => new Promise((resolve) => child.once("exit", resolve)));
    running.forEach((child) => child.kill());
    await Promise.all(ended);
    await rm(this.#directory, { recursive: true, force: true });
  }
}
