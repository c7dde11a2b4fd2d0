import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { start } from "./Processes.ts"
import { race } from "./Race.ts"
import type { Section } from "./Table.ts"
import { valetkey, type World } from "./World.ts"

const floor = join(import.meta.dirname, "floors/http.mjs")

/** From the start of a server on an existing embedded store to its first answer, and what it holds then, beside a bare server. */
export const coldStart = async (world: World, rounds: number): Promise<ReadonlyArray<Section>> => {
  const home = mkdtempSync(join(tmpdir(), "valetkey-cold-"))
  const env = { ...world.env, VALETKEY_HOME: home }
  const resident = { floor: [] as Array<number>, ours: [] as Array<number> }
  const bare = async () => {
    const running = await start([process.execPath, floor, join(home, "floor.sock")], {
      socket: join(home, "floor.sock"),
      path: "/"
    })
    resident.floor.push(running.residentMegabytes)
    await running.stop()
    return running.readyAfter
  }
  const ours = async () => {
    const running = await start([...valetkey, "serve"], {
      socket: join(home, "run/valetkey.sock"),
      path: "/livez",
      env
    })
    resident.ours.push(running.residentMegabytes)
    await running.stop()
    return running.readyAfter
  }
  try {
    const figures = await race(rounds, [["bare node:http", bare], ["valetkey serve", ours]])
    const memory = await race(rounds, [
      ["limit of 90 MB", () => Promise.resolve(90)],
      ["bare node:http", () => Promise.resolve(resident.floor.shift() ?? 0)],
      ["valetkey serve", () => Promise.resolve(resident.ours.shift() ?? 0)]
    ])
    return [
      {
        title: "cold start to the first answer, embedded store",
        unit: "seconds",
        figures,
        limits: { "valetkey serve": { atMost: 2 } }
      },
      {
        title: "resident memory after the first answer",
        unit: "MB",
        figures: memory,
        limits: { "valetkey serve": { atMost: 1 } }
      }
    ]
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}
