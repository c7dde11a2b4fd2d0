import { assert, describe, it } from "@effect/vitest"
import * as LocalSocket from "@valetkey/client/LocalSocket"
import { Effect, type Scope } from "effect"
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as PrivateFiles from "../src/PrivateFiles.ts"
import * as Replica from "./support/Replica.ts"

const directory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vkl-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const request = (
  url: string,
  headers: Readonly<Record<string, string>>,
  method = "GET"
): Effect.Effect<{ readonly status: number; readonly code: unknown }> =>
  Effect.promise(async () => {
    const { request } = await import("node:http")
    return new Promise((resolve, reject) => {
      const outgoing = request(url, { method, headers }, (response) => {
        let body = ""
        response.on("data", (chunk) => body += String(chunk))
        response.on("end", () => resolve({ status: response.statusCode ?? 0, code: JSON.parse(body || "{}").code }))
      })
      outgoing.on("error", reject)
      outgoing.end(method === "POST" ? "{}" : undefined)
    })
  })

describe("the local profile", () => {
  it.live("DAEM-04 DAEM-05 DAEM-06 I17 takes requests by TCP with the boot token, its own Host and from no page of elsewhere", () =>
    Effect.scoped(Effect.gen(function*() {
      const home = join(yield* directory, "home")
      const server = yield* Replica.start({ VALETKEY_HOME: home, VALETKEY_LISTEN: "127.0.0.1:0" })
      const token = readFileSync(join(home, "run", "token"), "utf8").trim()
      const url = `${server.api}/v1/connections`
      const authorization = `Bearer ${token}`
      assert.strictEqual((yield* request(url, { authorization })).status, 200)
      for (const credential of ["", "Bearer", "Bearer x", `Bearer ${token.slice(0, -1)}`, `Bearer ${token}x`]) {
        assert.strictEqual((yield* request(url, { authorization: credential })).status, 401, credential.slice(0, 8))
      }
      assert.deepStrictEqual(yield* request(url, { authorization, host: "evil.example" }), {
        status: 421,
        code: "host_refused"
      })
      assert.deepStrictEqual(yield* request(url, { authorization, origin: "https://evil.example" }), {
        status: 403,
        code: "origin_refused"
      })
      for (const type of ["application/x-www-form-urlencoded", "text/plain"]) {
        const form = { authorization, "content-type": type }
        assert.strictEqual((yield* request(`${server.api}/v1/flows`, form, "POST")).status, 415)
      }
      const image = { "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" }
      const paths = [["GET", url], ["POST", `${url}/notes/token`], ["POST", `${server.api}/v1/flows`]] as const
      for (const [method, path] of paths) {
        for (const site of ["cross-site", "same-site"]) {
          const headers = { authorization, "content-type": "application/json", "sec-fetch-site": site }
          for (const more of [{}, image, { ...image, "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" }]) {
            const refused = yield* request(path, { ...headers, ...more }, method)
            assert.deepStrictEqual(refused, { status: 403, code: "origin_refused" }, `${method} ${path}`)
          }
        }
      }
      const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" }
      for (const asked of [link, { ...image, "sec-fetch-site": "same-origin" }, { "sec-fetch-site": "none" }]) {
        assert.strictEqual((yield* request(`${server.api}/livez`, asked)).status, 200)
      }
    })))

  it.live("I17 listens on its socket alone unless it is told otherwise", () =>
    Effect.scoped(Effect.gen(function*() {
      const home = join(yield* directory, "home")
      const server = yield* Replica.start({ VALETKEY_HOME: home })
      const inodes = readFileSync("/proc/net/tcp", "utf8") + readFileSync("/proc/net/tcp6", "utf8")
      const { readdirSync, readlinkSync } = yield* Effect.promise(() => import("node:fs"))
      const sockets = readdirSync(`/proc/${server.pid}/fd`).flatMap((fd) => {
        try {
          return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${server.pid}/fd/${fd}`))?.[1] ?? []
        } catch {
          return []
        }
      })
      const listening = inodes.split("\n").filter((line) => line.trim().split(/\s+/)[3] === "0A")
      assert.deepStrictEqual(listening.filter((line) => sockets.includes(line.trim().split(/\s+/)[9] ?? "")), [])
      const answer = yield* Effect.promise(() =>
        LocalSocket.request({ socket: join(home, "run", "valetkey.sock"), method: "GET", path: "/livez" })
      )
      assert.strictEqual(answer.status, 200)
    })))

  it.live("DAEM-19 opens no inspector on SIGUSR1", () =>
    Effect.scoped(Effect.gen(function*() {
      const home = join(yield* directory, "home")
      const server = yield* Replica.start({ VALETKEY_HOME: home })
      server.signal("SIGUSR1")
      server.signal("SIGTERM")
      const ended = yield* server.ended
      assert.strictEqual(ended.code, 0)
      assert.notInclude(ended.stderr, "Debugger listening")
    })))

  it.live("says what is wrong with the configuration, exits with 1 and prints no value", () =>
    Effect.gen(function*() {
      const ended = yield* Replica.run({ VALETKEY_LISTEN: "hunter2" })
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "setting_invalid: VALETKEY_LISTEN")
      assert.notInclude(ended.stderr, "hunter2")
    }))
})

describe("private files", () => {
  it.effect("DAEM-15 are refused when others could read or exchange them", () =>
    Effect.scoped(Effect.gen(function*() {
      const base = yield* directory
      const wide = join(base, "wide")
      mkdirSync(wide)
      writeFileSync(join(wide, "file"), "x")
      chmodSync(wide, 0o750)
      const link = join(base, "link")
      symlinkSync(wide, link)
      for (const path of [wide, link, join(wide, "file")]) {
        assert.strictEqual((yield* Effect.flip(PrivateFiles.directory(path))).code, "home_not_private", path)
      }
      chmodSync(join(wide, "file"), 0o640)
      assert.strictEqual((yield* Effect.flip(PrivateFiles.read(join(wide, "file")))).code, "home_not_private")
    })))

  it.effect("are closed to others when nobody can have used them, and written whole", () =>
    Effect.scoped(Effect.gen(function*() {
      const fresh = join(yield* directory, "fresh")
      mkdirSync(fresh)
      chmodSync(fresh, 0o755)
      yield* PrivateFiles.directory(fresh)
      yield* PrivateFiles.write(join(fresh, "file"), "one\n")
      yield* PrivateFiles.write(join(fresh, "file"), "two\n")
      assert.strictEqual(yield* PrivateFiles.read(join(fresh, "file")), "two")
      assert.isUndefined(yield* PrivateFiles.read(join(fresh, "other")))
    })))
})
