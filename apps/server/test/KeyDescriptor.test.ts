import { assert, describe, it } from "@effect/vitest"
import { locate } from "@valetkey/client/Home"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Replica from "./support/Replica.ts"

const start = (env: Replica.Env, content: string) =>
  Effect.gen(function*() {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "vkd-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const path = join(directory, "keys")
    writeFileSync(path, content)
    const home = join(directory, "home")
    const descriptor = openSync(path, "r")
    const server = yield* Replica.start(
      { VALETKEY_HOME: home, VALETKEY_KEYS_FD: "3", VALETKEY_LISTEN: "127.0.0.1:0", ...env },
      "",
      [descriptor]
    )
    closeSync(descriptor)
    const token = readFileSync(join(home, "run", "token"), "utf8").trim()
    const open = () =>
      readdirSync(`/proc/${server.pid}/fd`).filter((name) => {
        try {
          return readlinkSync(`/proc/${server.pid}/fd/${name}`) === path
        } catch {
          return false
        }
      })
    return { server, call: Replica.caller(server.api, token), open, home }
  })

const keyCheck = (body: Readonly<Record<string, unknown>>) =>
  (body["checks"] as ReadonlyArray<{ readonly name: string; readonly reason: string }>)
    .find(({ name }) => name === "key")?.reason

describe("VALETKEY_KEYS_FD", () => {
  it.live("CRY-19 gives a server its keys without a variable or a path, on first use, and is closed then", () =>
    Effect.scoped(Effect.gen(function*() {
      const key = randomBytes(32).toString("base64")
      Canary.register("root_key", key)
      const { call, home, open, server } = yield* start({}, `7:${key}\n`)
      assert.deepStrictEqual(open(), ["3"])
      assert.strictEqual(keyCheck((yield* call("GET", "/readyz")).body), "ok")
      assert.deepStrictEqual(open(), [])
      const { body } = yield* call("GET", "/v1/keys")
      assert.deepInclude((body["keys"] as ReadonlyArray<object>)[0], { id: 7, state: "primary", held: true })
      assert.notInclude(readFileSync(`/proc/${server.pid}/environ`, "latin1"), key)
      assert.isFalse(existsSync(locate({ VALETKEY_HOME: home }).keys))
      assert.strictEqual((yield* call("POST", "/v1/keys")).body["code"], "keys_managed_elsewhere")
    })))

  it.live("I14 leaves a server without a key when it is not what was meant, and says so", () =>
    Effect.scoped(Effect.gen(function*() {
      const { call } = yield* start({ VALETKEY_KEYS_FD: "700" }, "7:nothing\n")
      assert.strictEqual(keyCheck((yield* call("GET", "/readyz")).body), "degraded: invalid_key_descriptor")
      assert.strictEqual((yield* call("GET", "/v1/keys")).body["code"], "encryption_key_missing")
      assert.strictEqual((yield* call("GET", "/v1/connections")).status, 200)
      const { call: broken } = yield* start({}, "7:CANARY\n")
      assert.strictEqual(keyCheck((yield* broken("GET", "/readyz")).body), "degraded: invalid_key_ring")
    })))
})
