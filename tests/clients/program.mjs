// A program that uses a stock client: acts as lines of JSON on stdin, what the client gave as lines on stdout.
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";

/** Carries out acts until stdin ends. `open` gives the acts for a base URL, `refusal` what a caller sees of an error. */
export async function run(open, refusal) {
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    const asked = JSON.parse(line);
    let gave;
    try {
      gave = { gave: await open(asked.base)[asked.act](asked.with) };
    } catch (why) {
      gave = refusal(why);
      if (!gave) throw why;
    }
    console.log(JSON.stringify(gave));
  }
  process.exit(0); // connections are kept alive
}

/** SHA-256 of bytes, in hex. */
export const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
