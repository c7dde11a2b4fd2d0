import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Replica from "./support/Replica.ts"
import * as SocketWatch from "./support/SocketWatch.ts"

describe("the watch over a server's sockets", () => {
  it.live("tells of every connection to an address that the configuration does not name, whoever opens it", () =>
    Effect.gen(function*() {
      const [named, hidden] = [yield* Replica.freePort, yield* Replica.freePort]
      const directory = mkdtempSync(join(tmpdir(), "vk-watch-"))
      const watch = SocketWatch.make(directory, {
        DATABASE_URL: "postgres://127.0.0.1:5432/vk",
        PEER: `http://127.0.0.1:${named}/x`
      })
      const opening = `await Promise.allSettled([
        fetch("http://127.0.0.1:${named}"),
        fetch("http://127.0.0.1:${hidden}"),
        new Promise((done) => process.getBuiltinModule("net").connect(${hidden}, "::1").on("error", done))
      ])`
      spawnSync(process.execPath, [...watch.nodeOptions, "--input-type=module", "-e", opening], {
        env: { ...process.env, ...watch.env }
      })
      const strays = watch.strays()
      rmSync(directory, { recursive: true })
      assert.deepStrictEqual([...strays].sort(), [`127.0.0.1 ${hidden}`, `::1 ${hidden}`])
    }))
})
