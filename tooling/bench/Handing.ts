import autocannon from "autocannon"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { start } from "./Processes.ts"
import { race } from "./Race.ts"
import type { Section } from "./Table.ts"
import type { World } from "./World.ts"

const floor = join(import.meta.dirname, "floors/token.mjs")

/**
 * Tokens handed out per second over HTTP, beside a bare handler that does the same work. The second floor keeps the
 * derived key, as our server does for an envelope that it opened before; it is there to be seen and has no limit.
 */
export const handing = async (world: World, rounds: number): Promise<Section> => {
  const bearer = readFileSync(join(world.home, "run/token"), "utf8").trim()
  const bare = async (mode: "derived" | "kept") => {
    const socket = join(world.home, `${mode}.sock`)
    const command = [process.execPath, floor, socket, join(world.home, `${mode}.db`), bearer, mode]
    return { socket, running: await start(command, { socket, path: "/livez" }) }
  }
  const derived = await bare("derived")
  const kept = await bare("kept")
  try {
    return {
      title: "tokens handed out over HTTP, 32 connections",
      unit: "requests per second",
      figures: await race(rounds, [
        ["bare node:http, same work", () => load(derived.socket, bearer)],
        ["bare node:http, derived key kept", () => load(kept.socket, bearer)],
        ["valetkey serve", () => load(world.socket, bearer)]
      ]),
      limits: { "valetkey serve": { atLeast: 0.9 } }
    }
  } finally {
    await derived.running.stop()
    await kept.running.stop()
  }
}

const load = async (socketPath: string, bearer: string): Promise<number> => {
  const result = await autocannon({
    url: "http://localhost/v1/connections/bench/token",
    socketPath,
    method: "POST",
    headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json", host: "localhost" },
    body: "{}",
    connections: 32,
    duration: 2,
    // The load comes from a thread of its own, so that the servers are what is measured.
    workers: 1
  })
  if (result.non2xx > 0 || result.errors > 0) throw new Error(`${result.non2xx + result.errors} requests failed`)
  return result.requests.average
}
